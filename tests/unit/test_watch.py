# SPDX-License-Identifier: MIT
"""What `certwitness watch` makes of what certmonger says: a certmonger made by hand, and its own clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from cryptography import x509
from jsonschema import Draft202012Validator

from certwitness import beside, certmonger, config, host, journal, said, watch
from certwitness.certificates import Certificate
from certwitness.certmonger import Certmonger
from certwitness.cli import watch as cli
from certwitness.course import Moment
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.events import history, log
from certwitness.findings import CRITICAL, UNKNOWN, Finding
from certwitness.listening import Heard, Lost, Moved, Owner
from tests.unit import empty_host
from tests.unit import events_factory as events
from tests.unit import findings_factory as make
from tests.unit.conftest import der
from tests.unit.test_course import READING, RENEWAL

SCHEMA = json.loads((Path(watch.__file__).parent / "events" / "schema.json").read_text())
ID, PATH = "20261123190541", "/org/fedorahosted/certmonger/requests/Request1"
REFUSED = ["NEED_TO_SUBMIT", "SUBMITTING", "MONITORING"]
ASTRAY = Finding("user-certificate", CRITICAL, make.SUBSYSTEM, "uid=pkidbuser", "12", "10", "it dies", "mend it")
Event = dict[str, Any]


class Stage:
    """A Watch on a host where nothing but its event log is there; certmonger is `requests`."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
        self.host = host.load(config.load(empty_host.configure(directory)))
        self.log = Path(self.host.config.events_file)
        self.certificate = certificate
        self.requests = [make.request(path=PATH, certificate=certificate)]
        self.silent = False  # certmonger does not answer
        self.reads = 0
        self.meanwhile: list[Moved | Owner] = []  # is heard while certmonger is asked
        self.lines: list[tuple[str, str]] = []
        self.concluded: list[str] = []
        self.findings: list[Finding] = []
        self.passed = 0.0
        monkeypatch.setattr(certmonger, "read", lambda *_, **__: self.read())
        self.start()

    def start(self) -> None:
        """The service starts, and finds certmonger on the bus."""
        self.queue = SimpleQueue[Heard]()
        self.watch = watch.Watch(
            self.host, self.queue, self.tell, read=lambda *_, **__: self.read(), conclude=self.conclude, now=self.now
        )
        self.hear(Owner(":1.7"))
        self.lines.remove(("info", f"watching certmonger's requests: {len(self.requests)}"))

    def now(self) -> Moment:
        return Moment(events.START.timestamp() + self.passed, 5000 + self.passed)

    def read(self) -> Certmonger:
        self.reads += 1
        while self.meanwhile:
            self.queue.put((self.now(), self.meanwhile.pop(0)))
        if self.silent:
            raise StoreError("certmonger", "no answer in 10 s")
        return Certmonger(tuple(self.requests), ())

    def tell(self, line: str, *, level: str) -> None:
        self.lines.append((level, line))

    def conclude(self, there: host.Host, name: str, **how: Any) -> list[Finding]:
        assert (there, how["by"], how["limit_s"]) == (self.host, "watch", self.host.config.landing_s)
        self.concluded.append(name)
        return self.findings

    def hear(self, *heard: Moved | Owner | Lost) -> None:
        """All of this is heard at once."""
        for one in heard:
            self.queue.put((self.now(), one))
        while not self.queue.empty() or self.watch._patience() == 0:
            self.watch.step()

    def moves(self, *statuses: str, path: str = PATH, step_s: float = 1) -> None:
        """The request goes through these statuses; certmonger's own answer follows."""
        for status in statuses:
            self.passed += step_s
            self.queue.put((self.now(), Moved(path, status)))
        self.requests = [replace(one, status=statuses[-1]) if one.path == path else one for one in self.requests]
        self.hear()

    def becomes(self, **fields: Any) -> None:
        """The first request is changed."""
        self.requests[0] = replace(self.requests[0], **fields)

    def wait(self, seconds: float) -> None:
        """Time passes; what was to be done then is done."""
        self.passed += seconds
        self.watch.step()

    def write(self, *more: Event) -> None:
        """The helper writes to the log."""
        for event in more:
            log.append(str(self.log), event)

    def events(self, kind: str = "") -> list[Event]:
        """The log's events of this kind, each as the schema says."""
        found = [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []
        for event in found:
            Draft202012Validator(SCHEMA).validate(event)
        return [event for event in found if not kind or event["event"] == kind]

    def run(self, renewal: str = "issued", *, at: float = 1.5, trace: str = "one") -> Event:
        """The end of our helper's run for the request, so many seconds from now."""
        code = {"issued": 0, "unreachable": 3, "rejected": 2}[renewal]
        held = {**events.certificate(), "spki_sha256": self.certificate.spki_sha256}
        ended = events.ended(self.passed + at, code=code, trace=trace, previous=held)
        return {**ended, "key": self.certificate.spki_sha256}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: x509.Certificate) -> Stage:
    """A watched request that is well."""
    return Stage(tmp_path, monkeypatch, Certificate.from_der(der(leaf)))


# --- a renewal


def test_a_renewal_is_written_into_its_trace(stage: Stage) -> None:
    """One event with every step, in the trace of the helper's runs; then the stores are looked at."""
    stage.write(stage.run(at=7))
    stage.moves(*RENEWAL)
    (moved,) = stage.events("request.moved")
    assert [step["status"] for step in moved["steps"]] == RENEWAL[1:]
    assert (moved["trace_id"], moved["level"], moved["status"]) == (events.digest("one", 32), "info", "MONITORING")
    assert (moved["request"], moved["nickname"], moved["certificate"]) == (ID, make.SUBSYSTEM, make.SUBSYSTEM)
    assert (moved["key"], moved["ca_error"], moved["stuck"]) == (stage.certificate.spki_sha256, None, False)
    assert (stage.concluded, stage.lines, stage.events("noticed")) == ([make.SUBSYSTEM], [], [])


def test_an_older_renewal_is_another(stage: Stage) -> None:
    """Where our helper took no part the course has a trace of its own, and what did not land is noticed there."""
    stage.write(stage.run(at=-100))
    stage.findings = [ASTRAY, make.EXPIRY]
    stage.moves(*RENEWAL)
    (moved,), (noticed,) = stage.events("request.moved"), stage.events("noticed")
    assert moved["trace_id"] == noticed["trace_id"] != events.digest("one", 32)
    assert [finding["check"] for finding in noticed["findings"]] == ["user-certificate"]
    assert stage.lines == [("crit", f"{make.SUBSYSTEM}: 10; it dies. mend it")]
    stage.moves(*RENEWAL)
    assert len(stage.lines) == 2


def test_a_renewal_with_a_new_key(stage: Stage) -> None:
    """Refused, it leaves the old key with certmonger; the runs of the same name and time are its own all the same."""
    stage.write({**stage.run("rejected"), "key": events.digest("new key")})
    stage.becomes(ca_error="no")
    stage.moves("NEED_KEY_PAIR", *REFUSED, step_s=0.5)
    assert stage.events("noticed")[0]["trace_id"] == events.digest("one", 32)


def test_another_certificate_of_the_same_nickname(stage: Stage) -> None:
    """FreeIPA 4.4 has two Server-Certs: the other one's run, for another key, is none of this course's."""
    other = {**events.certificate(), "spki_sha256": events.digest("other")}
    stage.write({**events.ended(10, code=0, previous=other), "key": events.digest("other")})
    stage.moves(*RENEWAL)
    assert stage.events("request.moved")[0]["trace_id"] != events.digest("one", 32)


def test_two_renewals_of_one_certificate_close_together(stage: Stage) -> None:
    """Both are over before the first can be judged: each course is in its own trace."""
    stage.silent = True
    for number, trace in enumerate(("one", "two")):
        stage.write(stage.run(at=7, trace=trace))
        stage.moves(*RENEWAL)
        assert stage.passed == len(RENEWAL) * (number + 1)
    stage.silent = False
    stage.wait(60)
    assert [moved["trace_id"] for moved in stage.events("request.moved")] == [
        events.digest("one", 32), events.digest("two", 32),
    ]  # fmt: skip


def test_a_clock_that_is_set_back(stage: Stage) -> None:
    """By its stamps the only run of this key began after the course's end; it is its own all the same."""
    stage.write(stage.run(at=3600))
    stage.moves(*RENEWAL)
    assert stage.events("request.moved")[0]["trace_id"] == events.digest("one", 32)


def test_what_is_renewed_again_is_judged_at_its_end(stage: Stage) -> None:
    """The stores of a certificate whose next renewal runs already are between two steps: looked at then, they would
    accuse."""
    stage.requests.append(make.request(id="two", nickname="other", path="/Request2"))
    stage.hear(Owner(":1.7"))
    conclude = stage.watch._ends._conclude

    def slowly(*arguments: Any, **more: Any) -> list[Finding]:
        stage.watch._ends._conclude = conclude
        for status in RENEWAL[:12]:
            stage.queue.put((stage.now(), Moved("/Request2", status)))
        stage.requests[1] = replace(stage.requests[1], status=RENEWAL[11])
        return conclude(*arguments, **more)

    stage.watch._ends._conclude = slowly
    stage.silent = True
    stage.moves(*RENEWAL)
    stage.moves(*RENEWAL, path="/Request2")
    stage.silent = False
    stage.wait(60)
    stage.hear()
    assert stage.concluded == [make.SUBSYSTEM]
    assert len(stage.events("request.moved")) == 2
    stage.moves(*RENEWAL[12:], path="/Request2")
    assert stage.concluded == [make.SUBSYSTEM, "other"]


def test_what_the_log_knows_is_not_noticed_as_well(stage: Stage) -> None:
    """Under the helper's trace `verified` says it; nothing says it twice."""
    stage.write(stage.run(at=7))
    stage.findings = [ASTRAY]
    stage.moves(*RENEWAL)
    assert (stage.concluded, stage.events("noticed")) == ([make.SUBSYSTEM], [])


def test_our_post_save_hook_has_said_it(stage: Stage) -> None:
    """With the hook installed as well there is one report; where the hook was cut off it is ours."""
    stage.write(stage.run(at=7))
    stage.write({**events.verified(stage.passed + 22.5, astray=False), "key": stage.certificate.spki_sha256})
    stage.moves(*RENEWAL)
    assert stage.concluded == []
    stage.write(stage.run(at=7, trace="two"))
    stage.moves(*RENEWAL)
    assert stage.concluded == [make.SUBSYSTEM]
    assert len(stage.events("request.moved")) == 2


def test_our_hook_without_our_helper_has_said_it(stage: Stage) -> None:
    """Where no run of the helper is in the log, the hook's own end tells that it was there."""
    stage.write(events.hook_ended(22.5, certificate=make.SUBSYSTEM))
    stage.moves(*RENEWAL)
    assert stage.concluded == []


def test_a_waiting_renewal_keeps_the_trace_that_only_we_know(stage: Stage) -> None:
    """After a minute CA_WORKING is written as a wait; what follows it is in the same trace."""
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING", "CA_WORKING")
    assert stage.events() == []
    stage.wait(60)
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING", *RENEWAL[9:])
    waited, moved = stage.events("request.moved")
    assert (waited["status"], waited["level"]) == ("CA_WORKING", "info")
    assert waited["trace_id"] == moved["trace_id"]
    assert moved["steps"][0]["status"] == "NEED_TO_SUBMIT"


def test_reading_is_no_renewal(stage: Stage) -> None:
    """A request that is tracked anew, and found well, is no event."""
    stage.moves(*READING)
    assert (stage.events(), stage.concluded, stage.lines) == ([], [], [])


def test_two_renewals_at_once(stage: Stage) -> None:
    """Interleaved steps of two requests are two courses; the second is not lost while the first is concluded."""
    other = PATH.replace("1", "2")
    stage.requests.append(replace(make.request(id="two", nickname="other", path=other)))
    stage.hear(Owner(":1.7"))
    conclude = stage.watch._ends._conclude

    def slowly(*arguments: Any, **more: Any) -> list[Finding]:
        for status in RENEWAL[9:]:
            stage.passed += 1
            stage.queue.put((stage.now(), Moved(other, status)))
        stage.requests[1] = replace(stage.requests[1], status="MONITORING")
        stage.watch._ends._conclude = conclude
        return conclude(*arguments, **more)

    stage.watch._ends._conclude = slowly
    stage.moves(*RENEWAL[:9], path=other)
    stage.moves(*RENEWAL)
    first, second = stage.events("request.moved")
    assert (first["request"], second["request"]) == (ID, "two")
    assert [step["status"] for step in second["steps"]] == RENEWAL[1:]
    assert [step["duration_s"] for step in second["steps"][-5:-1]] == [1, 1, 1, 1]
    assert stage.concluded == [make.SUBSYSTEM, "other"]


# --- what is wrong


def test_a_rejected_renewal_that_looks_healthy(stage: Stage) -> None:
    """MONITORING with a ca-error is told once, as the check of the request says it."""
    stage.becomes(ca_error="Invalid Credential.")
    stage.moves(*REFUSED)
    (moved,), (noticed,) = stage.events("request.moved"), stage.events("noticed")
    assert (moved["level"], moved["ca_error"]) == ("warning", "Invalid Credential.")
    (finding,) = noticed["findings"]
    assert (finding["check"], finding["certificate"]) == ("request-state", make.SUBSYSTEM)
    assert finding["found"] == "MONITORING, and ca-error: Invalid Credential."
    assert noticed["trace_id"] == moved["trace_id"]
    stage.moves(*READING)  # somebody has changed a setting of the request
    ((level, line),) = stage.lines
    assert (level, line.startswith(f"{make.SUBSYSTEM}: MONITORING, and ca-error: Invalid")) == ("warning", True)
    assert stage.concluded == []


def test_a_refusal_without_a_word(stage: Stage) -> None:
    """An HTML page in place of an answer leaves no ca-error: only the course shows it."""
    stage.moves(*REFUSED)
    (noticed,) = stage.events("noticed")
    assert [finding["check"] for finding in noticed["findings"]] == ["request-course"]
    assert stage.events("request.moved")[0]["level"] == "warning"


def test_a_request_that_is_parked(stage: Stage) -> None:
    """NEED_GUIDANCE is CRITICAL: nobody but an administrator moves it."""
    stage.becomes(stuck=True)
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING", "NEED_GUIDANCE")
    (noticed,) = stage.events("noticed")
    assert (noticed["level"], stage.lines[0][0]) == ("critical", "crit")


def test_the_same_failure_every_half_minute_is_told_once_an_hour(stage: Stage) -> None:
    """An expired certificate whose renewal is refused is tried for ever; a new renewal is told at once."""
    stage.becomes(ca_error="no")
    for _ in range(230):
        stage.write(stage.run("rejected", at=25))
        stage.moves(*REFUSED, step_s=10)
    assert len(stage.events("request.moved")) == len(stage.events("noticed")) == len(stage.lines) == 2
    stage.write(stage.run("rejected", at=25, trace="two"))
    stage.moves(*REFUSED, step_s=10)
    assert len(stage.events("noticed")) == 3


def test_a_step_that_grows_old(stage: Stage) -> None:
    """SUBMITTING is told after a quarter of an hour and after two, with nothing in between, and no timer after that."""
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING")
    assert stage.watch._patience() == 900
    stage.wait(900)
    stage.wait(6300)
    assert [noticed["level"] for noticed in stage.events("noticed")] == ["warning", "error"]
    assert [level for level, _ in stage.lines] == ["warning", "err"]
    assert stage.watch._patience() is None


def test_what_waits_to_be_heard_does_not_grow_old(stage: Stage) -> None:
    """A look at the stores took long, and the helper's end is in the queue."""
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING")
    stage.passed += 890
    for status in ("SUBMITTING", "NEED_TO_SAVE_CERT"):  # certmonger says some twice
        stage.queue.put((stage.now(), Moved(PATH, status)))
    stage.passed += 20
    stage.hear()
    assert stage.lines == []


def test_what_the_commands_told_the_journal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this save alone: certificates share their commands, and are saved one after the other, under one lock."""
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(said, "said", lambda _, since, until: asked.append((since, until)))
    stage.becomes(post_save="/usr/libexec/ipa/certmonger/renew_ca_cert x")
    start = stage.now().at
    stage.moves(*RENEWAL)
    steps = [start + 1 + RENEWAL.index(status) for status in ("PRE_SAVE_CERT", "NEED_TO_NOTIFY_ISSUED_SAVED")]
    assert asked == [(steps[0], steps[1] + 1)]


def test_a_post_save_that_was_cut_off_with_the_bus(stage: Stage) -> None:
    """The bus goes first, and certmonger with it: when both are back, it is another certmonger."""
    stage.moves(*RENEWAL[:20])
    stage.hear(Lost("closed"))
    assert stage.events("noticed") == []
    stage.becomes(status="MONITORING")
    stage.hear(Owner(":1.8"))
    assert "certmonger ended while" in stage.events("noticed")[0]["findings"][0]["found"]
    assert stage.concluded == [make.SUBSYSTEM]


def test_a_post_save_that_was_cut_off(stage: Stage) -> None:
    """certmonger goes while the command runs: that is told at once, and the stores are looked at after its return."""
    stage.becomes(post_save="/usr/libexec/ipa/certmonger/restart_httpd")
    stage.hear(Owner(":1.7"))
    stage.write(stage.run(at=7))
    stage.moves(*RENEWAL[:20])
    stage.hear(Owner(""))
    (noticed,) = stage.events("noticed")
    assert (noticed["level"], noticed["trace_id"]) == ("error", events.digest("one", 32))
    assert noticed["findings"][0]["commands"][0] == "/usr/libexec/ipa/certmonger/restart_httpd"
    assert stage.concluded == []
    stage.becomes(path="/Request9", status="MONITORING")
    stage.hear(Owner(":1.8"), Moved("/Request9", "NOTIFYING_ISSUED_SAVED"), Moved("/Request9", "MONITORING"))
    (moved,) = stage.events("request.moved")
    assert [step["status"] for step in moved["steps"]][-3:] == [
        "POST_SAVED_CERT", "NOTIFYING_ISSUED_SAVED", "MONITORING",
    ]  # fmt: skip
    assert stage.concluded == [make.SUBSYSTEM]


def test_the_command_that_was_cut_off_is_the_one_that_ran(stage: Stage) -> None:
    """The request is read anew while its post-save command runs: it may have been changed since the start."""
    stage.becomes(post_save="/new")
    stage.moves(*RENEWAL[:20])
    stage.hear(Owner(""))
    assert stage.events("noticed")[0]["findings"][0]["commands"][0] == "/new"


# --- late, and again


def test_started_late(stage: Stage) -> None:
    """A renewal of which the log does not say whether it landed is looked at, one that it knows is not."""
    stage.concluded.clear()
    stage.write(stage.run())
    stage.start()
    assert stage.concluded == [make.SUBSYSTEM]
    stage.write({**events.verified(20), "key": stage.certificate.spki_sha256})
    stage.start()
    assert stage.concluded == [make.SUBSYSTEM]


def test_started_while_a_helper_runs(stage: Stage) -> None:
    """A step is as old as the log says that its run is."""
    stage.write({**events.started(stage.passed), "key": stage.certificate.spki_sha256})
    stage.becomes(status="SUBMITTING")
    stage.passed += 800
    stage.start()
    assert stage.watch._patience() == 100


def test_a_restart_tells_nothing_twice(stage: Stage) -> None:
    """What the log has as noticed is not said again, however often the service starts; after it was well it is."""
    stage.becomes(ca_error="no")
    stage.moves(*REFUSED)
    for _ in range(3):
        stage.passed += 5000
        stage.start()
        stage.hear(Owner(""), Owner(":1.8"))
    assert len(stage.events("noticed")) == len(stage.lines) == 1
    stage.becomes(ca_error="")
    stage.moves(*RENEWAL)
    stage.becomes(ca_error="no")
    stage.start()
    assert len(stage.events("noticed")) == 2


def test_a_problem_from_before_the_start(stage: Stage) -> None:
    """A request that rests where it should not is told at the start, once."""
    stage.becomes(status="NEED_GUIDANCE", stuck=True)
    for _ in range(2):
        stage.start()
    assert [noticed["level"] for noticed in stage.events("noticed")] == ["critical"]


# --- certmonger


def test_no_certmonger_at_the_start(stage: Stage) -> None:
    """That it is waited for is told, with the next step; a restart of it later is nothing to tell."""
    stage.hear(Owner(""), Owner(":1.8"))
    assert stage.lines == []
    stage.queue = SimpleQueue[Heard]()
    stage.watch = watch.Watch(stage.host, stage.queue, stage.tell, now=stage.now)
    stage.hear(Owner(""))
    assert stage.lines == [("err", "certmonger is not running, and is waited for: systemctl start certmonger")]


def test_it_is_asked_only_when_there_is_something_to_ask(stage: Stage) -> None:
    """Once at the start, once after a course; then there is no timer at all."""
    assert (stage.reads, stage.watch._patience()) == (1, None)
    stage.moves(*RENEWAL)
    assert (stage.reads, stage.watch._patience()) == (2, None)


def test_a_busy_certmonger_is_asked_less_and_less_often(stage: Stage) -> None:
    """What was heard is kept until it answers; that it does not is told once."""
    stage.silent = True
    stage.moves(*RENEWAL)
    pauses = []
    for _ in range(8):
        pauses.append(stage.watch._patience())
        stage.wait(pauses[-1] or 0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [level for level, _ in stage.lines] == ["err"]
    assert stage.events() == []
    stage.silent = False
    stage.wait(60)
    assert len(stage.events("request.moved")) == 1
    assert stage.watch._patience() is None


def test_new_objects_and_old_ones(stage: Stage) -> None:
    """A signal of an unknown object has the requests read; those of a removed request are dropped."""
    stage.requests.append(make.request(id="new", nickname="new", path="/Request2"))
    stage.moves(*RENEWAL, path="/Request2")
    (moved,) = stage.events("request.moved")
    assert (moved["request"], len(moved["steps"])) == ("new", len(RENEWAL) - 1)
    stage.requests.pop()
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING", path="/Request2")
    stage.moves(*READING, path="/Request3")
    assert len(stage.events("request.moved")) == 1
    assert stage.watch._patience() is None


def test_numbers_that_change_with_a_restart(stage: Stage) -> None:
    """After a restart another request has the object's number: its steps are not taken for the first one's."""
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING")
    stage.becomes(path="/Request2", status="CA_UNREACHABLE")
    stage.requests.append(make.request(id="new", nickname="new", path=PATH))
    stage.hear(Owner(""), Owner(":1.8"), *(Moved(PATH, status) for status in RENEWAL))
    moved = {event["request"]: [step["status"] for step in event["steps"]] for event in stage.events("request.moved")}
    assert moved == {"new": RENEWAL[1:], ID: ["NEED_TO_SUBMIT", "SUBMITTING", "CA_UNREACHABLE"]}


def test_signals_know_more_than_an_answer_that_was_on_its_way(stage: Stage) -> None:
    """What is heard while certmonger is asked is newer than its answer."""
    stage.becomes(status="SUBMITTING")
    stage.meanwhile = [Moved(PATH, status) for status in ("NEED_TO_SUBMIT", "SUBMITTING", "CA_UNREACHABLE")]
    stage.hear(Owner(":1.8"))
    (moved,) = stage.events("request.moved")
    assert [step["status"] for step in moved["steps"]] == ["NEED_TO_SUBMIT", "SUBMITTING", "CA_UNREACHABLE"]
    assert stage.watch._patience() is None


def test_a_bus_that_goes_and_comes(stage: Stage) -> None:
    """Told once each; what was missed meanwhile is seen from certmonger's answer."""
    stage.moves("NEED_TO_SUBMIT", "SUBMITTING")
    stage.hear(Lost("closed"), Lost("refused"), Lost("refused"))
    stage.becomes(status="MONITORING")
    stage.hear(Owner(":1.1"))
    assert [level for level, _ in stage.lines[:2]] == ["err", "notice"]
    assert len(stage.events("request.moved")) == 1


# --- trouble of our own


def test_a_bug_in_one_thing_ends_nothing(stage: Stage) -> None:
    """Whatever goes wrong with one renewal is told once, and the next is handled."""

    def fail(*_: Any, **__: Any) -> list[Finding]:
        raise RuntimeError("a bug")

    conclude, stage.watch._ends._conclude = stage.watch._ends._conclude, fail
    stage.moves(*RENEWAL)
    stage.moves(*RENEWAL)
    assert stage.lines == [("err", "certwitness itself failed, and goes on: RuntimeError: a bug")]
    stage.watch._ends._conclude = conclude
    stage.moves(*RENEWAL)
    assert (len(stage.events("request.moved")), stage.concluded) == (3, [make.SUBSYSTEM])


def test_a_bug_in_everything_uses_no_processor(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails whole is tried again less and less often, and done once it can be."""
    read = history.History.read

    def fail(*_: Any) -> history.History:
        raise RuntimeError("a bug")

    monkeypatch.setattr(history.History, "read", fail)
    stage.moves(*RENEWAL)
    pauses = []
    for _ in range(3):
        pauses.append(stage.watch._patience())
        stage.wait(pauses[-1] or 0)
    assert pauses == [1, 2, 4]
    monkeypatch.setattr(history.History, "read", read)
    stage.wait(60)
    assert (len(stage.events("request.moved")), stage.watch._patience()) == (1, None)


def test_stores_that_cannot_be_read(stage: Stage) -> None:
    """A certificate of which nobody can say whether it landed is told, with the next step."""

    def fail(*_: Any, **__: Any) -> list[Finding]:
        raise CertwitnessError("directory: down")

    stage.watch._ends._conclude = fail
    stage.moves(*RENEWAL)
    ((level, line),) = stage.lines
    assert (level, line.endswith(f"directory: down. Next: certwitness verify '{make.SUBSYSTEM}'")) == ("warning", True)


def test_stores_that_say_nothing(stage: Stage) -> None:
    """What was down when it was looked at accuses nobody; that nobody knows is told."""
    stage.findings = [replace(ASTRAY, level=UNKNOWN)]
    stage.moves(*RENEWAL)
    ((level, line),) = stage.lines
    assert level == "warning"
    assert line == (
        f"{make.SUBSYSTEM}: whether the renewed certificate landed is not known: uid=pkidbuser: 10. "
        f"Next: certwitness verify '{make.SUBSYSTEM}'"
    )


def test_a_look_that_hangs_leaves_nothing_behind(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has found is told, it is ended, and the next one is looked at; no thread and no process stays."""
    hung = threading.Event()

    def hangs(_: object, __: str, *, report: Any, **___: Any) -> list[Finding]:
        report("it did not land", level="crit")
        threading.Thread(target=hung.wait).start()
        hung.wait()
        return []

    monkeypatch.setattr(watch, "conclude", hangs)
    monkeypatch.setattr(watch, "CONCLUSION_S", 0.2)
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(CertwitnessError, match="longer than"):
            watch.conclude_beside(stage.host, "one", by="watch", limit_s=0.1, report=stage.tell)
    assert stage.lines == [("crit", "it did not land")] * 3
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_look_beside_us(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says, finds and fails with is as if it were ours."""
    monkeypatch.setattr(watch, "conclude", lambda *_, **__: [ASTRAY, make.EXPIRY])
    assert watch.conclude_beside(stage.host, "one", by="watch", limit_s=9, report=stage.tell) == [ASTRAY, make.EXPIRY]

    def fail(*_: object, **__: object) -> list[Finding]:
        raise CertwitnessError("directory: down")

    monkeypatch.setattr(watch, "conclude", fail)
    with pytest.raises(CertwitnessError, match="directory: down"):
        watch.conclude_beside(stage.host, "one", by="watch", limit_s=9, report=stage.tell)


def test_the_end_of_the_service_costs_no_word(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the service ends while the stores are looked at, that goes on, and tells the journal itself."""
    told = tmp_path / "told"

    def finds(_: object, __: str, *, report: Any, **___: Any) -> list[Finding]:
        report("it did not land", level="crit")
        (tmp_path / "held").touch()
        return []

    def ended(work: Any, *_: object, **__: object) -> tuple[None, str]:
        def send(_: object) -> None:
            raise BrokenPipeError

        with suppress(BrokenPipeError):
            work(send)
        return None, ""

    monkeypatch.setattr(watch, "conclude", finds)
    monkeypatch.setattr(beside, "ask", ended)
    monkeypatch.setattr(journal, "report", lambda line, *, level: told.write_text(f"{level} {line}"))
    watch.conclude_beside(stage.host, "one", by="watch", limit_s=1, report=stage.tell)
    assert (told.read_text(), (tmp_path / "held").exists()) == ("crit it did not land", True)


def test_a_log_that_takes_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told once, and everything else goes on; once there is space it is written again."""
    append = log.append

    def full(*_: Any) -> None:
        raise LogError("no space left")

    monkeypatch.setattr(log, "append", full)
    stage.becomes(ca_error="no")
    stage.moves(*REFUSED)
    stage.becomes(ca_error="")
    stage.moves(*RENEWAL)
    assert [level for level, _ in stage.lines] == ["err", "warning"]
    assert stage.concluded == [make.SUBSYSTEM]
    monkeypatch.setattr(log, "append", append)
    stage.moves(*RENEWAL)
    assert len(stage.events("request.moved")) == 1
    monkeypatch.setattr(log, "append", full)
    stage.moves(*RENEWAL)
    assert [level for level, _ in stage.lines] == ["err", "warning", "err"]


def test_a_log_that_cannot_be_read(stage: Stage) -> None:
    """A directory in the log's place is told once, and the stores are looked at all the same."""
    stage.log.mkdir(parents=True)
    stage.moves(*RENEWAL)
    stage.moves(*RENEWAL)
    assert [level for level, _ in stage.lines] == ["err"]
    assert len(stage.concluded) == 2


def test_secrets_and_endless_text_stay_out(stage: Stage) -> None:
    """What the CA says is kept without keys, and not without end."""
    stage.becomes(ca_error="-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY----- " + "x" * 100_000)
    stage.moves(*REFUSED)
    for event in stage.events():
        assert "MIIB" not in json.dumps(event)
        assert len(json.dumps(event)) < 10_000


def test_the_history_of_a_log_of_anything(tmp_path: Path) -> None:
    """Fields of any type in the log end nothing; where there is no log, nothing is known."""
    path = tmp_path / "log" / "events.jsonl"
    assert history.History.read(str(path)).renewals == []
    wild: dict[str, Any] = {"request": [], "findings": [3, {"check": {}}], "nickname": 7, "phase": "post-save"}
    for kind in ("noticed", "request.moved", "hook.ended"):
        log.append(str(path), log.event(kind, "info", "0" * 32, "0" * 16, **wild))
    known = history.History.read(str(path))
    assert (known.renewals, known.hooks) == ([], {"": known.hooks[""]})


# --- the command


def test_a_line_goes_to_the_journal_once(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr shows it cleaned, and /dev/log has it; where stderr is the journal it goes there alone, with its level."""
    reported: list[tuple[str, str]] = []
    monkeypatch.setattr(cli, "report", lambda line, *, level: reported.append((level, line)))
    cli.tell("a\x1b[2J\nb", level="crit")
    assert capfd.readouterr().err == "certwitness: a\\x1b[2J\\nb\n"
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    cli.tell("c", level="crit")
    assert capfd.readouterr().err == "<2>c\n"
    assert reported == [("crit", "a\x1b[2J\nb")]


def test_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody is there to read, the journal is told."""
    reported: list[str] = []
    monkeypatch.setattr(cli, "report", lambda line, **_: reported.append(line))
    monkeypatch.setattr(sys, "stderr", None)
    kept = os.dup(2)
    os.close(2)
    try:
        cli.tell("a", level="crit")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert reported == ["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_a_service(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with status 0, whatever it waits for; here there is not even a bus."""
    pytest.importorskip("jeepney")
    program = "import sys; from certwitness.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "watch", "--config", empty_host.configure(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        line = running.stderr.readline()
        running.send_signal(number)
        rest = running.stderr.read()
    assert line.startswith("certwitness: certmonger cannot be heard: D-Bus (unix:path=")
    assert (running.returncode, rest) == (0, "")


def test_no_reader_is_begun_where_a_process_may_be_forked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that a thread holds then would be held in the process for ever."""
    begun = list[object]()
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda _, work, *__: begun.append(work))
    other = "/org/fedorahosted/certmonger/requests/Request2"
    stage.requests.append(make.request(id="other", path=other, status="POST_SAVED_CERT", certificate=stage.certificate))
    stage.becomes(status="CA_UNREACHABLE", ca_error="Error 7")
    stage.start()
    stage.moves("MONITORING", path=other)
    assert [finding["check"] for event in stage.events("noticed") for finding in event["findings"]] == ["request-state"]
    assert len(stage.concluded) == 1
    assert begun == []


def test_no_secret_of_a_hook_is_kept(stage: Stage) -> None:
    """The post-save command that is to be run by hand is told without its password."""
    stage.becomes(post_save="/bin/push --password=hunter2 --token s3cr3t -C x", status="POST_SAVED_CERT")
    stage.start()
    stage.hear(Owner(""))
    text = stage.log.read_text() + str(stage.lines)
    assert "/bin/push --password=***" in text
    assert "hunter2" not in text
    assert "s3cr3t" not in text

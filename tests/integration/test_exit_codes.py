# SPDX-License-Identifier: MIT
"""protocol.py against the real certmonger: every exit of a SUBMIT, for a first request and for a renewal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwitness import protocol
from tests.lab.ca import TestCA, certificate_pem, key_pem, new_key, subject
from tests.lab.certmonger import Certmonger, Request
from tests.unit.harness import Tree, program

CA = "lab"
MESSAGE = "the words of the CA\n"
OUTPUT = {0: "certificate", 1: "cookie\n", 5: "3600\ncookie\n"}
# A stable name for each exit: the status, a signal, or a promise that is not kept.
EXITS: dict[str, tuple[str, str]] = {
    **{f"exit-{code}": (OUTPUT.get(code, MESSAGE), f"exit {code}") for code in (*range(18), 18, 127, 255)},
    **{f"signal-{number}": (MESSAGE, f"kill -{number} $$") for number in (6, 9, 15)},
    "broken-0": ("no certificate\n", "exit 0"),
    "broken-1": ("", "exit 1"),
    "broken-5": ("soon\ncookie\n", "exit 5"),
    "empty-2": ("", "exit 2"),
}
KINDS = ("first", "renewal", "expired")
PATIENCE_S = 60  # a refused renewal is back in MONITORING after 30 s


def outcome_of(name: str) -> protocol.Outcome:
    kind, _, number = name.rpartition("-")
    if kind == "signal":
        return protocol.outcome(signal=int(number))
    return protocol.outcome(int(number), kept=kind != "broken")


@dataclass
class Seen:
    """What became of one request: getcert's words, the delay in certmonger's log, our run.ended."""

    request: Request
    revisit: str
    event: dict[str, Any]


class Daemon:
    """A certmonger whose CA answers each request as its subject says, through helpers/submit."""

    def __init__(self, directory: Path, certmonger: Certmonger) -> None:
        self.tree = Tree(directory)
        self.certmonger = certmonger
        self.directory = directory
        self.authority = TestCA()
        for name, (output, end) in EXITS.items():
            text = certificate_pem(self._issue("issued", 365)) if output == "certificate" else output
            (directory / f"{name}.out").write_text(text)
            (directory / f"{name}.end").write_text(end)
        helper = program(
            directory / "helper",
            "case $CERTMONGER_OPERATION in SUBMIT | POLL) ;; *) exit 6 ;; esac\n"
            "subject=${CERTMONGER_REQ_SUBJECT%%,*}\n"
            f"answer={directory}/${{subject#*.}}\ncat $answer.out\n. $answer.end",
        )
        certmonger.add_ca(CA, " ".join(self.tree.wrapped([helper])))

    def _issue(self, name: str, days: float) -> Any:
        key = new_key()
        certificate = self.authority.issue(subject(name), key.public_key(), lifetime=timedelta(days=days))
        (self.directory / f"{name}.key").write_bytes(key_pem(key))
        (self.directory / f"{name}.crt").write_text(certificate_pem(certificate))
        return certificate

    def ask(self, kind: str, name: str) -> None:
        """Make a request whose first SUBMIT ends as `name` says, and wait until it has ended."""
        identifier = f"{kind}.{name}"
        key, certificate = self.directory / f"{identifier}.key", self.directory / f"{identifier}.crt"
        if kind == "first":
            self.certmonger.request(identifier, CA, key, certificate, "-N", f"CN={identifier}")
        else:
            self._issue(identifier, 100 if kind == "renewal" else -1)
            self.certmonger.track(identifier, CA, "-k", key, "-f", certificate)
            if kind == "renewal":
                self.certmonger.wait_for(identifier, lambda request: request["status"] == "MONITORING")
                self.certmonger.getcert("resubmit", "-i", identifier)
        deadline = time.monotonic() + PATIENCE_S
        while not self.event(identifier):
            assert time.monotonic() < deadline, self.certmonger.log[-3000:]
            time.sleep(0.02)

    def event(self, identifier: str) -> dict[str, Any] | None:
        """The first run.ended of the request."""
        for event in self.tree.events():
            if event["event"] == "run.ended" and event.get("nickname") == identifier:
                return event
        return None

    def seen(self, kind: str, name: str, state: str) -> Seen:
        """What became of the request, waiting for `state` as long as a refused renewal takes."""
        identifier = f"{kind}.{name}"
        try:
            request = self.certmonger.wait_for(
                identifier, lambda request: request["status"] == state and "stuck" in request, PATIENCE_S
            )
        except TimeoutError:
            request = self.certmonger.read(identifier)
        name_in_log = rf"\S*{re.escape(identifier)}'\)"
        pattern = rf"{name_in_log} moved to state '{request['status']}'\n(?:.*\n)*?.*Will revisit {name_in_log} (.*)\."
        revisits = re.findall(pattern, self.certmonger.log)
        return Seen(request, revisits[-1] if revisits else "", self.event(identifier) or {})


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """All requests are made before the first is looked at: what takes 30 s takes them once."""
    with Certmonger() as certmonger:
        daemon = Daemon(tmp_path_factory.mktemp("codes"), certmonger)
        for kind in ("expired", "renewal", "first"):
            for name in EXITS:
                if kind != "expired" or name in ("exit-2", "exit-3", "exit-4"):
                    daemon.ask(kind, name)
        yield daemon


@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("kind", ["first", "renewal"])
def test_state_stuck_and_ca_error(daemon: Daemon, kind: str, name: str) -> None:
    """The request ends in the state that the table says, stuck or not, with the ca-error or without."""
    outcome = outcome_of(name)
    state = outcome.state_first if kind == "first" else outcome.state_renewal
    seen = daemon.seen(kind, name, state)
    assert seen.request["status"] == state
    assert (seen.request["stuck"] == "yes") == (outcome.stuck_first if kind == "first" else outcome.stuck_renewal)
    says = "ca-error" in seen.request
    assert says == (outcome.shows_ca_error and bool(EXITS[name][0]))
    event = seen.event
    assert (event["next"]["state"], event["next"]["stuck"]) == (state, seen.request["stuck"] == "yes")
    assert event["next"]["shows_ca_error"] == says
    assert event["promise_kept"] == (not name.startswith("broken"))


@pytest.mark.parametrize(
    ("kind", "name", "seconds"),
    [
        ("first", "exit-1", 604800),
        ("first", "exit-3", 604800),
        ("first", "exit-5", 3600),
        ("first", "exit-17", 30),
        ("renewal", "exit-1", 604800),
        ("renewal", "exit-3", 604800),
        ("renewal", "exit-5", 3600),
        ("expired", "exit-3", 300),
    ],
)
def test_next_try(daemon: Daemon, kind: str, name: str, seconds: int) -> None:
    """certmonger's own log names the delay that the event has."""
    outcome = outcome_of(name)
    seen = daemon.seen(kind, name, outcome.state_first if kind == "first" else outcome.state_renewal)
    assert seen.event["next"]["retry_after_s"] == seconds
    assert seen.revisit in (f"in {seconds} seconds", {30: "soonish"}.get(seconds, ""))


@pytest.mark.parametrize("name", ["exit-2", "exit-4"])
def test_an_expired_certificate_is_asked_for_every_30_seconds(daemon: Daemon, name: str) -> None:
    """Refused and expired: the loop is one trace, and its runs are 30 seconds apart."""
    deadline = time.monotonic() + 90
    while True:
        runs = [e for e in daemon.tree.events() if e["event"] == "run.ended" and e.get("nickname") == f"expired.{name}"]
        if len(runs) > 1:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert len({run["trace_id"] for run in runs}) == 1
    assert [run["attempt"] for run in runs] == list(range(1, len(runs) + 1))
    assert runs[0]["next"]["retry_after_s"] == 30
    apart = _seconds(runs[1]["started"]) - _seconds(runs[0]["started"])
    assert 29 <= apart <= 40


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()

# SPDX-License-Identifier: MIT
"""`certwitness watch` beside the real certmonger of a CA server whose requests have FreeIPA's own hooks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import PATIENCE_S, Event, Witnessed
from tests.lab.healthy import Healthy
from tests.lab.tracked import HTTP, PKI_SERVER
from tests.lab.world import RA, SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

AUDIT = "auditSigningCert cert-pki-kra"
PROGRAM = "import sys; from certwitness.cli import main; sys.exit(main())"
SAVED_STEPS = [
    "NEED_TO_SAVE_CERT", "PRE_SAVE_CERT", "START_SAVING_CERT", "SAVING_CERT", "SAVED_CERT", "NEED_TO_SAVE_CA_CERTS",
    "START_SAVING_CA_CERTS", "SAVING_CA_CERTS", "NEED_TO_READ_CERT", "READING_CERT", "POST_SAVED_CERT",
    "NEED_TO_NOTIFY_ISSUED_SAVED", "NOTIFYING_ISSUED_SAVED", "MONITORING",
]  # fmt: skip
QUIET_S, SPELLS = 2, 4


class Watching:
    """The service in a process of its own, and what it says."""

    def __init__(self, witnessed: Witnessed, program: str = PROGRAM) -> None:
        self._errors = witnessed.world.directory / "watch.err"
        self._command = [sys.executable, "-c", program, "watch", "--config", str(witnessed.world.certwitness_config)]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it has seen certmonger's requests."""
        self._errors.write_bytes(b"")
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(self._command, cwd="/", stderr=errors)
        self.wait_for("watching certmonger's requests: ")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What it has said since its start."""
        return self._errors.read_text().splitlines()

    def wait_for(self, words: str) -> str:
        """The first line with these words. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            line = next((line for line in self.lines if words in line), None)
            if line is not None:
                return line
            time.sleep(0.02)
        raise TimeoutError(f"{words!r} is not in {self.lines}")

    def used(self) -> dict[str, tuple[str, ...]]:
        """By thread: its processor time, and how often it has been woken."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            switches = [line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line]
            found[task.name] = (*(task / "stat").read_text().rpartition(")")[2].split()[11:13], *switches)
        return found

    def rest(self) -> dict[str, tuple[str, ...]]:
        """What it has used once it uses no more for a while. Raises TimeoutError: it never rests."""
        deadline, before = time.monotonic() + PATIENCE_S, self.used()
        while time.monotonic() < deadline:
            time.sleep(QUIET_S)
            now = self.used()
            if now == before:
                return now
            before = now
        raise TimeoutError(f"it does not rest: {before}")

    def memory(self) -> int:
        """Its resident memory, KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture(scope="module")
def shared_full() -> Iterator[Witnessed]:
    """A whole CA server, which is healthy with our helper registered."""
    with World(full=True) as world:
        witnessed = Witnessed(world)
        witnessed.register()
        world.healthy = Healthy(world)
        yield witnessed


@pytest.fixture
def full(shared_full: Witnessed) -> Iterator[Witnessed]:
    """The server as at its beginning, with an empty log."""
    shared_full.forget()
    yield shared_full
    shared_full.world.reset()


@pytest.fixture
def watching(full: Witnessed) -> Iterator[Watching]:
    """The service, up."""
    running = Watching(full)
    yield running
    assert running.process.poll() is None, running.lines
    running.process.terminate()
    assert running.process.wait(PATIENCE_S) == 0


def of(full: Witnessed, kind: str, name: str, count: int = 1) -> list[Event]:
    """The events of this kind and certificate, once there are so many."""

    def ours() -> list[Event]:
        found = [event for event in full.events() if event["event"] == kind]
        return [event for event in found if name in (event.get("certificate"), event["nickname"])]

    deadline = time.monotonic() + PATIENCE_S
    while len(ours()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(ours()) == count, (kind, name, full.events())
    return ours()


# --- renewals


def test_good_renewals(full: Witnessed, watching: Watching) -> None:
    """Each course is in the trace of its runs, step by step, and each certificate landed; for a CA without our helper
    the course has a trace of its own."""
    names = (SUBSYSTEM, AUDIT, RA, HTTP)
    assert [full.world.renew(name)["status"] for name in names] == ["MONITORING"] * len(names)
    for name in (SUBSYSTEM, AUDIT, RA):
        (moved,) = of(full, "request.moved", request_id(name) if name == RA else name)
        (verified,) = of(full, "verified", moved["nickname"])
        traces = {run["trace_id"] for run in full.ended() if run["nickname"] == moved["nickname"]}
        assert traces == {moved["trace_id"]} == {verified["trace_id"]}
        assert (verified["outcome"], verified["by"]) == ("landed", "watch")
        steps = [step["status"] for step in moved["steps"]]
        assert steps[-len(SAVED_STEPS) :] == SAVED_STEPS
        assert steps[:4] == ["NEED_CSR", "GENERATING_CSR", "HAVE_CSR", "NEED_TO_SUBMIT"]
        assert steps.count("SUBMITTING") == len([run for run in full.ended() if run["trace_id"] in traces])
        assert [step["at"] for step in moved["steps"]] == sorted(step["at"] for step in moved["steps"])
        assert (moved["status"], moved["ca_error"], moved["stuck"]) == ("MONITORING", None, False)
        watching.wait_for("the renewed certificate landed")
    (moved,) = of(full, "request.moved", request_id(HTTP))
    assert moved["trace_id"] not in {run["trace_id"] for run in full.ended()}
    assert [event for event in full.events() if event["event"] == "noticed"] == []


def test_a_failure_that_the_hook_swallowed(full: Witnessed, watching: Watching) -> None:
    """certmonger is content; the log and the journal name the store and what breaks."""
    full.world.faults.on("people-update-fails")
    assert full.world.renew(SUBSYSTEM)["status"] == "MONITORING"
    (verified,) = of(full, "verified", SUBSYSTEM)
    assert (verified["outcome"], verified["level"]) == ("did not land", "critical")
    line = watching.wait_for("did not land in")
    assert "uid=pkidbuser" in line
    assert "pki-tomcatd will not start" in line
    assert of(full, "noticed", SUBSYSTEM, count=0) == []


def test_a_rejected_renewal(full: Witnessed, watching: Watching) -> None:
    """MONITORING, as before: the ca-error is told, in the trace of the run."""
    full.world.faults.on("ra-refused")
    assert full.world.renew(SUBSYSTEM)["status"] == "MONITORING"
    (noticed,) = of(full, "noticed", SUBSYSTEM)
    assert {noticed["trace_id"]} == {run["trace_id"] for run in full.ended()}
    assert noticed["findings"][0]["found"].startswith("MONITORING, and ca-error: ")
    watching.wait_for("Invalid Credential.")


def test_a_rejected_renewal_without_a_message(full: Witnessed, watching: Watching) -> None:
    """An HTML page leaves MONITORING and no ca-error: nothing but the course tells."""
    full.world.faults.on("dogtag-html-503")
    assert full.world.renew(SUBSYSTEM).get("ca-error") is None
    (noticed,) = of(full, "noticed", SUBSYSTEM)
    assert noticed["findings"][0]["check"] == "request-course"
    watching.wait_for("without a ca-error")


def test_a_request_that_is_parked(full: Witnessed, watching: Watching) -> None:
    """NEED_GUIDANCE is CRITICAL."""
    full.world.faults.on("helper-dies")
    assert full.world.renew(SUBSYSTEM)["status"] == "NEED_GUIDANCE"
    (noticed,) = of(full, "noticed", SUBSYSTEM)
    assert (noticed["level"], of(full, "request.moved", SUBSYSTEM)[0]["stuck"]) == ("critical", True)
    watching.wait_for("NEED_GUIDANCE")


def test_a_helper_that_hangs(full: Witnessed) -> None:
    """Dogtag never answers, nor has certmonger a limit: the age of SUBMITTING is told, once more as it grows, and a
    restart knows it from the log. (Limits of seconds here.)"""
    running = Watching(full, f"from certwitness import course; course.OLD_S, course.LONGEST_STEP_S = 1, 3; {PROGRAM}")
    try:
        full.world.faults.on("dogtag-hangs")
        full.world.renew(SUBSYSTEM, wait=False)
        noticed = of(full, "noticed", SUBSYSTEM, count=2)
        assert [event["level"] for event in noticed] == ["warning", "error"]
        assert all(event["findings"][0]["found"].startswith("SUBMITTING for more than ") for event in noticed)
        (started,) = [event for event in full.events() if event["event"] == "run.started" and "attempt" in event]
        assert {event["trace_id"] for event in noticed} == {started["trace_id"]}
        running.kill()
        running.start()
        running.rest()
        assert [line for line in running.lines if "watching" not in line] == []
    finally:
        running.kill()


# --- certmonger goes and comes


def test_certmonger_is_restarted(full: Witnessed, watching: Watching) -> None:
    """Its objects have other numbers then; a renewal is seen all the same, and told once."""
    full.world.certmonger.getcert("stop-tracking", "-i", request_id(AUDIT))
    full.world.certmonger.restart()
    full.world.renew(SUBSYSTEM)
    (moved,) = of(full, "request.moved", SUBSYSTEM)
    assert [step["status"] for step in moved["steps"]][-len(SAVED_STEPS) :] == SAVED_STEPS
    assert of(full, "verified", SUBSYSTEM)[0]["outcome"] == "landed"
    assert len([line for line in watching.lines if "landed" in line]) == 1


def test_a_post_save_that_is_cut_off(full: Witnessed, watching: Watching) -> None:
    """certmonger is killed while the command runs, and never runs it again: that is told, and what lacks it."""
    certmonger = full.world.certmonger
    certmonger.getcert("start-tracking", "-i", request_id(SUBSYSTEM), "-C", "/bin/sleep 600")
    certmonger.wait_for(request_id(SUBSYSTEM))
    full.world.renew(SUBSYSTEM, wait=False)
    certmonger.wait_for(request_id(SUBSYSTEM), lambda request: request["status"] == "POST_SAVED_CERT")
    certmonger.kill()
    (noticed,) = of(full, "noticed", SUBSYSTEM)
    assert noticed["findings"][0]["commands"] == ["/bin/sleep 600", f"certwitness verify '{SUBSYSTEM}'"]
    certmonger.start()
    (verified,) = of(full, "verified", SUBSYSTEM)
    (moved,) = of(full, "request.moved", SUBSYSTEM)
    assert (verified["outcome"], verified["trace_id"]) == ("did not land", noticed["trace_id"])
    assert moved["trace_id"] == noticed["trace_id"]
    assert [step["status"] for step in moved["steps"]][-3:] == [
        "POST_SAVED_CERT", "NOTIFYING_ISSUED_SAVED", "MONITORING",
    ]  # fmt: skip
    watching.wait_for("certmonger ended while the post-save command ran")


# --- the service goes and comes


def test_started_late(full: Witnessed) -> None:
    """What was renewed and what went wrong while nobody watched is made up for."""
    full.world.renew(AUDIT)
    full.world.faults.on("ra-refused")
    full.world.renew(SUBSYSTEM)
    running = Watching(full)
    try:
        assert of(full, "verified", AUDIT)[0]["outcome"] == "landed"
        of(full, "noticed", SUBSYSTEM)
    finally:
        running.kill()


def test_killed_and_started_again(full: Witnessed, watching: Watching) -> None:
    """Nothing is told twice, neither in the log nor in the journal."""
    full.world.renew(AUDIT)
    full.world.faults.on("ra-refused")
    full.world.renew(SUBSYSTEM)
    of(full, "noticed", SUBSYSTEM)
    of(full, "verified", AUDIT)
    before = full.events()
    for _ in range(2):
        watching.kill()
        watching.start()
        watching.rest()
        assert [line for line in watching.lines if "watching" not in line] == []
    assert full.events() == before


@pytest.fixture
def slow(full: Witnessed) -> Iterator[None]:
    """A service that does not show its new certificate is waited for that long: some seconds more than a test needs."""
    path = full.world.certwitness_config
    before = path.read_text()
    path.write_text(re.sub(r"landing_s = \d+", "landing_s = 8", before))
    yield
    path.write_text(before)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("slow")
def test_ended_while_it_looks(full: Witnessed, end: signal.Signals) -> None:
    """It ends at once; whether the certificate landed is in the log all the same, and a restart says nothing more. (A
    unit is not started again before all its processes have ended.)"""
    watching = Watching(full)
    full.world.faults.on("cannot-start-pki")  # nobody can see what it serves
    full.world.renew(PKI_SERVER)
    of(full, "request.moved", PKI_SERVER)
    watching.process.send_signal(end)
    assert watching.process.wait(PATIENCE_S) == (0 if end == signal.SIGTERM else -end)
    assert not [event for event in full.events() if event["event"] == "verified"]
    assert of(full, "verified", PKI_SERVER)[0]["outcome"] == "did not land"
    before = full.events()
    watching.start()
    try:
        watching.rest()
        assert full.events() == before
    finally:
        watching.kill()


# --- what it costs


def test_nothing_is_used_while_nothing_happens(full: Witnessed, watching: Watching) -> None:
    """No thread of it is woken once in some seconds, neither before the first renewal nor after one: in one of a few
    spells, as certmonger's own signals wake whoever listens."""
    for renews in (False, True):
        if renews:
            full.world.renew(AUDIT)
            of(full, "verified", AUDIT)
        spells = list[bool]()
        while not any(spells) and len(spells) < SPELLS:
            before = watching.rest()
            time.sleep(QUIET_S)
            spells.append(watching.used() == before)
        assert any(spells)


@pytest.mark.parametrize(("name", "fault"), [(SUBSYSTEM, "dogtag-html-503"), (AUDIT, "")])
def test_nothing_grows_with_renewals(full: Witnessed, watching: Watching, name: str, fault: str) -> None:
    """Whatever was needed for the first few is enough for many, whether they fail or land: memory, threads, descriptors
    and processes."""
    if fault:
        full.world.faults.on(fault)
    sizes, numbers = [], []
    for part in range(3):
        for _ in range(8):
            full.world.renew(name)
        of(full, "request.moved" if fault else "verified", name, count=8 * (part + 1))
        watching.rest()
        sizes.append(watching.memory())
        proc = Path(f"/proc/{watching.process.pid}")
        children = (proc / "task" / proc.name / "children").read_text()
        numbers.append((len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir())), children))
    assert numbers[0][0] == 2
    assert numbers == numbers[:1] * 3
    assert sizes[2] < 1.1 * sizes[0], sizes
    print(sizes, numbers)

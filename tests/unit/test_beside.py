# SPDX-License-Identifier: MIT
"""Work in a process of its own: its results, its failures, its time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from certwitness import beside
from certwitness.errors import StoreError

Send = Callable[[Any], None]


def test_the_last_result_counts() -> None:
    """Of several, however large."""

    def work(send: Send) -> None:
        send({"first": [1, 2.5, None, True]})
        send({"second": "x" * 1_000_000})

    assert beside.ask(work, 20) == ({"second": "x" * 1_000_000}, "")


def test_nothing_sent() -> None:
    """None, and no problem."""
    assert beside.ask(lambda _: None, 20) == (None, "")


@pytest.mark.parametrize(
    ("error", "words"),
    [(StoreError("directory", "no answer"), "directory: no answer"), (KeyError("x"), "failed: KeyError('x')")],
)
def test_what_was_sent_before_a_failure_counts(error: Exception, words: str) -> None:
    """An error of ours is its line; any other says what it is."""

    def work(send: Send) -> None:
        send("half")
        raise error

    assert beside.ask(work, 20) == ("half", words)


def test_a_crash() -> None:
    """The process dies: what it sent counts."""

    def work(send: Send) -> None:
        send("half")
        os.kill(os.getpid(), signal.SIGSEGV)

    assert beside.ask(work, 20) == ("half", f"ended with wait status {int(signal.SIGSEGV)}")


@pytest.mark.parametrize("expendable", [True, False])
def test_the_time_is_over(tmp_path: Path, expendable: bool) -> None:
    """What only looks is killed; what may be writing goes on by itself."""
    pid_file = tmp_path / "pid"

    def work(send: Send) -> None:
        pid_file.write_text(str(os.getpid()))
        send("half")
        time.sleep(600)

    assert beside.ask(work, 0.5, expendable=expendable) == ("half", "took longer than 0.5 seconds")
    pid = int(pid_file.read_text())
    if expendable:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_it_has_no_descriptor_of_ours_and_ignores_the_stop_of_the_service() -> None:
    """Nobody waits for it by mistake, and a SIGTERM to certmonger's cgroup does not cost the record."""
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)

    def work(send: Send) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        names = os.listdir("/proc/self/fd")
        send(sorted(os.readlink(f"/proc/self/fd/{name}") for name in names if os.path.exists(f"/proc/self/fd/{name}")))

    try:
        found, problem = beside.ask(work, 20)
    finally:
        os.close(kept)
    assert problem == ""
    assert [name for name in found if not name.startswith(("pipe:", "/proc/"))] == ["/dev/null"] * 3


def test_the_stop_of_the_service_gives_it_some_seconds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent by then counts; the stop does not wait for the rest."""
    monkeypatch.setattr(beside, "ENDING_S", 1)

    def work(send: Send) -> None:
        send("half")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)

    assert beside.ask(work, 60) == ("half", f"ended with wait status {int(signal.SIGALRM)}")

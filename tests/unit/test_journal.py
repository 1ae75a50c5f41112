# SPDX-License-Identifier: MIT
"""The line to the system journal."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwitness.journal import report
from tests.unit.test_fail_open import fill


@pytest.fixture
def dev_log(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as journald and rsyslog have it at /dev/log, and its path."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(5)
        yield listener, path


def test_one_datagram_as_syslog_sends_it(dev_log: tuple[socket.socket, str]) -> None:
    """Facility daemon, level error, local time, ident and pid, as RFC 3164 has them."""
    listener, path = dev_log
    report("SUBMIT for IPA: x", path)
    line = listener.recv(9000).decode()
    month = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    assert re.fullmatch(
        rf"<27>{month} [ 1-3]\d \d\d:\d\d:\d\d certwitness\[{os.getpid()}\]: SUBMIT for IPA: x", line
    ), line


@pytest.mark.parametrize(
    ("level", "priority"), [("crit", 26), ("err", 27), ("warning", 28), ("notice", 29), ("info", 30)]
)
def test_levels(dev_log: tuple[socket.socket, str], level: str, priority: int) -> None:
    """journalctl -p finds it by its level."""
    listener, path = dev_log
    report("x", path, level=level)
    assert listener.recv(9000).startswith(b"<%d>" % priority)


def test_no_control_characters_and_no_end(dev_log: tuple[socket.socket, str]) -> None:
    """What the network sent can neither break the line nor make it too long to be sent."""
    listener, path = dev_log
    report("a\nb\x1b[2J ü \udcff " + "x" * 1_000_000, path)
    line = listener.recv(100_000)
    assert rb"a\nb\x1b[2J \xfc \udcff xxx" in line
    assert len(line) == 8000


def test_a_journal_that_takes_nothing(dev_log: tuple[socket.socket, str]) -> None:
    """Where nobody drains the socket, the line is lost, and nobody waits."""
    listener, path = dev_log
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        fill(filler, path)
    reporter = threading.Thread(target=report, args=("lost", path), daemon=True)
    reporter.start()
    reporter.join(5)
    assert not reporter.is_alive()
    assert listener.recv(100) == b"x"


@pytest.mark.parametrize("kind", ["missing", "file", "stream", "closed"])
def test_no_journal(tmp_path: Path, kind: str) -> None:
    """Without a journal, or with another thing in its place, nothing is raised."""
    path = str(tmp_path / "log")
    if kind == "file":
        Path(path).write_text("")
    elif kind in ("stream", "closed"):
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
        other.bind(path)
        other.close()
    report("x", path)

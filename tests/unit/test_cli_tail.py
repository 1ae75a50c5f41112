# SPDX-License-Identifier: MIT
"""certwitness tail, and following a log through its rotation."""

from __future__ import annotations

import gzip
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.cli import follow, run, tail
from certwitness.errors import LogError
from certwitness.events import files, reader
from tests.unit import events_factory as make

COMMAND = [sys.executable, "-c", "from certwitness.cli import main; main()", "tail"]


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration; the log beside it is for the test to write."""
    path = tmp_path / "certwitness.conf"
    path.write_text(f"[events]\nfile = {tmp_path}/events.jsonl\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def log(config: str) -> Path:
    """The log of ``config``, with twenty events."""
    return make.write(Path(config).with_name("events.jsonl"), [event(number) for number in range(20)])


def event(number: int) -> make.Event:
    return make.started(number, attempt=number)


def numbers(text: str) -> list[int]:
    """Which events the lines of ``text`` are."""
    return [int(line.split("#")[1].split("]")[0]) for line in text.splitlines()]


@pytest.mark.parametrize(("arguments", "first"), [([], 10), (["-n", "3"], 17), (["-n", "99"], 0), (["-n", "0"], 20)])
def test_last_events(
    config: str, log: Path, arguments: list[str], first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last events are printed, ten unless told otherwise."""
    assert log.exists()
    assert run(["tail", "--config", config, *arguments]) == 0
    assert numbers(capsys.readouterr().out) == list(range(first, 20))


def test_json_is_the_line_itself(config: str, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json a line is printed as it is in the log."""
    assert run(["tail", "--json", "-n", "2", "--config", config]) == 0
    assert capsys.readouterr().out.encode() == b"".join(log.read_bytes().splitlines(keepends=True)[-2:])


def test_goes_back_to_rotated_files(config: str, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the live file holds too few events the rotated ones give the rest."""
    lines = log.read_bytes().splitlines(keepends=True)
    log.with_name("events.jsonl.2.gz").write_bytes(gzip.compress(b"".join(lines[:10])))
    log.with_name("events.jsonl.1").write_bytes(b"".join(lines[10:18]))
    log.write_bytes(b"".join(lines[18:]))
    run(["tail", "-n", "12", "--config", config])
    assert numbers(capsys.readouterr().out) == list(range(8, 20))


def test_torn_end_is_told(config: str, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A last line that was cut off is told on stderr; one that only lacks its newline is printed."""
    with log.open("ab") as file:
        file.write(make.line(event(20)).rstrip())
    run(["tail", "-n", "1", "--config", config])
    assert numbers(capsys.readouterr().out) == [19, 20]
    with log.open("ab") as file:
        file.write(b'\n{"torn')
    assert run(["tail", "-n", "1", "--config", config]) == 0
    output = capsys.readouterr()
    assert numbers(output.out) == [20]
    assert output.err == f"certwitness: {log}: not JSON, or cut off\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(min_value=0, max_value=200_000), max_size=8), st.integers(min_value=0, max_value=9))
def test_last_lines_equals_splitting(tmp_path: Path, sizes: list[int], count: int) -> None:
    """Reading backwards gives the same lines as splitting the whole file."""
    path = tmp_path / "lines"
    path.write_bytes(b"".join(b"x" * size + b"\n" for size in sizes) + b"torn")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lines, end, start = tail.last_lines(descriptor, count)
    finally:
        os.close(descriptor)
    whole = [b"x" * size for size in sizes if size]
    assert lines == (whole[-count:] if count else [])
    assert end == path.stat().st_size - 4
    assert start > 0 or len(lines) == len(whole) or count == 0


def test_last_lines_before_a_huge_one(tmp_path: Path) -> None:
    """A line that is too long ends the reading backwards."""
    path = tmp_path / "lines"
    with path.open("wb") as file:
        file.truncate(reader.LONGEST_LINE * 3)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert tail.last_lines(descriptor, 5)[0] == [b"last"]
    finally:
        os.close(descriptor)


class Following:
    """`certwitness tail -f` in a process of its own."""

    def __init__(self, config: str, *arguments: str) -> None:
        command = [*COMMAND, "-f", "-n", "1", "--config", config, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def next(self) -> int:
        return numbers(self._lines.get(timeout=20))[0]

    def idle(self) -> bool:
        return self._lines.empty()


@pytest.fixture
def following(config: str, log: Path) -> Iterator[Following]:
    """tail -f, after it has printed the last event of ``log``."""
    assert log.exists()
    running = Following(config)
    assert running.next() == 19
    yield running
    running.process.kill()
    running.process.communicate()


def add(log: Path, number: int) -> None:
    with log.open("ab") as file:
        file.write(make.line(event(number)))


def test_follow_appended(following: Following, log: Path) -> None:
    """Events are printed as they are appended, a line in two writes as one."""
    add(log, 20)
    assert following.next() == 20
    line = make.line(event(21))
    with log.open("ab", buffering=0) as file:
        file.write(line[:50])
        time.sleep(0.2)
        assert following.idle()
        file.write(line[50:])
    assert following.next() == 21


def test_follow_renamed(following: Following, log: Path) -> None:
    """A log that is renamed and made anew is followed, what was still written to the old one included."""
    old = log.open("ab", buffering=0)
    log.rename(log.with_name("events.jsonl.1"))
    old.write(make.line(event(20)))
    old.close()
    assert following.next() == 20
    add(log, 21)
    assert following.next() == 21
    add(log, 22)
    assert following.next() == 22


def test_follow_truncated(following: Following, log: Path) -> None:
    """A log that is copied and truncated is followed from its new beginning."""
    log.with_name("events.jsonl.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    add(log, 20)
    assert following.next() == 20


def test_follow_passes_over_garbage(following: Following, log: Path) -> None:
    """A line that is no event is told on stderr, and the next event is printed."""
    with log.open("ab") as file:
        file.write(b"\xff\n")
    add(log, 20)
    assert following.next() == 20
    following.process.terminate()
    assert following.process.stderr is not None
    assert "not JSON" in following.process.stderr.read()


def test_follow_sleeps(following: Following) -> None:
    """While nothing happens tail -f does not run at all."""
    time.sleep(0.3)

    def switches() -> int:
        words = Path(f"/proc/{following.process.pid}/status").read_text().split()
        return int(words[words.index("voluntary_ctxt_switches:") + 1])

    before = switches()
    time.sleep(2.5)
    assert switches() - before <= 1


def test_follow_waits_for_the_first_event(config: str) -> None:
    """Without a log yet tail -f says that it waits, and prints the first event when it comes."""
    running = Following(config)
    try:
        assert running.process.stderr is not None
        assert "waiting for events" in running.process.stderr.readline()
        add(Path(config).with_name("events.jsonl"), 1)
        assert running.next() == 1
    finally:
        running.process.kill()
        running.process.communicate()


def test_follow_ends_when_nobody_reads(config: str, log: Path) -> None:
    """A reader that goes away ends tail -f at once, not at the next event."""
    assert log.exists()
    with subprocess.Popen([*COMMAND, "-f", "--config", config], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 141


def test_follow_a_directory_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tail -f below a directory that does not exist is one clear line."""
    path = tmp_path / "certwitness.conf"
    path.write_text(f"[events]\nfile = {tmp_path}/missing/events.jsonl\n")
    path.chmod(0o600)
    assert run(["tail", "-f", "--config", str(path)]) == 3
    assert capsys.readouterr().err == f"certwitness: {tmp_path}/missing: No such file or directory\n"


class Scripted(follow.Watch):
    """A watch whose waiting is a step of the test; after the last one it ends the test.

    ``waits`` are the longest times it was to wait, in seconds; a step that is None passes that time.
    """

    def __init__(self, *steps: object) -> None:
        self._steps = list(steps)
        self._now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def wait(self, output: int, at_most_s: float) -> None:  # noqa: ARG002
        self.waits.append(at_most_s)
        if not self._steps:
            raise EOFError
        step = self._steps.pop(0)
        if step is None:
            assert at_most_s < math.inf
            self._now += at_most_s
        else:
            assert callable(step)
            step()


def unwanted(problem: reader.Problem) -> None:
    raise AssertionError(problem)


def follow_watched(path: Path, watch: Scripted) -> list[bytes]:
    """The lines that are followed from the beginning of ``path`` on."""
    opened = [(files.open_log(str(path)), 0)] if path.exists() else []
    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(EOFError):  # noqa: PT012
        patch.setattr(follow, "time", watch)
        for line in follow.follow(str(path), opened, watch, 1, unwanted):
            seen.append(line)
    return seen


def follow_through(path: Path, *steps: object) -> list[bytes]:
    return follow_watched(path, Scripted(*steps))


def rotate(path: Path) -> None:
    """As logrotate with install/logrotate/certwitness does it."""
    packed = sorted(path.parent.glob(f"{path.name}.*.gz"), reverse=True)
    for file in packed:
        file.rename(file.with_name(f"{path.name}.{int(file.name.split('.')[-2]) + 1}.gz"))
    last = path.with_name(f"{path.name}.1")
    if last.exists():
        path.with_name(f"{path.name}.2.gz").write_bytes(gzip.compress(last.read_bytes()))
        last.unlink()
    path.rename(last)


def test_follow_passes_over_a_huge_line(tmp_path: Path) -> None:
    """A line that is too long is passed over, what comes after is not."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * (reader.LONGEST_LINE + 5))
    assert follow_through(path, lambda: path.open("ab").write(b"rest\ntwo\n")) == [b"one", b"two"]


def test_follow_gives_the_torn_end_of_a_rotated_file(tmp_path: Path) -> None:
    """The end of a file that was replaced is handed over even without its newline."""
    path = tmp_path / "log"
    path.write_bytes(b"torn")

    def replace() -> None:
        path.rename(tmp_path / "log.1")
        path.write_bytes(b"new\n")

    assert follow_through(path, replace, None) == [b"new", b"torn"]


def test_follow_gives_what_comes_late(tmp_path: Path) -> None:
    """What is written into a file after its successor was there is handed over; a while later it is let go."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    late = path.open("ab", buffering=0)
    descriptors = len(os.listdir("/proc/self/fd"))

    def replace() -> None:
        path.rename(tmp_path / "log.1")
        path.write_bytes(b"two\n")

    watch = Scripted(replace, lambda: late.write(b"late\n"), None, lambda: late.write(b"too late\n"))
    assert follow_watched(path, watch) == [b"one", b"two", b"late"]
    late.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    # It only wakes by itself while something may come.
    assert [wait < math.inf for wait in watch.waits] == [False, True, True, False, False]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_follow_finds_what_passed_by(tmp_path: Path, times: int, live: bool) -> None:
    """Files that came and were rotated away between two looks are read, packed or not; older ones are not."""
    path = tmp_path / "log"
    for old in (b"older\n", b"old\n"):
        path.write_bytes(old)
        rotate(path)
    path.write_bytes(b"0\n")

    def pass_by() -> None:
        with path.open("ab") as file:
            file.write(b"0 end\n")
        for number in range(1, times + 1):
            rotate(path)
            if live or number < times:
                path.write_bytes(b"%d\n" % number)

    def more() -> None:
        with path.open("ab") as file:
            file.write(b"more\n")

    passed = [b"0", b"0 end", *(b"%d" % number for number in range(1, times))]
    if live:
        assert follow_through(path, pass_by, more, None, more) == [*passed, b"%d" % times, b"more", b"more"]
    else:
        assert follow_through(path, pass_by) == passed


def test_follow_from_nothing(tmp_path: Path) -> None:
    """Where there was no log at all, whatever comes is read, packed or not."""
    path = tmp_path / "log"

    def begin() -> None:
        for number in range(3):
            path.write_bytes(b"%d\n" % number)
            rotate(path)

    assert follow_through(path, begin) == [b"0", b"1", b"2"]


def test_follow_while_it_is_packed(tmp_path: Path) -> None:
    """A file that is just being packed is read once."""
    path = tmp_path / "log"
    path.write_bytes(b"0\n")

    def pass_by() -> None:
        for number in range(1, 3):
            rotate(path)
            path.write_bytes(b"%d\n" % number)
        path.with_name("log.1.gz").write_bytes(gzip.compress(b"1\n")[:-3])

    assert follow_through(path, pass_by) == [b"0", b"1", b"2"]


def test_follow_what_was_moved_elsewhere(tmp_path: Path) -> None:
    """When the log gets a name that is not logrotate's, the rotated files of before are not taken for new."""
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    rotate(path)
    path.write_bytes(b"one\n")

    def replace() -> None:
        path.rename(tmp_path / "elsewhere")
        path.write_bytes(b"two\n")

    assert follow_through(path, replace) == [b"one", b"two"]


@pytest.mark.parametrize("moment", range(5))
def test_rotation_while_tail_starts(
    config: str, log: Path, moment: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rotation between the opening of two files makes nothing appear twice, nor disappear."""
    for number in range(20, 24):
        rotate(log)
        add(log, number)
    calls = 0
    opening = files.open_log

    def rotating(path: str) -> int:
        nonlocal calls
        if calls == moment:
            rotate(log)
            add(log, 24)
        calls += 1
        return opening(path)

    monkeypatch.setattr(files, "open_log", rotating)
    assert run(["tail", "-n", "99", "--config", config]) == 0
    assert numbers(capsys.readouterr().out) == list(range(25))


def test_late_for_the_start(config: str, log: Path) -> None:
    """What is still written into the file before the last one while tail -f starts is printed."""
    with log.open("ab", buffering=0) as late:
        rotate(log)
        add(log, 20)
        running = Following(config)
        try:
            assert running.next() == 20
            late.write(make.line(event(21)))
            assert running.next() == 21
        finally:
            running.process.kill()
            running.process.communicate()


def test_start_between_rotation_and_the_next_event(config: str, log: Path) -> None:
    """tail -f that starts when there are only rotated files goes on where they end."""
    rotate(log)
    running = Following(config)
    try:
        assert running.next() == 19
        add(log, 20)
        assert running.next() == 20
        assert running.idle()
    finally:
        running.process.kill()
        running.process.communicate()


def test_follow_refuses_a_fifo(tmp_path: Path) -> None:
    """A FIFO that takes the place of the log is one clear line and does not hang."""
    path = tmp_path / "log"
    path.write_bytes(b"")

    def replace() -> None:
        path.unlink()
        os.mkfifo(path)

    with pytest.raises(LogError, match="not a regular file"):
        follow_through(path, replace)


def test_watch_without_inotify(tmp_path: Path) -> None:
    """Without inotify a wait takes a second."""
    watch = follow.Watch(str(tmp_path))
    watch._descriptor = -1
    reading, writing = os.pipe()
    begin = time.monotonic()
    watch.wait(writing, math.inf)
    assert 0.9 < time.monotonic() - begin < 5
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        watch.wait(writing, math.inf)
    os.close(writing)

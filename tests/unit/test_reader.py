# SPDX-License-Identifier: MIT
"""Reading the event log, whatever state it is in."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.errors import LogError
from certwitness.events import files, reader
from tests.unit import events_factory as make

SCHEMA = Path(reader.__file__).with_name("schema.json")
GOOD = make.line(make.started(1))
ALSO = make.line(make.ended(2))


def read(path: Path) -> tuple[list[str], list[tuple[str, int, str]]]:
    """What kinds of events were read, and the problems as (file name, line, what)."""
    problems: list[reader.Problem] = []
    events = [event["event"] for event in reader.read_log(str(path), problems.append)]
    return events, [(os.path.basename(problem.path), problem.line, problem.what) for problem in problems]


def log(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(data)
    return path


BOTH = ["run.started", "run.ended"]


def test_good_lines(tmp_path: Path) -> None:
    """Events come in the order of their lines, and nothing is reported."""
    assert read(log(tmp_path, GOOD + ALSO)) == (BOTH, [])


def test_events_of_these_tests_follow_the_schema() -> None:
    """What the tests of the reading side feed in is what the helpers write."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for event in (*make.issued(), make.ended(stdout="no"), make.ended(code=None, signal=9), make.data_operation()):
        validator.validate(event)


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    """An event with a field of a later version is read."""
    assert read(log(tmp_path, make.line({**make.started(), "later": {"a": [1]}}))) == (["run.started"], [])


def test_last_line_without_newline(tmp_path: Path) -> None:
    """A whole last line that lacks only its newline is an event."""
    assert read(log(tmp_path, GOOD + ALSO.rstrip(b"\n"))) == (BOTH, [])


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe\x00garbage", "not JSON"),
        (GOOD[:-20], "not JSON"),
        (b"[1, 2]", "no JSON object"),
        (b'"text"', "no JSON object"),
        (b"null", "no JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "no schema number"),
        (b'{"schema": "1"}', "no schema number"),
        (b'{"schema": true}', "schema True"),
        (make.line({**make.started(), "schema": 2})[:-1], "schema 2, but this certwitness reads schema 1"),
        (b'{"schema": 1}', "no timestamp"),
        (make.line({**make.started(), "trace_id": 7})[:-1], "no trace_id"),
    ],
    ids=str,
)
def test_bad_line(tmp_path: Path, bad: bytes, what: str) -> None:
    """A line that is no event of ours is reported with its number, and the good ones around it are read."""
    events, problems = read(log(tmp_path, GOOD + bad + b"\n" + ALSO))
    assert events == BOTH
    assert [(name, number) for name, number, _ in problems] == [("events.jsonl", 2)]
    assert what in problems[0][2]


def test_torn_last_line(tmp_path: Path) -> None:
    """A last line that was cut off is reported, not fatal."""
    events, problems = read(log(tmp_path, GOOD + ALSO[:100]))
    assert events == ["run.started"]
    assert problems == [("events.jsonl", 2, "not JSON, or cut off")]


def test_empty_lines_are_no_problem(tmp_path: Path) -> None:
    """An empty line, which a repaired log may hold, is passed over."""
    assert read(log(tmp_path, GOOD + b"\n \r\n" + ALSO)) == (BOTH, [])


def test_line_of_100_mb_is_not_loaded(tmp_path: Path) -> None:
    """A 100 MB line is reported, and takes no more memory than a good one."""
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(GOOD)
        file.truncate(len(GOOD) + 100_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + ALSO)
    code = (
        "import sys, resource; from certwitness.events import reader\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "problems = []\n"
        "events = [e['event'] for e in reader.read_log(sys.argv[1], problems.append)]\n"
        "print(events, problems[0].line, problems[0].what)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    first, grown = done.stdout.splitlines()
    assert first == "['run.started', 'run.ended'] 2 longer than 8 MiB"
    assert int(grown) < 40_000


def test_long_last_line_is_reported(tmp_path: Path) -> None:
    """A line that is too long and has no end is reported too."""
    events, problems = read(log(tmp_path, GOOD + b"x" * (reader.LONGEST_LINE + 1)))
    assert events == ["run.started"]
    assert problems == [("events.jsonl", 2, "longer than 8 MiB")]


@pytest.mark.parametrize("size", [reader.LONGEST_LINE - 5, reader.LONGEST_LINE])
def test_line_over_several_blocks(tmp_path: Path, size: int) -> None:
    """A long line that is still within the limit is read whole."""
    event = make.started()
    event["filler"] = "x" * (size - len(make.line({**event, "filler": ""})) + 1)
    assert len(make.line(event)) == size + 1
    assert read(log(tmp_path, GOOD + make.line(event) + ALSO)) == (["run.started", "run.started", "run.ended"], [])


def rotate(tmp_path: Path, names: list[str]) -> Path:
    """One event a file, whose host tells which."""
    for name in names:
        data = make.line({**make.started(), "host": name})
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return tmp_path / "events.jsonl"


@pytest.mark.parametrize(
    "names",
    [
        ["events.jsonl.10.gz", "events.jsonl.2.gz", "events.jsonl.1", "events.jsonl"],
        ["events.jsonl-20261101.gz", "events.jsonl-20261108", "events.jsonl"],
        ["events.jsonl.1"],
    ],
)
def test_rotated_files_oldest_first(tmp_path: Path, names: list[str]) -> None:
    """Rotated files are read from the oldest on, packed or not; neighbours with other names are not."""
    path = rotate(tmp_path, names)
    for name in ("events.jsonl.swp", "events.jsonl.1.new", "events.jsonlx", "other.jsonl", "events.jsonl.bak"):
        (tmp_path / name).write_bytes(b"no event\n")
    problems: list[reader.Problem] = []
    assert [event["host"] for event in reader.read_log(str(path), problems.append)] == names
    assert problems == []


def test_truncated_gzip(tmp_path: Path) -> None:
    """Of a gzip file whose end is missing the beginning is read, and the rest of the log too."""
    lines = [make.line({**make.started(at), "filler": os.urandom(400).hex()}) for at in range(50)]
    packed = gzip.compress(b"".join(lines))
    (tmp_path / "events.jsonl.1.gz").write_bytes(packed[: len(packed) // 2])
    events, problems = read(log(tmp_path, ALSO))
    assert 10 < len(events) < 50
    assert events[-1] == "run.ended"
    assert ("events.jsonl.1.gz", 0, "truncated gzip file: its end is missing") in problems


def test_damaged_gzip(tmp_path: Path) -> None:
    """A file that only claims to be packed is reported."""
    (tmp_path / "events.jsonl.1.gz").write_bytes(b"plain text\n")
    events, problems = read(log(tmp_path, GOOD))
    assert events == ["run.started"]
    assert problems == [("events.jsonl.1.gz", 0, "damaged gzip data: what comes after is lost")]


def test_gzip_of_several_members(tmp_path: Path) -> None:
    """Packed files may be joined, and padded with zeros."""
    (tmp_path / "events.jsonl.1.gz").write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD) + b"\0" * 100)
    assert read(log(tmp_path, ALSO)) == (["run.started", "run.started", "run.ended"], [])


def test_other_compression(tmp_path: Path) -> None:
    """A rotated file that cannot be unpacked is named."""
    (tmp_path / "events.jsonl.1.xz").write_bytes(b"x")
    assert read(log(tmp_path, GOOD))[1] == [("events.jsonl.1.xz", 0, "not read: only .gz can be unpacked")]


def test_rotated_file_that_is_none(tmp_path: Path) -> None:
    """A directory in the place of a rotated file is reported, and the rest is read."""
    (tmp_path / "events.jsonl.1").mkdir()
    assert read(log(tmp_path, GOOD)) == (["run.started"], [("events.jsonl.1", 0, "not a regular file")])


def test_same_file_under_two_names(tmp_path: Path) -> None:
    """What a rotation renames while we open the files is read once."""
    path = log(tmp_path, GOOD)
    os.link(path, tmp_path / "events.jsonl.1")
    assert read(path) == (["run.started"], [])


def test_missing_log(tmp_path: Path) -> None:
    """No log is one clear line."""
    with pytest.raises(LogError, match=r"events\.jsonl: there is no event log yet"):
        list(reader.read_log(str(tmp_path / "events.jsonl"), print))


def test_directory_and_fifo(tmp_path: Path) -> None:
    """A directory, a FIFO (which must not hang) or a device in the place of the log is one clear line."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(LogError, match="not a regular file"):
            list(reader.read_log(str(path), print))


def test_unreadable_log(tmp_path: Path) -> None:
    """A path that leads nowhere is one clear line that says why."""
    log(tmp_path, GOOD)
    with pytest.raises(LogError, match="Not a directory"):
        list(reader.read_log(str(tmp_path / "events.jsonl" / "events.jsonl"), print))


def test_data_operations_are_known_unparsed() -> None:
    """Only the end of a data operation, as our writer lays it out and whole, is passed over."""
    assert reader.is_data_operation(make.line(make.data_operation()).rstrip())
    assert reader.is_data_operation(make.line(make.data_operation(operation="NEW-ONE")).rstrip())
    assert not reader.is_data_operation(make.line(make.data_operation()).rstrip()[:-10])
    for event in (
        make.started(),
        make.ended(),
        make.ended(operation="", level="debug"),
        make.ended(stderr='{"operation":"IDENTIFY"'),
        {**make.data_operation(), "schema": 2},
        {**make.data_operation(), "host": 'a","operation":"x'},
    ):
        assert not reader.is_data_operation(make.line(event).rstrip())


def test_data_operation_spelled_otherwise_is_parsed() -> None:
    """A line that another program has rewritten is parsed instead."""
    assert not reader.is_data_operation(json.dumps(make.data_operation()).encode())


def test_problems_are_counted() -> None:
    """Of problems of one kind the first is kept, with how many there were: a million take no memory."""
    problems = reader.Problems()
    assert not problems
    for number in range(1, 1001):
        problems.report(reader.Problem("log", number, "not JSON, or cut off"))
    problems.report(reader.Problem("log", 5, "longer than 8 MiB"))
    assert [(problem.line, count) for problem, count in problems.counted()] == [(1, 1000), (5, 1)]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=6), st.binary(max_size=200))
def test_random_bytes_around_good_events(tmp_path: Path, between: list[bytes], end: bytes) -> None:
    """Whatever stands between two good events, both are read and nothing raises."""
    data = b"".join(GOOD + junk + b"\n" for junk in between) + ALSO + end
    events, _ = read(log(tmp_path, data))
    assert [event for event in events if event == "run.started"] == ["run.started"] * len(between)
    assert "run.ended" in events


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.integers(min_value=0, max_value=300))
def test_random_gzip(tmp_path: Path, junk: bytes, cut: int) -> None:
    """A packed file that is cut and continued with random bytes never raises."""
    (tmp_path / "events.jsonl.1.gz").write_bytes(gzip.compress(GOOD * 3)[:cut] + junk)
    events, _ = read(log(tmp_path, ALSO))
    assert events[-1] == "run.ended"


@pytest.mark.parametrize("before", range(5))
def test_a_rotation_while_the_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """Whenever it comes, each file is read once: none twice under its new name, none missed under its old one."""
    log = tmp_path / "events.jsonl"
    names = [log, *(tmp_path / f"events.jsonl.{number}" for number in (1, 2, 3))]
    for number, name in enumerate(reversed(names)):
        make.write(name, [make.started(number)])
    opening, opened = files.open_log, list[str]()

    def rotating(path: str) -> int:
        if len(opened) == before:
            for number in (3, 2, 1):
                os.rename(tmp_path / f"events.jsonl.{number}", tmp_path / f"events.jsonl.{number + 1}")
            os.rename(log, names[1])
            make.write(log, [make.started(4)])
        opened.append(path)
        return opening(path)

    monkeypatch.setattr(files, "open_log", rotating)
    found = [event["timestamp"] for event in reader.read_log(str(log), lambda _: None)]
    last = 4 if before < 4 else 3  # after the fourth all that there was is open
    assert found == [make.stamp(number) for number in range(last + 1)]

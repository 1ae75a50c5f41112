# SPDX-License-Identifier: MIT
"""The writer of the event log."""

from __future__ import annotations

import builtins
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.errors import LogError
from certwitness.events import log

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_one_ascii_line(fields: dict[str, Any]) -> None:
    """Whatever the fields hold, the event is one line of ASCII that reads back the same."""
    line = log.encode(fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.isascii()
    assert min(line[:-1]) >= 32
    assert json.loads(line) == fields


def test_without_the_c_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without `_json` writes the same line."""
    real_import = builtins.__import__
    event = {"text": "ü\x1b\n", "number": 1.5, "list": [None, True]}
    expected = log.encode(event)

    def without(
        name: str, globals_: Mapping[str, object] | None = None, locals_: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (), level: int = 0,
    ) -> Any:  # fmt: skip
        if name == "_json":
            raise ImportError(name)
        return real_import(name, globals_, locals_, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without)
    assert log.encode(event) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1795466760.25, "2026-11-23T20:46:00.250000Z"),
        (0.9999999, "1970-01-01T00:00:01.000000Z"),
    ],
)
def test_timestamp(seconds: float, text: str) -> None:
    """UTC with microseconds, rounded into the next second where that is nearer."""
    assert log.timestamp(seconds) == text


def test_concurrent_writers(tmp_path: Path) -> None:
    """Eight helpers at once, as certmonger starts them: every event is a line of its own."""
    path = str(tmp_path / "events.jsonl")

    def write(writer: int) -> None:
        for number in range(50):
            log.append(path, log.event("x", "info", "0" * 32, "0" * 16, writer=writer, number=number, text="y" * 5000))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    assert sorted((event["writer"], event["number"]) for event in events) == [
        (w, n) for w in range(8) for n in range(50)
    ]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    """A log that cannot be written gives one line that names it and what is wrong."""
    event = log.event("x", "info", "0" * 32, "0" * 16)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o666)
    for name, words in (("directory", "Is a directory"), ("fifo", "not a regular file"), ("link", "Too many levels"),
                        ("open", "others than root can write"), ("no/such", "No such file")):  # fmt: skip
        path = str(tmp_path / name) if name != "no/such" else str(tmp_path / "a" / "b" / "c")
        with pytest.raises(LogError, match=words) as raised:
            log.append(path, event)
        assert str(raised.value).startswith(str(tmp_path))
    assert not (tmp_path / "target").exists()


def test_a_directory_that_is_a_link(tmp_path: Path) -> None:
    """A link in the place of the log's directory is refused, as one in the place of the log."""
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("link", "dangling"):
        with pytest.raises(LogError, match=f"{name}: a symbolic link"):
            log.append(str(tmp_path / name / "events.jsonl"), log.event("x", "info", "0" * 32, "0" * 16))
    assert list((tmp_path / "target").iterdir()) == []

# SPDX-License-Identifier: MIT
"""Which trace a run joins, and what of the state directory is believed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from certwitness.events import traces
from certwitness.events.traces import Trace

ID = "0123456789abcdef" * 2


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


def join(state: Path, *, name: str = "ra", key: str = "k1", previous: str = "p", expired: bool = False) -> Trace:
    return traces.join(str(state), name=name, key=key, ca="IPA", previous=previous, expired=expired)


def files(state: Path) -> list[Path]:
    return sorted((state / "renewals").iterdir())


def run(state: Path, renewal: str, **identity: Any) -> Trace:
    """One whole run."""
    trace = join(state, **identity)
    trace.save(renewal, last="2026-01-01")
    return trace


def test_the_next_run_joins(state: Path) -> None:
    """The same request again is the next attempt of the same trace."""
    first, second = run(state, "waiting"), run(state, "waiting")
    assert (second.trace_id, second.attempt) == (first.trace_id, 2)


def test_a_new_key_is_joined_once(state: Path) -> None:
    """After exit 17 the next key goes on with the trace; once it has, no third key can, however the renewal ended."""
    first = run(state, "new-key", key="k1")
    second = run(state, "rejected", key="k2")
    assert second.trace_id == first.trace_id
    assert join(state, key="k3").trace_id != first.trace_id
    assert join(state, key="k1").trace_id != first.trace_id


def test_a_new_key_is_joined_by_one_of_two(state: Path) -> None:
    """Two runs that could both be the next: the trace goes to the first, before that has ended."""
    first = run(state, "new-key", key="k1")
    assert join(state, key="k2").trace_id == first.trace_id
    assert join(state, key="k3").trace_id != first.trace_id


def test_a_new_key_of_another_request(state: Path) -> None:
    """A state of another name, or with another certificate held, is not joined and stays where it is."""
    first = run(state, "new-key", key="k1")
    assert join(state, key="k2", name="other").trace_id != first.trace_id
    assert join(state, key="k2", previous="q").trace_id != first.trace_id
    assert join(state, key="k2").trace_id == first.trace_id


def test_nothing_to_join_by(state: Path) -> None:
    """Runs with neither friendlyName nor key are not thrown together, and leave nothing behind."""
    one, other = run(state, "waiting", name="", key=""), run(state, "waiting", name="", key="")
    assert one.trace_id != other.trace_id
    assert other.attempt == 1
    assert not (state / "renewals").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"trace_id": "x"},
        {"trace_id": ID.upper()},
        {"trace_id": ID + "0"},
        {"trace_id": ID + "\n"},
        {"trace_id": "\u0661" * 32},
        {"trace_id": None},
        {"attempt": -1},
        {"attempt": True},
        {"attempt": 1.0},
        {"attempt": "1"},
        {"attempt": 1 << 40},
        {"attempt": None},
    ],
)
def test_a_state_that_is_not_ours(state: Path, content: dict[str, Any]) -> None:
    """A trace id or a number of attempts that we would not have written is not taken over."""
    run(state, "waiting")
    (path,) = files(state)
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "trace_id": ID}))
    assert join(state).trace_id == ID
    path.write_text(json.dumps({**written, "trace_id": ID, **content}))
    trace = join(state)
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
    assert (trace.trace_id != ID, trace.attempt) == (True, 1)


@pytest.mark.parametrize("content", [b"[" * 60_000, b'{"a":' * 10_000, b"[]", b"null", b"", b"\xff", b"{"])
def test_a_state_that_cannot_be_read(state: Path, content: bytes) -> None:
    """Whatever stands in a state file, the run gets a trace."""
    run(state, "waiting")
    (path,) = files(state)
    path.write_bytes(content)
    assert join(state).attempt == 1


def test_no_temporary_file_is_left(state: Path) -> None:
    """Where the state cannot be put in its place, the error says so and nothing lies about."""
    trace = run(state, "waiting")
    (path,) = files(state)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        trace.save("waiting")
    assert files(state) == [path]


@pytest.mark.parametrize("which", ["", "renewals"])
@pytest.mark.parametrize("damage", ["writable by the group", "writable by all", "of another user", "a link"])
def test_a_directory_of_others(state: Path, damage: str, which: str) -> None:
    """Where others could have put a state, none is read and none is written; the error names the directory."""
    first = run(state, "waiting")
    directory = state / which
    before = len(files(state))
    if damage == "of another user":
        if os.geteuid():
            pytest.skip("needs root")
        os.chown(directory, 65534, -1)
    elif damage == "a link":
        real = directory.with_name("real")
        directory.rename(real)
        directory.symlink_to(real)
    else:
        directory.chmod(0o770 if "group" in damage else 0o707)
    trace = join(state)
    assert (trace.trace_id != first.trace_id, trace.attempt) == (True, 1)
    with pytest.raises(OSError) as raised:
        trace.save("waiting")
    assert raised.value.filename.rstrip("/") == str(directory)
    assert raised.value.strerror
    assert len(files(state)) == before

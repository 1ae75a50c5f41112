# SPDX-License-Identifier: MIT
"""Write the event log: one JSON line an event, one `write` a line, appended to one file.

Stands on the helper's hot path: the JSON comes from `json`'s own C encoder (`_json`, always part of CPython)
without the rest of `json`, which costs 6 ms because its decoder imports `re`.
"""

from __future__ import annotations

import os
import time

from certwitness.errors import LogError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1


def timestamp(seconds: float) -> str:
    """`seconds` since the epoch as UTC ISO 8601 with microseconds: "2026-11-23T19:26:00.123456Z"."""
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{micro:06d}Z"


def new_trace_id() -> str:
    """A random trace id: 32 hex digits, as W3C Trace Context and OpenTelemetry have it."""
    return os.urandom(16).hex()


def new_span_id() -> str:
    """A random span id: 16 hex digits."""
    return os.urandom(8).hex()


def event(name: str, level: str, trace_id: str, span_id: str, **fields: Any) -> dict[str, Any]:
    """An event of now: the fields that every event has, in their order, then `fields`."""
    return {
        "timestamp": timestamp(time.time()),
        "event": name,
        "level": level,
        "schema": SCHEMA,
        "host": os.uname().nodename,
        "trace_id": trace_id,
        "span_id": span_id,
        **fields,
    }


def encode(event: dict[str, Any]) -> bytes:
    """`event` as one line of ASCII, newline included: what the network sent can neither break the line nor
    reach a terminal that shows the file."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        encoder: Any = make_encoder  # its stub is of another Python version's
        text = "".join(encoder({}, None, encode_basestring_ascii, None, ":", ",", False, False, False)(event, 0))
    except (ImportError, TypeError):  # another Python than CPython, or one whose encoder has changed
        import json

        text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def append(path: str, event: dict[str, Any]) -> None:
    """Append `event` to the event log at `path`, which is made (0600, its directory 0700) if it is missing.

    Raises LogError, one line that names the file: a directory that others can write, anything else than a regular
    file (no link is followed, nor one in the place of the directory), no permission, no space. A line cut off by a full
    disk is closed by the next event.
    """
    line = encode(event)
    try:
        descriptor = _open(path)
        try:
            _check(path, os.fstat(descriptor))
            if _is_torn(descriptor):
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise LogError(f"{path}: no space left for a whole event")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from None


def _is_torn(descriptor: int) -> bool:
    """Whether the file ends within a line. Another writer's event that is just being written does not count: a look
    can see the half of it, a few milliseconds later there is all of it."""
    for pause in (0.001, 0.005, 0.025, 0):
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if not size or os.pread(descriptor, 1, size - 1) == b"\n":
            return False
        time.sleep(pause)
    return True


def _open(path: str) -> int:
    # O_NONBLOCK: a FIFO in the place of the log must not hold a renewal up.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    directory = os.path.dirname(path)
    try:
        _check(directory, os.lstat(directory))
    except FileNotFoundError:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:  # made by one of the eight helpers that certmonger starts at once
            pass
    return os.open(path, flags, 0o600)


def _check(path: str, status: os.stat_result) -> None:
    kind = status.st_mode & 0o170000
    if kind == 0o120000:
        raise LogError(f"{path}: a symbolic link: it is not followed; let [events] file name the real directory")
    if kind not in (0o100000, 0o040000):
        raise LogError(f"{path}: not a regular file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise LogError(f"{path}: others than root can write it; chown root {path} && chmod go-w {path}")

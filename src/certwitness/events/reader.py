# SPDX-License-Identifier: MIT
"""Read the event log: its rotated files and the live one, oldest first, whatever state they are in.

A line that is no event of ours is reported and passed over; the good ones around it are read. Memory is bounded by
LONGEST_LINE, not by the file.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from certwitness.errors import LogError
from certwitness.events import files

SCHEMA = 1
# Far above what the writer makes of a run: the kernel allows the helper's whole environment 6 MiB at most, and of
# the streams 20 KiB each are kept.
LONGEST_LINE = 8 << 20
_BLOCK = 1 << 20
_DECODE = json.JSONDecoder().decode

# A data operation as our writer lays it out. Anchored, so that no text inside the event can look like it.
_DATA_OPERATION = re.compile(
    rb'\{"timestamp":"[0-9TZ:.-]{20,27}","event":"run\.ended","level":"[a-z]+","schema":1,"host":"[^"\\]*",'
    rb'"trace_id":"[0-9a-f]{32}","span_id":"[0-9a-f]{16}","operation":"(?!SUBMIT"|POLL")[^"\\]+".*\}$'
).match

Event = dict[str, Any]
Skip = Callable[[bytes], object]


class Problem(NamedTuple):
    """What could not be read: the file, the line from 1 (0: the file as a whole), and why."""

    path: str
    line: int
    what: str


Report = Callable[[Problem], None]


class Problems:
    """Problems as they are reported, counted and bounded: of the same kind in a file only the first is kept."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[Any]] = {}

    def report(self, problem: Problem) -> None:
        entry = self._seen.setdefault((problem.path, problem.what), [problem, 0])
        entry[1] += 1

    def __bool__(self) -> bool:
        return bool(self._seen)

    def counted(self) -> list[tuple[Problem, int]]:
        """The first problem of each kind, and how many there are of it."""
        return [(entry[0], entry[1]) for entry in self._seen.values()]


def is_data_operation(line: bytes) -> bool:
    """Whether a line is the end of a data operation, as far as that can be told without parsing it."""
    return _DATA_OPERATION(line) is not None


def read_log(path: str, report: Report, skip: Skip | None = None) -> Iterator[Event]:
    """The events of the log at ``path`` and of its rotated files, oldest first.

    Lines for which ``skip`` is true are passed over unseen. Raises LogError if ``path`` is missing (with no rotated
    file beside it), not a regular file, or not permitted; trouble with a rotated file is reported.
    """
    opened = files.open_all(path, lambda name, why: report(Problem(name, 0, why)))
    if not opened:
        raise LogError(missing_log(path))
    try:
        for name, descriptor in opened[::-1]:
            yield from read_descriptor(name, descriptor, report, skip)
    finally:
        files.close(opened)


def read_descriptor(path: str, descriptor: int, report: Report, skip: Skip | None = None) -> Iterator[Event]:
    """The events of one open file, which is unpacked if its name ends in .gz."""
    try:
        for number, line in lines(path, descriptor, report):
            if skip is not None and skip(line):
                continue
            event = parse(line, path, number, report)
            if event is not None:
                yield event
    except OSError as error:
        report(Problem(path, 0, f"cannot be read: {error.strerror}"))


def lines(path: str, descriptor: int, report: Report) -> Iterator[tuple[int, bytes]]:
    """The lines of one open file with their numbers, newline taken off; one that is too long is reported instead."""
    number = 0
    parts: list[bytes] = []  # the beginning of a line whose end has not come yet
    size = 0
    for block in _blocks(path, descriptor, report):
        head, *rest = block.split(b"\n")
        size += len(head)
        if size <= LONGEST_LINE:
            parts.append(head)
        else:
            parts.clear()
        if not rest:
            continue
        number += 1
        if size <= LONGEST_LINE:
            yield number, b"".join(parts)
        else:
            report(Problem(path, number, f"longer than {LONGEST_LINE >> 20} MiB"))
        last = rest.pop()
        for line in rest:
            number += 1
            yield number, line
        parts, size = [last], len(last)
    if size > LONGEST_LINE:
        report(Problem(path, number + 1, f"longer than {LONGEST_LINE >> 20} MiB"))
    elif size:
        yield number + 1, b"".join(parts)


def parse(line: bytes, path: str, number: int, report: Report) -> Event | None:
    """One line as an event, or None if it is not one: that is reported, but for an empty line."""
    try:
        event = _DECODE(line.decode())
    except (ValueError, RecursionError):
        if line.strip(b" \t\r\n"):
            report(Problem(path, number, "not JSON, or cut off"))
        return None
    if not isinstance(event, dict):
        report(Problem(path, number, "not an event: no JSON object"))
        return None
    schema = event.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        if isinstance(schema, int):
            report(Problem(path, number, f"schema {schema}, but this certwitness reads schema {SCHEMA}"))
        else:
            report(Problem(path, number, "not an event: it has no schema number"))
        return None
    for name in ("timestamp", "event", "trace_id", "span_id"):
        if not isinstance(event.get(name), str):
            report(Problem(path, number, f"not an event: it has no {name}"))
            return None
    return event


def missing_log(path: str) -> str:
    """What to say when there is no log at all."""
    return f"{path}: there is no event log yet; it begins when certmonger runs a helper of certwitness"


def _blocks(path: str, descriptor: int, report: Report) -> Iterator[bytes]:
    if path.endswith(".gz"):
        yield from _unpacked(path, descriptor, report)
        return
    if path.endswith((".bz2", ".xz", ".zst")):
        report(Problem(path, 0, "not read: only .gz can be unpacked"))
        return
    while True:
        block = os.read(descriptor, _BLOCK)
        if not block:
            return
        yield block


def _unpacked(path: str, descriptor: int, report: Report) -> Iterator[bytes]:
    packed = b""
    unpacker = zlib.decompressobj(wbits=31)
    fresh = True
    try:
        while True:
            packed = packed or os.read(descriptor, _BLOCK)
            if not packed:
                break
            block = unpacker.decompress(packed, _BLOCK)
            fresh = False
            packed = unpacker.unconsumed_tail
            if block:
                yield block
            if unpacker.eof:
                # A gzip file may hold several members; zeros may pad its end.
                packed = unpacker.unused_data.lstrip(b"\0")
                unpacker = zlib.decompressobj(wbits=31)
                fresh = True
    except zlib.error:
        report(Problem(path, 0, "damaged gzip data: what comes after is lost"))
        return
    if not fresh:
        report(Problem(path, 0, "truncated gzip file: its end is missing"))

# SPDX-License-Identifier: MIT
"""The files that the event log is in: the live one and its rotated ones, opened as of one moment."""

from __future__ import annotations

import os
import re
import stat
from typing import Callable

from certwitness.errors import LogError

PACKED = (".gz", ".bz2", ".xz", ".zst")
# logrotate's names: events.jsonl.1, events.jsonl.2.gz, with dateext events.jsonl-20261123[.gz]
_ROTATED = re.compile(r"(?:\.(?P<number>\d{1,6})|-(?P<date>\d{8}[\d-]*))(?P<packed>\.(?:gz|bz2|xz|zst))?")
# Rotations come days apart: who meets so many at once looks at something else than logrotate.
_TRIES = 20


def open_log(path: str) -> int:
    """A descriptor of the log, never blocking on a FIFO or a device.

    Raises FileNotFoundError if there is none, LogError for anything but a readable regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LogError(f"{path}: not a regular file")
    return descriptor


def rotated(path: str) -> list[str]:
    """The rotated files of ``path``, newest first: numbers count from the newest, dates from the oldest."""
    directory, name = os.path.split(path)
    numbered, dated = [], []
    try:
        entries = os.listdir(directory or ".")
    except OSError:
        return []
    for entry in entries:
        match = _ROTATED.fullmatch(entry, len(name)) if entry.startswith(name) else None
        if match and match["number"]:
            numbered.append((int(match["number"]), os.path.join(directory, entry)))
        elif match:
            dated.append((match["date"], os.path.join(directory, entry)))
    return [file for _, file in [*sorted(numbered), *sorted(dated, reverse=True)]]


def open_all(path: str, trouble: Callable[[str, str], None] = lambda *_: None) -> list[tuple[str, int]]:
    """The log at ``path`` and its rotated files, as far as they are there, newest first: names and descriptors.

    Each once, as of one moment. ``trouble`` is told of a rotated file that cannot be read, and why. Raises LogError if
    ``path`` is there and no readable regular file.
    """
    for tries in range(_TRIES):
        inodes = _inodes(path)
        opened, unread = [], []
        for name in inodes:
            try:
                opened.append((name, open_log(name)))
            except FileNotFoundError:
                pass
            except LogError as error:
                if name == path:
                    raise
                unread.append((name, str(error).replace(f"{name}: ", "", 1)))
        if _inodes(path) == inodes or tries == _TRIES - 1:
            break
        # A rotation meanwhile: a file may have been opened under two names, another under none.
        close(opened)
    for entry in unread:
        trouble(*entry)
    return opened


def close(files: list[tuple[str, int]]) -> None:
    """The descriptors that ``open_all`` gave."""
    for _, descriptor in files:
        os.close(descriptor)


def _inodes(path: str) -> dict[str, int]:
    """Which file each name is, newest first, each file once; 0 for none."""
    names = [path, *rotated(path)]
    inodes: dict[str, int] = {}
    for name in names:
        if name.endswith(PACKED) and os.path.splitext(name)[0] in names:  # just being packed
            continue
        try:
            inode = os.stat(name).st_ino
        except OSError:
            inode = 0
        if inode == 0 or inode not in inodes.values():  # a second name for the same file
            inodes[name] = inode
    return inodes

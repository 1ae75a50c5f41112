# SPDX-License-Identifier: MIT
"""FreeIPA's renewal lock: who holds it, and whether that process is still there.

An INI file with a section ``lock``: `locked` (1 or 0), `owner` (``<script>[<pid>]``, or a bare name where pre-save
takes it and post-save releases it), `expire` (UTC, an hour after it was taken). FreeIPA guards the file with flock only
while it reads or writes it (freeipa.md, section 5.6), and so do we, without ever waiting in its way.
"""

from __future__ import annotations

import configparser
import fcntl
import os
import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from certwitness.errors import StoreError
from certwitness.stores import regular_file

PATH = "/run/ipa/renewal.lock"
_OWNER = re.compile(r".*\[([1-9][0-9]{0,9})\]", re.ASCII)
_EXPIRES = re.compile(r"[0-9]{20}", re.ASCII)
_TRIES, _PAUSE_S = 10, 0.02


@dataclass(frozen=True)
class RenewalLock:
    """The lock's state. `pid` is None for owners without one, and `alive` with it; `expires` is aware, UTC."""

    locked: bool
    owner: str = ""
    pid: int | None = None
    expires: datetime | None = None
    alive: bool | None = None
    missing: bool = False


def read(path: str) -> RenewalLock:
    """Read the lock; no file or an empty one is not locked. Raises StoreError: not permitted, no regular file, not of
    that form, or written all the time."""
    text = _text(path)
    if text is None:
        return RenewalLock(locked=False, missing=True)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
        locked = parser.getboolean("lock", "locked", fallback=False)
    except (configparser.Error, ValueError) as error:
        raise StoreError(path, f"is no renewal lock: {' '.join(str(error).split())}") from error
    owner = parser.get("lock", "owner", fallback="")
    if not locked:
        return RenewalLock(locked=False)
    found = _OWNER.fullmatch(owner)
    pid = int(found[1]) if found else None
    expires = _moment(path, parser.get("lock", "expire", fallback=""))
    return RenewalLock(True, owner, pid, expires, None if pid is None else _alive(pid))


def _text(path: str) -> str | None:
    """The file while nobody writes it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        descriptor = -1  # regular_file says why
    try:
        for _try in range(_TRIES if descriptor >= 0 else 0):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(_PAUSE_S)
        else:
            if descriptor >= 0:
                raise StoreError(path, f"is being written for over {_TRIES * _PAUSE_S:.1f} s")
        file = regular_file.read(path)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None if file is None else file.data.decode("utf-8", "replace")


def _moment(path: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        if not _EXPIRES.fullmatch(text):
            raise ValueError(text)
        return datetime.strptime(text, "%Y%m%d%H%M%S%f").replace(tzinfo=timezone.utc)
    except ValueError:
        raise StoreError(path, "is no renewal lock: expire is no time") from None


def _alive(pid: int) -> bool:
    """Whether the process runs. One that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False

# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's renewal lock (freeipa.md 5.6): an INI file that says who holds it, and until when.

The file is guarded by flock only while it is read and written. Expiry (an hour) is looked at only by who wants the
lock; who holds it may release it later still.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.lab.faults import Faults

EXPIRES_AFTER = timedelta(hours=1)
FORMAT = "%Y%m%d%H%M%S%f"
SOMEBODY = "ipa-server-guard[1]"


class RenewalLock:
    """The lock at `path`, for `owner`. Not re-entrant. Also a context manager."""

    def __init__(self, path: Path, owner: str, poll_s: float, faults: Faults) -> None:
        self.path = path
        self.owner = owner
        self._poll_s = poll_s
        self._faults = faults

    def acquire(self) -> None:
        """Wait without limit, looking every `poll_s` seconds."""
        while not self._try():
            time.sleep(self._poll_s)

    def release(self) -> None:
        """Raises RuntimeError if it is not locked, or locked by somebody else."""
        with self._file() as state:
            if not state.getboolean("locked") or state.get("owner") != self.owner:
                raise RuntimeError(f"lock not acquired by {self.owner}")
            state["locked"] = "0"
            state["owner"] = ""
            state["expire"] = ""

    def lose(self) -> None:
        """Somebody else takes it, as after an hour."""
        with self._file() as state:
            _hold(state, SOMEBODY)

    def __enter__(self) -> RenewalLock:
        self.acquire()
        return self

    def __exit__(self, *failure: object) -> None:
        self.release()

    def _try(self) -> bool:
        with self._file() as state:
            if self._faults.is_on("lock-held"):
                _hold(state, SOMEBODY)
                return False
            held = state.getboolean("locked") and state.get("owner") != ""
            if held and state["owner"] == SOMEBODY:  # whom a fault invented, and it is off now
                held = False
            if held and datetime.now(timezone.utc) <= _time(state["expire"]):
                return False
            _hold(state, self.owner)
            return True

    @contextlib.contextmanager
    def _file(self) -> Iterator[configparser.SectionProxy]:
        """The section `lock`, written back at the end."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with open(descriptor, "r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = configparser.ConfigParser(interpolation=None)
            content.read_string(file.read())
            if not content.has_section("lock"):
                content["lock"] = {"locked": "0", "owner": "", "expire": ""}
            yield content["lock"]
            file.seek(0)
            file.truncate()
            content.write(file)


def _hold(state: configparser.SectionProxy, owner: str) -> None:
    state["locked"] = "1"
    state["owner"] = owner
    state["expire"] = (datetime.now(timezone.utc) + EXPIRES_AFTER).strftime(FORMAT)


def _time(text: str) -> datetime:
    return datetime.strptime(text, FORMAT).replace(tzinfo=timezone.utc)

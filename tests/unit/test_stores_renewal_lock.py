# SPDX-License-Identifier: MIT
"""FreeIPA's renewal lock is read without getting in its way."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.errors import StoreError
from certwitness.stores import renewal_lock
from certwitness.stores.renewal_lock import RenewalLock

EXPIRES = datetime(2026, 11, 23, 20, 26, 1, 123456, tzinfo=timezone.utc)


def write(directory: Path, owner: str = "", *, locked: object = 1, expire: str = "20261123202601123456") -> str:
    """A lock file in FreeIPA's form."""
    path = directory / "renewal.lock"
    path.write_text(f"[lock]\nlocked = {locked}\nowner = {owner}\nexpire = {expire}\n\n")
    return str(path)


def test_an_owner_that_runs(tmp_path: Path) -> None:
    """The process in brackets is looked at, and when the lock expires."""
    owner = f"dogtag-ipa-ca-renew-agent-submit[{os.getpid()}]"
    assert renewal_lock.read(write(tmp_path, owner)) == RenewalLock(True, owner, os.getpid(), EXPIRES, True)


def test_an_owner_that_is_gone(tmp_path: Path) -> None:
    """A process that ended holds nothing any more, whether or not its parent has noticed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        path = write(tmp_path, f"renew[{child.pid}]")
        deadline = time.monotonic() + 10
        while renewal_lock.read(path).alive and time.monotonic() < deadline:
            time.sleep(0.01)  # until it is a zombie: nobody waits for it yet
        assert renewal_lock.read(path).alive is False
        child.wait()
        assert renewal_lock.read(path).alive is False


def test_an_owner_without_a_process(tmp_path: Path) -> None:
    """The lock of pre-save to post-save belongs to no process, so nothing is said of one."""
    lock = renewal_lock.read(write(tmp_path, "renew_ca_cert"))
    assert (lock.locked, lock.owner, lock.pid, lock.alive) == (True, "renew_ca_cert", None, None)


@pytest.mark.parametrize("owner", ["x[0]", "x[-1]", "x[99999999999999999999]", "x[y]", "x[", "%(x)s"])
def test_owners_of_another_form_have_no_process(tmp_path: Path, owner: str) -> None:
    """Only a number that can be a process is one."""
    lock = renewal_lock.read(write(tmp_path, owner))
    assert (lock.owner, lock.pid, lock.alive) == (owner, None, None)


def test_a_number_beyond_all_processes_is_not_alive(tmp_path: Path) -> None:
    """Ten digits are looked up like any other."""
    assert renewal_lock.read(write(tmp_path, "x[4294967295]")).alive is False


def test_a_released_lock(tmp_path: Path) -> None:
    """FreeIPA empties the owner when it releases; an owner that stays does not count."""
    assert renewal_lock.read(write(tmp_path, locked=0, expire="")) == RenewalLock(locked=False)
    assert renewal_lock.read(write(tmp_path, "x[1]", locked=0)) == RenewalLock(locked=False)


def test_no_file_and_an_empty_one_are_not_locked(tmp_path: Path) -> None:
    """Nobody has taken the lock since the system started."""
    path = tmp_path / "renewal.lock"
    assert renewal_lock.read(str(path)) == RenewalLock(locked=False, missing=True)
    for text in ("", "\n", "[other]\nlocked=1\n", "[lock]\n"):
        path.write_text(text)
        assert renewal_lock.read(str(path)) == RenewalLock(locked=False)


@pytest.mark.parametrize("expire", ["soon", "2026112320260112345", "20261323202601123456", "2026112320260112345\uff16"])
def test_a_time_that_is_none_is_an_error(tmp_path: Path, expire: str) -> None:
    """The form of `expire` is checked."""
    with pytest.raises(StoreError, match="expire is no time"):
        renewal_lock.read(write(tmp_path, "x[1]", expire=expire))


def test_no_time(tmp_path: Path) -> None:
    """A lock without a time is a lock."""
    assert renewal_lock.read(write(tmp_path, "x", expire="")).expires is None


@pytest.mark.parametrize("text", ["locked=1\n", "[lock]\nlocked=perhaps\n", "[lock\n", "\x00"])
def test_another_form_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    """The path is in the message."""
    path = tmp_path / "renewal.lock"
    path.write_text(text)
    with pytest.raises(StoreError, match="is no renewal lock") as raised:
        renewal_lock.read(str(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_lock_being_written_is_not_waited_for(tmp_path: Path) -> None:
    """While FreeIPA holds the file's flock there is no reading, and no waiting without end."""
    path = write(tmp_path, "x[1]")
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="being written"):
            renewal_lock.read(path)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert renewal_lock.read(path).locked


def test_the_flock_is_given_back(tmp_path: Path) -> None:
    """After a reading FreeIPA gets its exclusive lock at once."""
    path = write(tmp_path, "x[1]")
    renewal_lock.read(path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("kind", ["directory", "FIFO"])
def test_what_is_no_file_is_an_error(tmp_path: Path, kind: str) -> None:
    """And it does not hang."""
    path = tmp_path / "renewal.lock"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(StoreError, match=kind):
        renewal_lock.read(str(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary() | st.text("[lock]\n=1 edownrxpi").map(lambda text: f"[lock]\nlocked=1\n{text}".encode()))
def test_any_bytes_are_a_lock_or_an_error(tmp_path: Path, data: bytes) -> None:
    """No content is a traceback."""
    path = tmp_path / "renewal.lock"
    path.write_bytes(data)
    try:
        renewal_lock.read(str(path))
    except StoreError:
        pass

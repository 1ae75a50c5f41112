# SPDX-License-Identifier: MIT
"""Files of ours that are read and replaced as a whole: nobody ever sees half of one, and no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

LARGEST = 1 << 20


def read(path: str) -> bytes:
    """The file's bytes. Raises OSError: it is not ours alone to write, no regular file, too large, not there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check(os.fstat(descriptor), stat.S_IFREG)
        data = os.read(descriptor, LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise OSError(f"larger than {LARGEST} bytes")
    return data


def replace(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file, or make it, with these access bits. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    _sync(os.path.dirname(path))


def make_directories(paths: Sequence[str], mode: int = 0o700) -> None:
    """Make those of `paths` that are missing, in this order. Raises OSError: one is a link, or others can write it."""
    for path in paths:
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            _check(os.lstat(path), stat.S_IFDIR)
        else:
            os.chmod(path, mode)  # whatever the umask is


def _check(status: os.stat_result, kind: int) -> None:
    if stat.S_IFMT(status.st_mode) != kind:
        raise OSError("not what it should be: a link, or another kind of file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise OSError("others than root can write it")


def _sync(directory: str) -> None:
    """A name that was given is on the disk, too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: MIT
"""A file's content and owner, read once, without ever hanging on something that is no file."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass, field

from certwitness.errors import StoreError

LIMIT = 1 << 20  # bytes; the largest file that is read here, a CA bundle, has about 250 KB


@dataclass(frozen=True)
class RegularFile:
    """`data`, the names of owner and group (numbers where they have no name), and the permission bits."""

    data: bytes = field(repr=False)
    owner: str
    group: str
    mode: int


def read(path: str) -> RegularFile | None:
    """The file, through symbolic links; None where there is none. Raises StoreError: not permitted, no regular file,
    over 1 MiB."""
    try:
        # Without O_NONBLOCK a FIFO put there would hold us until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(path, f"cannot be read: {_words(error)}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(path, f"is {_kind(status.st_mode)}, not a file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise StoreError(path, f"cannot be read: {_words(error)}") from error
    finally:
        os.close(descriptor)
    if len(data) > LIMIT:
        raise StoreError(path, "is larger than 1 MiB")
    return RegularFile(data, _owner(status.st_uid), _group(status.st_gid), stat.S_IMODE(status.st_mode))


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device"


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

# SPDX-License-Identifier: MIT
"""Follow a growing file across its rotation (renamed and made anew, or copied and truncated) without polling.

Linux tells of changes by inotify, which is reached through the C library; where it is not to be had, the file is
looked at once a second.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterator

from certwitness.errors import LogError
from certwitness.events.reader import LONGEST_LINE, open_log

# sys/inotify.h (inotify(7)), Linux
_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_IN_CLOEXEC, _IN_NONBLOCK = 0o2000000, 0o4000
_BLOCK = 1 << 20


class Watch:
    """Waits for something to happen in a directory."""

    def __init__(self, directory: str) -> None:
        """Raises LogError if the directory cannot be watched or read."""
        self._descriptor = -1
        try:
            library = ctypes.CDLL(None, use_errno=True)
            descriptor = library.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
        except (OSError, AttributeError):
            return
        if descriptor < 0:  # too many instances (fs.inotify.max_user_instances)
            return
        mask = _IN_MODIFY | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
        if library.inotify_add_watch(descriptor, os.fsencode(directory), mask) >= 0:
            self._descriptor = descriptor
            return
        reason = os.strerror(ctypes.get_errno())
        os.close(descriptor)
        if not os.path.isdir(directory):
            raise LogError(f"{directory}: {reason}")

    def wait(self, output: int) -> None:
        """Sleep until something changes; without inotify, a second.

        Raises BrokenPipeError when ``output`` is a pipe that nobody reads any more: nothing else would tell so.
        """
        poll = select.poll()
        poll.register(output, 0)
        if self._descriptor >= 0:
            poll.register(self._descriptor, select.POLLIN)
        ready = poll.poll(None if self._descriptor >= 0 else 1000)
        if any(descriptor == output for descriptor, _ in ready):
            raise BrokenPipeError
        if self._descriptor < 0:
            return
        try:
            os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            pass


def follow(path: str, descriptor: int | None, position: int, watch: Watch, output: int) -> Iterator[bytes]:
    """Lines as they are added to ``path``, without their newline, for ever.

    ``descriptor`` is the open log, read up to the byte ``position``; None if there is none yet. A line longer than
    LONGEST_LINE is passed over. Raises LogError if the log is replaced by something that is no file, BrokenPipeError
    when nobody reads ``output`` any more.
    """
    pending = b""
    skipping = False
    while True:
        if descriptor is not None:
            if os.fstat(descriptor).st_size < position:  # copied and truncated
                position, pending, skipping = 0, b"", False
            while True:
                block = os.pread(descriptor, _BLOCK, position)
                if not block:
                    break
                position += len(block)
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    if not skipping:
                        yield line
                    skipping = False
                if len(pending) > LONGEST_LINE:
                    pending, skipping = b"", True
        following = _replacement(path, descriptor)
        if following is not None:
            if descriptor is not None:
                os.close(descriptor)
            if pending and not skipping:
                yield pending
            descriptor, position, pending, skipping = following, 0, b"", False
            continue
        watch.wait(output)


def _replacement(path: str, descriptor: int | None) -> int | None:
    """The file that has taken the place of the one that is open, None if it is still the same or there is none."""
    try:
        status = os.stat(path)
        if descriptor is not None and os.path.samestat(status, os.fstat(descriptor)):
            return None
        return open_log(path)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LogError(f"{path}: {error.strerror}") from None

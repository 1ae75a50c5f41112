# SPDX-License-Identifier: MIT
"""Follow a growing file across its rotation (renamed and made anew, or copied and truncated) without polling.

Linux tells of changes by inotify, which is reached through the C library; where it is not to be had, the file is
looked at once a second.
"""

from __future__ import annotations

import ctypes
import math
import os
import select
import time
from collections.abc import Iterable, Iterator

from certwitness.errors import LogError
from certwitness.events import files, reader

# sys/inotify.h (inotify(7)), Linux
_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_IN_CLOEXEC, _IN_NONBLOCK = 0o2000000, 0o4000
_BLOCK = 1 << 20
# Who opened a file before it was renamed still writes its one line into it (events/log.py), within milliseconds.
_GRACE_S = 1.0


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

    def wait(self, output: int, at_most_s: float) -> None:
        """Sleep until something changes, or for ``at_most_s``, which may be infinite; without inotify, a second.

        Raises BrokenPipeError when ``output`` is a pipe that nobody reads any more: nothing else would tell so.
        """
        poll = select.poll()
        poll.register(output, 0)
        if self._descriptor >= 0:
            poll.register(self._descriptor, select.POLLIN)
        else:
            at_most_s = 1
        ready = poll.poll(None if math.isinf(at_most_s) else math.ceil(at_most_s * 1000))
        if any(descriptor == output for descriptor, _ in ready):
            raise BrokenPipeError
        if self._descriptor < 0:
            return
        try:
            os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            pass


class _File:
    """An open file, read up to the byte ``position``, and the time (monotonic) until which it is read: for ever, unless
    it has been rotated."""

    def __init__(self, descriptor: int, position: int) -> None:
        self.descriptor = descriptor
        self.until = math.inf
        self._position = position
        self._pending = b""
        self._skipping = False

    def added(self) -> Iterator[bytes]:
        """The lines that have come; one longer than LONGEST_LINE is passed over."""
        if os.fstat(self.descriptor).st_size < self._position:  # copied and truncated
            self._position, self._pending, self._skipping = 0, b"", False
        while True:
            block = os.pread(self.descriptor, _BLOCK, self._position)
            if not block:
                return
            self._position += len(block)
            *lines, self._pending = (self._pending + block).split(b"\n")
            for line in lines:
                if not self._skipping:
                    yield line
                self._skipping = False
            if len(self._pending) > reader.LONGEST_LINE:
                self._pending, self._skipping = b"", True

    def close(self) -> Iterator[bytes]:
        """The last line, if it was cut off."""
        os.close(self.descriptor)
        if self._pending and not self._skipping:
            yield self._pending


def follow(
    path: str, opened: Iterable[tuple[int, int]], watch: Watch, output: int, report: reader.Report
) -> Iterator[bytes]:
    """Lines as they are added to ``path``, without their newline, for ever.

    ``opened`` are descriptors of the newest files that there are (``files.open_all``), oldest first, each with the
    position up to which it is read. Trouble with a packed file goes to ``report``. Raises LogError if the log is
    replaced by something that is no file, BrokenPipeError when nobody reads ``output`` any more.
    """
    followed = [_File(descriptor, position) for descriptor, position in opened]
    while True:
        newer = _newer(path, followed)
        now = time.monotonic()
        for file in followed:
            yield from file.added()
        for name, descriptor in newer:
            position = 0
            if name.endswith(files.PACKED):
                yield from (line for _, line in reader.lines(name, descriptor, report))
                position = os.fstat(descriptor).st_size
            followed.append(_File(descriptor, position))
            yield from followed[-1].added()
        for file in followed[:-1]:
            file.until = min(file.until, now + _GRACE_S)
            if file.until <= now:
                followed.remove(file)
                yield from file.close()
        watch.wait(output, min((file.until for file in followed), default=math.inf) - now)


def _newer(path: str, followed: list[_File]) -> list[tuple[str, int]]:
    """What has come after the last of ``followed``, oldest first; usually the log itself, but several rotations may
    have passed unseen."""
    try:
        if followed and os.path.samestat(os.stat(path), os.fstat(followed[-1].descriptor)):
            return []
    except OSError:  # none, or what open_all refuses
        pass
    opened = files.open_all(path)
    ours = (n for n, entry in enumerate(opened) if any(_is_same(file.descriptor, *entry) for file in followed))
    count = next(ours, None)
    if count is None:
        # Ours was removed, or has a name that is not logrotate's: which of the rotated files are newer is not known.
        count = len([name for name, _ in opened if name == path or not followed])
    files.close(opened[count:])
    return opened[:count][::-1]


def _is_same(ours: int, name: str, descriptor: int) -> bool:
    """Whether ``name`` is the file that we have open, or what it was packed to: their first lines are the same."""
    if os.path.samestat(os.fstat(ours), os.fstat(descriptor)):
        return True
    if not name.endswith(files.PACKED):
        return False
    _, first = next(reader.lines(name, descriptor, lambda _: None), (0, b""))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.pread(ours, len(first) + 1, 0) == first + b"\n"

# SPDX-License-Identifier: MIT
"""Pass the bytes of a child on unchanged, and keep a bounded copy. On the helper's hot path."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

    from certwitness.child import Child

HEAD = 256 << 10  # of each stream kept for decoding: more than any certificate chain or cookie
TAIL = 16 << 10
# A pipe that polls writable has room for PIPE_BUF bytes: a larger write could block on one stream while the
# other has something to say. The descriptors are certmonger's too, so they cannot be made non-blocking.
CHUNK = 4096
WITHOUT_PIDFD_MS = 50


class Kept:
    """The start and the end of a stream: `head` (at most HEAD bytes), `tail` (at most TAIL bytes of what came
    after the head), `size` in bytes, and `longest_line` in bytes."""

    __slots__ = ("_line", "_sha256", "head", "longest_line", "size", "tail")

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.size = 0
        self.longest_line = 0
        self._line = 0
        self._sha256: hashlib._Hash | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.size += len(data)
        first = data.find(b"\n")
        self._line += len(data) if first < 0 else first
        self.longest_line = max(self.longest_line, self._line)
        if first >= 0:
            self._line = len(data) - data.rfind(b"\n") - 1
        room = HEAD - len(self.head)
        self.head += data[:room]
        rest = data[room:]
        if not rest:
            return
        if self._sha256 is None:
            from hashlib import sha256

            self._sha256 = sha256(self.head)
        self._sha256.update(rest)
        self.tail = (self.tail + rest)[-TAIL:]

    @property
    def sha256(self) -> str | None:
        """Hex digest of the whole stream, or None where `head` is the whole stream."""
        return self._sha256.hexdigest() if self._sha256 else None


class Relay:
    """Copies a child's stdout and stderr to ours; what is kept of them is in `stdout` and `stderr`, and `duration_s` is
    how long the child ran."""

    def __init__(self, child: Child) -> None:
        self.stdout = Kept()
        self.stderr = Kept()
        self.duration_s = 0.0
        self._child = child
        self._kept = {1: self.stdout, 2: self.stderr}
        self._sources = {target: source for source, target in child.open.items()}
        self._poll = select.poll()

    def run(self) -> None:
        """Copy until the child and the stream that is awaited have ended, as certmonger itself would see it.

        Where nobody reads our stdout or stderr any more, the child's pipe is closed, so that the child learns what it
        would have learnt without us.
        """
        child, poll = self._child, self._poll
        begin = time.monotonic() - (time.time() - child.started)
        for descriptor in child.open:
            poll.register(descriptor, select.POLLIN)
        ending = _pidfd(child.pid)
        if ending >= 0:
            poll.register(ending, select.POLLIN)
        while child.alive or child.awaited in child.open.values():
            for descriptor, _ in poll.poll(None if ending >= 0 or not child.alive else WITHOUT_PIDFD_MS):
                if descriptor == ending:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                elif descriptor in child.pending:
                    self._pass_on(descriptor)
                elif descriptor in child.open:
                    self._take(descriptor)
            if child.alive:
                child.reap()
                self.duration_s = time.monotonic() - begin
        for target in self._sources:
            self._rest(target)

    def _take(self, source: int) -> None:
        """Read once from the child; what was read is pending, and `source` is not looked at until it is passed on."""
        target = self._child.open[source]
        self._child.pending[target] = os.read(source, CHUNK)
        self._poll.unregister(source)
        self._kept[target].feed(self._child.pending[target])
        if self._child.pending[target]:
            self._poll.register(target, select.POLLOUT)
        else:
            del self._child.pending[target]
            _drop(self._child, source)

    def _pass_on(self, target: int) -> None:
        alive = _write(self._child.pending, target)
        if target in self._child.pending:
            return
        self._poll.unregister(target)
        if alive:
            self._poll.register(self._sources[target], select.POLLIN)
        else:
            _drop(self._child, self._sources[target])

    def _rest(self, target: int) -> None:
        """Pass on what was in a pipe when the child had ended: to wait for its end of file would be to wait for any
        grandchild that keeps it open."""
        child, source = self._child, self._sources[target]
        while target in child.pending:
            _write(child.pending, target)
        if source not in child.open:
            return
        os.set_blocking(source, False)
        rest = -1  # what was in the pipe behind the first chunk: a grandchild may go on writing for ever
        while rest:
            try:
                child.pending[target] = os.read(source, CHUNK)
            except BlockingIOError:
                break
            size = len(child.pending[target])
            rest = _unread(source) if rest < 0 and size == CHUNK else max(0, rest - size)
            self._kept[target].feed(child.pending[target])
            while target in child.pending:
                _write(child.pending, target)
        _drop(child, source)


def _write(pending: dict[int, bytes], target: int) -> bool:
    """Write what is pending for `target`, perhaps a part of it; False if nobody reads it any more."""
    try:
        pending[target] = pending[target][os.write(target, pending[target]) :]
    except BlockingIOError:  # somebody else made the descriptor non-blocking
        time.sleep(0.001)
    except OSError:
        del pending[target]
        return False
    if not pending[target]:
        del pending[target]
    return True


def _unread(pipe: int) -> int:
    """How many bytes there are to be read: a pipe can hold more than the usual 64 KiB (F_SETPIPE_SZ)."""
    import fcntl
    import sys
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _drop(child: Child, source: int) -> None:
    del child.open[source]
    os.close(source)


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1

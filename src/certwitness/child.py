# SPDX-License-Identifier: MIT
"""A child started as certmonger would start it, and an end like its end.

On the helper's hot path: nothing is imported here that a bare interpreter has not loaded, but for extension modules
that cost 0.1 ms each (`_signal`, `_ctypes`; the public `signal` and `ctypes` around them cost 3 ms each).
"""

from __future__ import annotations

import _signal
import os
import time

try:
    import _ctypes

    # Looked up before the fork: in the child it would take three times as long.
    _PRCTL = _ctypes.dlsym(_ctypes.dlopen("", 0), "prctl")
except Exception:  # a Python without libffi: the child is started all the same
    _PRCTL = 0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SIGKILL, SIGPIPE, SIGXFSZ = 9, 13, 25
STDOUT = 1
FORWARDED = (1, 2, 3, 10, 15)  # SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGTERM
# Exported by the shell that started us. certmonger never sets them, and always sets CERTMONGER_LOCAL_CA_DIR
# (certmonger 0.79.17, the environment of helpers and hooks).
OF_THE_SHELL = (b"PWD", b"OLDPWD", b"SHLVL", b"_")
PR_SET_PDEATHSIG = 1
ENOEXEC = 8
RESCUE_PAUSE_S = 0.01
RESCUED_STDERR = 1 << 20  # bytes of it read at the most when the child has ended: a grandchild may go on writing


class NotStartedError(OSError):
    """The command cannot be executed; `errno`, `strerror` and `filename` are those of its exec."""


class Child:
    """A command to be started with pipes of ours for its stdout and stderr, and everything else as we got it.

    `awaited` is the descriptor of ours that belongs to a stream whose end is waited for, besides that of the command:
    certmonger reads a helper's stdout to its end. A hook has none that anybody reads: 0.
    `pid` is 0 until it is started; `started` the time then, in seconds since the epoch; `open` the descriptors to read
    from that are still open, with the descriptor of ours that each belongs to (1 or 2); `pending` what was read but is
    not yet passed on, by descriptor of ours; `theirs` the ends of the pipes that are the child's, until they are closed
    on our side; `end` what wait4 gave: (pid, status as wait(2) has it, struct_rusage), or a pid of 0 while it runs.

    Each fact is stored by the one statement that makes it true: whoever goes on after an exception can rely on them.
    """

    def __init__(self, awaited: int = STDOUT) -> None:
        self.awaited = awaited
        self.owner = os.getpid()
        self.pid = 0
        self.started = 0.0
        self.open: dict[int, int] = {}
        self.pending: dict[int, bytes] = {}
        self.theirs: list[int] = []
        self.end: tuple[Any, ...] = (0, 0)

    def start(self, command: list[str], environ: dict[bytes, bytes], ignored: int) -> None:
        """Start it, and come back while it is still on its way to the command. `ignored` is the mask of ignored signals
        that certmonger left (Python ignores SIGPIPE and SIGXFSZ for itself).

        If we are killed, the kernel kills the child. The signals in FORWARDED are passed on to it from its first
        moment, unless they were ignored when we started. Raises OSError if there is no process or descriptor to be had;
        `pid` is 0 then, and nothing was run.
        """
        masked = _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)
        try:
            stdout, out = os.pipe()
            stderr, err = os.pipe()
            failure, fail = os.pipe()
            self.open = {stdout: 1, stderr: 2}
            self.theirs = [out, err, fail]
            self._command = command
            self.started = time.time()
            self.pid = os.fork()
            if self.pid == 0:
                _become(command, environ, ignored, masked, self.owner, out, err, fail)
            self._failure = failure
            self.close_theirs()
            for number in FORWARDED:
                if not ignored & 1 << number - 1:
                    _signal.signal(number, self._forward)
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, masked)

    def confirm(self) -> None:
        """Wait until the child has become the command. Raises NotStartedError where it cannot; `pid` is 0 then."""
        code = os.read(self._failure, 16)
        os.close(self._failure)
        if code:
            os.waitpid(self.pid, 0)
            self.pid = 0
            if int(code):
                raise NotStartedError(int(code), os.strerror(int(code)), self._command[0])
            raise RuntimeError("the child could not be set up")

    def _forward(self, number: int, _frame: object) -> None:
        # The signal can come between the end of the child and the moment when we know of it; and kill(0) would
        # reach certmonger's whole process group.
        if self.pid and self.alive:
            try:
                os.kill(self.pid, number)
            except OSError:  # it has ended, or has become another user's (sudo)
                return

    def close_theirs(self) -> None:
        """Close the ends of the pipes that are the child's: until then none of ours ends."""
        while self.theirs:
            os.close(self.theirs.pop())

    def reap(self, flags: int = os.WNOHANG) -> None:
        """Take the child's end if it has ended."""
        self.end = os.wait4(self.pid, flags)

    @property
    def alive(self) -> bool:
        """Whether the child's end has not been taken yet."""
        return not self.end[0]

    def rescue(self) -> None:
        """Pass on what the child writes until it has ended, where the relay failed: nothing but reading, writing and
        waiting, nothing kept, and nothing shared with what may have failed. Does nothing where all is done.

        As the relay does, it waits for the end of the awaited stream and of the child, no other, and closes the pipe of
        a stream that nobody reads any more.
        """
        while self.theirs:
            os.close(self.theirs.pop())
        for source in self.open:
            os.set_blocking(source, False)
        while self.pending:
            self._deliver(*self.pending.popitem())
        while not self.end[0] or self.awaited in self.open.values():
            if not self._copy():
                time.sleep(RESCUE_PAUSE_S)
            if not self.end[0]:
                try:
                    self.end = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # its end was taken, and got lost between the call and its result
                    self.end = (self.pid, 9)
        rest = RESCUED_STDERR
        while rest > 0 and self.open:
            copied = self._copy()
            rest = rest - copied if copied else 0

    def _copy(self) -> int:
        """Pass on what can be had from each stream at once; its size in bytes."""
        size = 0
        for source, target in list(self.open.items()):
            try:
                data = os.read(source, 4096)
            except BlockingIOError:
                continue
            size += len(data)
            if not data or not self._deliver(target, data):
                self._drop(source)
        return size

    def _drop(self, source: int) -> None:
        del self.open[source]
        os.close(source)

    def _deliver(self, target: int, data: bytes) -> bool:
        """Write all of it, however long that takes; False if nobody reads `target` any more."""
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:  # somebody else made the descriptor non-blocking
                time.sleep(RESCUE_PAUSE_S)
            except OSError:
                return False
        return True

    def release(self) -> None:
        """In a forked process: let go of all descriptors, so that certmonger and the child see theirs end."""
        for descriptor in (*self.open, 0, 1, 2):
            os.close(descriptor)
        for descriptor in (0, 1, 2):
            open_if_closed(descriptor)


def open_if_closed(descriptor: int) -> None:
    """Put /dev/null on `descriptor` if nothing is open there. It does not survive an exec: a child finds the
    descriptor closed, as we did."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if null != descriptor:
            os.dup2(null, descriptor, inheritable=False)
            os.close(null)


def as_certmonger_left_it(environ: dict[bytes, bytes], lc_ctype: str) -> None:
    """Undo what the shell and Python have done to `environ`, and put /dev/null where certmonger left a descriptor
    closed: the next file opened would become our stdin. `lc_ctype` is "=" and the value of LC_CTYPE, "" if unset."""
    for descriptor in (0, 1, 2):
        open_if_closed(descriptor)
    if lc_ctype:
        environ[b"LC_CTYPE"] = lc_ctype[1:].encode("utf-8", "surrogateescape")
    else:
        environ.pop(b"LC_CTYPE", None)
    if b"CERTMONGER_LOCAL_CA_DIR" in environ:
        for name in OF_THE_SHELL:
            environ.pop(name, None)


def ignored_signals(status: str) -> int:
    """The mask of ignored signals in a line of /proc/PID/stat (proc(5): field 33, the 31st after the name)."""
    fields = status.rpartition(")")[2].split()
    return int(fields[30]) if len(fields) > 30 else 0


def restore_signals(ignored: int) -> None:
    """Give back the dispositions that Python changed for itself, so that an exec passes on what we got."""
    for number in (SIGPIPE, SIGXFSZ, *FORWARDED):
        if not ignored & 1 << number - 1:
            _signal.signal(number, _signal.SIG_DFL)


def execute(command: list[str], environ: dict[bytes, bytes]) -> NoReturn:
    """Become `command` as execvp(3) does it, which certmonger uses: a file of no known format, such as a script without
    `#!`, is run by /bin/sh (seen with certmonger 0.79.17, for all operations). Raises OSError where that fails."""
    try:
        os.execvpe(command[0], command, environ)
    except OSError as error:
        if error.errno != ENOEXEC:
            raise
        os.execve("/bin/sh", ["/bin/sh", error.filename, *command[1:]], environ)


def end_like(status: int) -> NoReturn:
    """End this process as the child ended: the same exit status, or death by the same signal (no core of ours)."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if number != SIGKILL:
                _signal.signal(number, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (number,))
        finally:
            os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _become(
    command: list[str],
    environ: dict[bytes, bytes],
    ignored: int,
    masked: set[int],
    parent: int,
    out: int,
    err: int,
    fail: int,
) -> NoReturn:
    """In the forked child: turn into the command."""
    code = 0
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        _die_with_parent(parent)
        restore_signals(ignored)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, masked)
        try:
            execute(command, environ)
        except OSError as error:
            code = error.errno or 0
    finally:
        os.write(fail, b"%d" % code)
        os._exit(127)


def _die_with_parent(parent: int) -> None:
    # A killed wrapper must not leave a helper that holds FreeIPA's renewal lock for a result nobody reads.
    if _PRCTL:
        _ctypes.call_function(_PRCTL, (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        if os.getppid() != parent:
            os._exit(127)

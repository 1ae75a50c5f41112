# SPDX-License-Identifier: MIT
"""NSS's command line tools: where they are, and how they run without a terminal and not for ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from certwitness.errors import StoreError

# Fedora and RHEL keep tstclnt apart (nss-tools 3.x); a service's PATH may lack /usr/bin.
_PLACES = ("/usr/bin", "/usr/lib64/nss/unsupported-tools", "/usr/lib/nss/unsupported-tools")
# What is running now, in any thread; and whether this process is about to end.
_running: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()
# Held while a tool is started that would not end without us.
STARTING = threading.Lock()
_PACKAGES = "install nss-tools (Fedora, RHEL) or libnss3-tools (Debian, Ubuntu)"


@dataclass(frozen=True)
class Done:
    """How a tool ended: exit code (negative: the signal), and what it wrote."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """The last line of standard error, without the program's name."""
        return last_line(self.err)


class Deadline:
    """A moment `seconds` from now, at which a store's reader gives up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain, never below 0."""
        return max(0.0, self._end - time.monotonic())


def find(tool: str, store: str) -> str:
    """The path of a tool. Raises StoreError for `store`, naming the packages."""
    path = shutil.which(tool) or shutil.which(tool, path=os.pathsep.join(_PLACES))
    if path is None:
        raise StoreError(store, f"{tool} is not installed: {_PACKAGES}")
    return path


def environment() -> dict[str, str]:
    """Ours, with English messages, and without what would change NSS's ways or log TLS keys."""
    unwanted = ("NSS_DEFAULT_DB_TYPE", "NSS_SDB_USE_CACHE", "SSLKEYLOGFILE", "SSL_DIR")
    return {**{name: value for name, value in os.environ.items() if name not in unwanted}, "LC_ALL": "C"}


def run(command: Sequence[str | bytes], deadline: Deadline, store: str, pass_fds: Sequence[int] = ()) -> Done:
    """Run a tool to its end, in a session of its own: without a terminal it cannot ask for a PIN. At the deadline it is
    killed with its group, and StoreError raised for `store`; a little later also where we have been killed."""
    with subprocess.Popen(
        limited(command, deadline),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,
        env=environment(),
        cwd="/",
    ) as process:
        started(process)
        try:
            out, err = process.communicate(timeout=deadline.left)
        except subprocess.TimeoutExpired as error:
            tool = os.path.basename(os.fsdecode(command[0]))
            raise StoreError(store, f"{tool} did not end within {deadline.seconds:g} s") from error
        finally:
            kill_group(process)
    return Done(process.returncode, out, err)


@contextmanager
def memory() -> Iterator[int]:
    """A descriptor of empty memory: a file on no disk, ``/proc/self/fd/<n>`` for a child that has it in `pass_fds`."""
    descriptor = os.memfd_create("certwitness")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def limited(command: Sequence[str | bytes], deadline: Deadline) -> list[str | bytes]:
    """The command of a tool that would not end when we are gone: coreutils' timeout ends it then."""
    timeout = shutil.which("timeout", path=os.pathsep.join(("/usr/bin", "/bin")))
    return [*([timeout, "-s", "KILL", f"{deadline.left + 1:.0f}"] if timeout else []), *command]


def started(process: subprocess.Popen[bytes]) -> None:
    """Remember a tool that was started, for `kill_all`; after that it has no business any more."""
    _running.add(process)
    if _ending.is_set():
        kill_group(process)


def kill_all() -> None:
    """Kill every tool that runs or is being started: for the end of this process while a reader is at work."""
    _ending.set()
    with STARTING:
        for process in tuple(_running):
            kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child that is not reaped yet, with all that it started."""
    _running.discard(process)
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def last_line(text: bytes) -> str:
    """The last line that says something, without the program's name before it."""
    lines = [" ".join(line.split()) for line in text.decode("utf-8", "replace").splitlines() if line.strip(" :\t")]
    if not lines:
        return "it gave no reason"
    _program, colon, rest = lines[-1].partition(": ")
    return rest if colon and " " not in _program else lines[-1]

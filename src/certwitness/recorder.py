# SPDX-License-Identifier: MIT
"""Record a SUBMIT or POLL beside the relay, where nothing can go wrong for certmonger.

For SUBMIT and POLL a process is forked as soon as the child runs. It imports what decoding needs (0.1 s) while the
helper works, and neither the crash of a parser nor a disk that hangs in it can touch the relay. It outlives us: when
we are killed, it says so.
"""

from __future__ import annotations

import marshal
import os
import select
import time

from certwitness import journal
from certwitness.child import FORWARDED, Child
from certwitness.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

DEADLINE_S = 20  # for the record to be written once the helper has ended


class Recorder:
    """Records the SUBMIT or POLL that has just been started. Raises OSError where no process can be had."""

    def __init__(self, child: Child, run: Run) -> None:
        self._run = run
        self._memory = os.memfd_create("certwitness", os.MFD_CLOEXEC)
        ending, self._end = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._end)
            _record(child, run, self._memory, ending)
        os.close(ending)

    def finish(self, left: dict[str, Any]) -> None:
        """Hand over what the run has left (Run.left) and wait until that is recorded; the journal is told if not."""
        os.write(self._memory, marshal.dumps(left))
        os.write(self._end, b"!")
        problems = _wait(self._process)
        if problems:
            journal.report(self._run.line(problems))


def _record(child: Child, run: Run, memory: int, ending: int) -> NoReturn:
    """In the forked process: record the run from its start to its end."""
    status = 1
    try:
        import _signal

        for number in FORWARDED:  # the stop of the service shall not cost the record
            _signal.signal(number, _signal.SIG_IGN)
        child.release()
        import site

        site.main()
        from certwitness import record

        record.witness(run, lambda: _left(memory, ending))
        status = 0
    except BaseException as error:
        journal.report(run.line([f"not recorded: {error!r}"]))
        status = 0
    finally:
        os._exit(status)


def _left(memory: int, ending: int) -> dict[str, Any] | None:
    """Wait for the end of the run; None if the wrapper was killed before it."""
    if not os.read(ending, 1):
        return None
    size = os.lseek(memory, 0, os.SEEK_END)
    left: dict[str, Any] = marshal.loads(os.pread(memory, size, 0))  # noqa: S302  (our own, from our own memory)
    return left


def _wait(process: int) -> list[str]:
    """Wait for the recording process, at most DEADLINE_S; what is to be said if it did not record."""
    deadline = time.monotonic() + DEADLINE_S
    try:
        poll = select.poll()
        poll.register(os.pidfd_open(process), select.POLLIN)
        poll.poll(DEADLINE_S * 1000)
    except (AttributeError, OSError):
        pass
    while time.monotonic() < deadline:
        pid, status = os.waitpid(process, os.WNOHANG)
        if pid:
            return [f"not recorded: the recording process ended with wait status {status}"] if status else []
        time.sleep(0.005)
    os.kill(process, 9)  # and no wait for it: where a disk hangs it cannot die before that goes on
    return [f"not recorded: the event log could not be written within {DEADLINE_S} seconds"]

# SPDX-License-Identifier: MIT
"""Do something in a process of its own, for a limited time: whatever hangs or crashes there holds nothing up.

For the hooks: certmonger waits for them without a limit, with a lock that all its saves need. The process keeps none of
our descriptors, so that certmonger does not wait for it either.
"""

from __future__ import annotations

import _signal
import marshal
import os
import select
import time

from certwitness.child import FORWARDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    Send = Callable[[Any], None]

LENGTH = 4  # bytes in front of each message
# Whatever is not waited for any more ends by then, of SIGALRM.
LONGEST_S = 3600
# And by then once the service that we belong to is being stopped.
ENDING_S = 10
REAPED_S = 1.0
PAUSE_S = 0.002


def ask(work: Callable[[Send], None], limit_s: float, *, expendable: bool = False) -> tuple[Any, str]:
    """Run `work(send)` in a forked process. Returns what it sent last (None: nothing), and what went wrong as one line,
    "" if nothing did.

    What is sent is made of builtin types. Not waited for after `limit_s` seconds: what is `expendable` is killed then,
    anything else (it may be writing a file) goes on by itself. Raises OSError where no process can be had.
    """
    reading, writing = os.pipe()
    try:
        process = os.fork()
        if process == 0:
            _work(work, writing)
    finally:
        os.close(writing)
    try:
        messages, ended = _listen(reading, limit_s)
    finally:
        os.close(reading)
    last, problem = _understood(messages)
    if problem is None and not ended and expendable:
        os.kill(process, _signal.SIGKILL)
    status = _reap(process) if ended or expendable or problem is not None else 0
    if problem is None:
        problem = f"ended with wait status {status}" if ended else f"took longer than {limit_s:g} seconds"
    return last, problem


def _listen(reading: int, limit_s: float) -> tuple[bytes, bool]:
    """All that comes until the other end is closed, and whether it was, in time."""
    deadline = time.monotonic() + limit_s
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return received, False
        data = os.read(reading, 65536)
        if not data:
            return received, True
        received += data


def _understood(received: bytes) -> tuple[Any, str | None]:
    """The last result, and the last word: a problem, "" if there was none, None where it did not come to that."""
    last = None
    while len(received) >= LENGTH:
        end = LENGTH + int.from_bytes(received[:LENGTH], "big")
        if len(received) < end:
            break
        is_result, content = marshal.loads(received[LENGTH:end])  # noqa: S302  (our own, from our own process)
        if not is_result:
            return last, content
        last, received = content, received[end:]
    return last, None


def _reap(process: int) -> int:
    """Take its end, for its wait status; one that does not end soon (a disk hangs) is left to whoever inherits it."""
    deadline = time.monotonic() + REAPED_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(PAUSE_S)
    return -1


def _work(work: Callable[[Send], None], writing: int) -> NoReturn:
    """In the forked process."""
    problem = "failed"
    try:
        for number in FORWARDED:  # the stop of the service shall not cost the record, nor wait for a slow one
            _signal.signal(number, lambda *_: _signal.alarm(ENDING_S))
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)  # whoever started us may ignore it
        _signal.alarm(LONGEST_S)
        _close_all_but(writing)
        work(lambda result: _send(writing, (True, result)))
        problem = ""
    except BaseException as error:
        from certwitness.errors import CertwitnessError

        problem = str(error) if isinstance(error, CertwitnessError) else f"failed: {error!r}"
    finally:
        try:
            _send(writing, (False, problem))
        finally:
            os._exit(0)


def _send(writing: int, message: tuple[bool, Any]) -> None:
    content = marshal.dumps(message)
    data = len(content).to_bytes(LENGTH, "big") + content
    while data:
        data = data[os.write(writing, data) :]


def _close_all_but(kept: int) -> None:
    """Close every descriptor but one; 0, 1 and 2 are /dev/null."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != kept:
            try:
                os.close(descriptor)
            except OSError:  # that of the listing itself
                continue

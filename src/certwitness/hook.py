# SPDX-License-Identifier: MIT
"""The program behind hooks/pre-save and hooks/post-save: look, run the command, record, end as it ended.

    parse ── look (beside, look_s) ── hook.started (beside) ── Child ── Relay ── hook.ended, conclusion (beside) ── end
                                             └─ a proven failure: a command that only restarts a service is skipped

What looks and writes runs in processes of their own with time limits (beside.py): nothing of ours can hold up or break
the command, for which certmonger waits with the lock that all its saves need. Whatever fails here before the command
runs ends in running it in our place.

The command finds what certmonger would have given it: arguments, environment, directory, umask, signals, descriptor 0
closed, and certmonger's pipe, which only it and we hold. Its descriptors 1 and 2, which certmonger closes, are pipes of
ours: what it says there, and nobody else keeps, is recorded.
"""

from __future__ import annotations

import os
import time

from certwitness.child import (
    FORWARDED,
    Child,
    NotStartedError,
    as_certmonger_left_it,
    end_like,
    execute,
    ignored_signals,
    restore_signals,
)
from certwitness.save import CONCLUSION_S, POST_SAVE, Save

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable, NoReturn

SIGINT = 2
# For the log to take an event.
STARTED_S, ENDED_S = 2, 20
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a shell ends
NO_SUCH_FILE = (2, 20)  # ENOENT, ENOTDIR


def main(status: str, lc_ctype: str, stub: str, arguments: Sequence[str]) -> NoReturn:
    """End as the command ends; 0 where there is none, or it is skipped. Raises only while nothing has been started.

    `status` is /proc/self/stat as it was at our start; `lc_ctype` "=" and the value that LC_CTYPE then had, or "" if it
    was unset; `stub` the path of the started program, whose name tells the phase; `arguments` are its arguments.
    """
    save = Save(os.path.basename(stub), arguments)
    child = Child(awaited=0)
    try:
        save.ignored = ignored_signals(status)
        _run(child, save, lc_ctype)
        end_like(child.end[1])
    except BaseException:
        if os.getpid() != child.owner:
            os._exit(1)
        if not child.pid:
            raise
        # The command runs, or has run: whatever comes, not once more.
        try:
            child.rescue()
            end_like(child.end[1])
        finally:
            os._exit(os.WEXITSTATUS(child.end[1]))


def _run(child: Child, save: Save, lc_ctype: str) -> None:
    """Look, start the command as `child` (or become it, or skip it), pass on what it says, record."""
    try:
        as_certmonger_left_it(save.environ, lc_ctype)
        _die_of((SIGINT,), save.ignored)  # of which Python makes an exception
        _before(save)
        if save.look.get("reasons") or not save.command:
            _after(save, {"skipped": True} if save.command else _nothing())
            os._exit(0)
        child.start(save.command, save.environ, save.ignored)
        child.confirm()
    except NotStartedError as error:
        _not_started(save, error)
    except BaseException as error:
        if os.getpid() != child.owner:
            os._exit(1)
        if child.pid:
            raise
        _unwitnessed(save, error)
    _after(save, {"left": _relay(child, save)})


def _die_of(signals: Sequence[int], ignored: int) -> None:
    """Let these signals end us as they would have ended the command, but those that certmonger ignores for it."""
    import _signal

    for number in signals:
        if not ignored & 1 << number - 1:
            _signal.signal(number, _signal.SIG_DFL)


def _before(save: Save) -> None:
    """Look at the stores, and write hook.started."""
    from certwitness import beside, config

    save.config = config.usable(save.config_path, save.problems)

    def look(send: Callable[[Any], None]) -> None:
        _load_libraries()
        from certwitness import save_look

        save_look.look(save, send)

    def write(_: Callable[[Any], None]) -> None:
        from certwitness import save_record

        save_record.write_started(save)

    if save.certificate is not None:
        found, problem = beside.ask(look, save.config.look_s, expendable=True)
        save.look = found or {}
        if problem:
            save.problems.append(f"the look before the command: {problem}")
    else:
        save.problems.append("no --cert NAME was given: nothing was looked at")
    if not save.look:
        from certwitness.events import log

        save.look = {"trace_id": log.new_trace_id()}
    _, problem = beside.ask(write, STARTED_S)
    if problem:
        save.problems.append(f"hook.started is not recorded: {problem}")


def _relay(child: Child, save: Save) -> dict[str, Any]:
    """Pass on what the command says until it has ended; what it left, as Run.left has it, and its `started`."""
    relay = None
    try:
        from certwitness.relay import Relay

        relay = Relay(child)
        relay.run()
    except BaseException as error:
        child.rescue()
        relay = None
        save.problems.append(f"stdout and stderr were not kept: {error!r}")
    from certwitness.run import Run

    run = Run(child, save.command, save.environ, save.config, save.problems)
    return {**run.left(child, relay), "started": child.started}


def _after(save: Save, end: dict[str, Any]) -> None:
    """Write hook.ended; after a save, see whether it landed. The journal is told once what of ours failed."""
    from certwitness import beside

    def work(send: Callable[[Any], None]) -> None:
        if save.phase == POST_SAVE:
            _load_libraries()
        from certwitness import save_record

        save_record.write_end(save, end, send)

    # With the command has ended what a signal was to be passed on to: a stop of certmonger's is not held up by us.
    _die_of(FORWARDED, save.ignored)
    limit_s = ENDED_S + (save.config.landing_s + CONCLUSION_S if save.phase == POST_SAVE else 0)
    reported, problem = beside.ask(work, limit_s)
    if problem:
        save.problems.append(f"the end: {problem}")
    if save.problems and not reported:
        _report(save, "; ".join(save.problems))


def _not_started(save: Save, error: NotStartedError) -> NoReturn:
    """certmonger says nothing of a command that cannot be executed, and takes it for done (0.79.17)."""
    code = NOT_FOUND if error.errno in NO_SUCH_FILE else NOT_EXECUTABLE
    try:
        _after(save, {**_nothing(code), "error": error.strerror or str(error)})
    finally:
        os._exit(code)


def _nothing(code: int = 0) -> dict[str, Any]:
    """The end of a command that never ran."""
    from certwitness.run import NOTHING

    left = {"status": code << 8, "duration_s": 0.0, "stdout": NOTHING, "stderr": NOTHING, "started": time.time()}
    return {"left": left}


def _unwitnessed(save: Save, error: BaseException) -> NoReturn:
    """Become the command, as certmonger would have."""
    _report(save, f"runs unwitnessed: {error!r}")
    code = NOT_EXECUTABLE
    try:
        restore_signals(save.ignored)
        if not save.command:
            code = 0
        else:
            execute(save.command, save.environ)
    except OSError as failed:
        code = NOT_FOUND if failed.errno in NO_SUCH_FILE else NOT_EXECUTABLE
    finally:
        os._exit(code)


def _load_libraries() -> None:
    """Make what is installed beside us importable: the interpreter was started without it."""
    import site

    site.main()


def _report(save: Save, words: str) -> None:
    from certwitness.journal import report

    report(f"{save.phase} for {save.name}: {words}")

# SPDX-License-Identifier: MIT
"""Run the wrapped helper, give certmonger exactly what it gave, and record the run: the hot path.

    main ── what to run ── Child ── relay ── finish the record ── end as the child ended
                            └─ Recorder: for SUBMIT and POLL a process of its own, see recorder.py

Until the child runs, and for all of a data operation, nothing is imported that costs more than a millisecond.
Whatever of ours fails before the child runs ends in running the real helper in our place; after it, in relaying.
"""

from __future__ import annotations

import os
import stat

from certwitness.child import (
    Child,
    NotStartedError,
    as_certmonger_left_it,
    end_like,
    execute,
    ignored_signals,
    restore_signals,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from certwitness.config import Config
    from certwitness.run import Run

HELPER_DIRECTORIES = ("/usr/libexec/certmonger", "/usr/lib/certmonger")


def main(status: str, lc_ctype: str, stub: str, arguments: Sequence[str]) -> NoReturn:
    """The program behind `helpers/*`: ends as the real helper ends. Raises only while nothing has been started.

    `status` is /proc/self/stat as it was at our start; `lc_ctype` "=" and the value that LC_CTYPE then had, or "" if it
    was unset; `stub` the path of the started program, whose name says what is wrapped;
    `arguments` are its arguments.
    """
    child = Child()
    try:
        _run(child, status, lc_ctype, stub, arguments)
        end_like(child.end[1])
    except BaseException:
        if not child.pid:
            raise
        child.rescue()
        try:
            end_like(child.end[1])
        finally:
            os._exit(os.WEXITSTATUS(child.end[1]))


def _run(child: Child, status: str, lc_ctype: str, stub: str, arguments: Sequence[str]) -> None:
    """Start the real helper as `child`, or become it; relay and record."""
    command: list[str] = []
    environ = dict(os.environb)
    try:
        as_certmonger_left_it(environ, lc_ctype)
        rest = list(arguments)
        path = None
        if rest[:1] == ["--config"] and len(rest) > 1:
            path = rest[1]
            del rest[:2]
        problems: list[str] = []
        config = None
        name = os.path.basename(stub)
        if name == "submit":
            command += rest[1:] if rest[:1] == ["--"] else rest
        else:
            from certwitness import config as configuration

            config = configuration.usable(path, problems)
            real = next(real_helpers(name, stub, config), "")
            if not real:
                missing = config.helpers.get(name, f"{HELPER_DIRECTORIES[0]}/{name}")
                raise NotStartedError(2, "No such file or directory", missing)
            command += [real, *rest]
        child.start(command, environ, ignored_signals(status))
        _load()
        child.confirm()
    except NotStartedError as error:
        _again_in_30_seconds(error, environ)
    except BaseException as error:
        if child.pid:
            raise
        _run_unwitnessed(error, status, stub, arguments, command, environ)
    run = None
    try:
        from certwitness import config as configuration
        from certwitness.run import Run

        run = Run(child, command, environ, config or configuration.usable(path, problems), problems)
    except BaseException as error:
        _report(f"{stub}: not recorded: {error!r}")
    _witness(child, run)


def _witness(child: Child, run: Run | None) -> None:
    """Relay and record."""
    recorder = relay = None
    try:
        if run and run.is_enrollment:
            from certwitness.recorder import Recorder

            recorder = Recorder(child, run)
    except BaseException as error:
        if os.getpid() != child.owner:
            os._exit(1)
        _report(f"not recorded: {error!r}")
        run = None
    try:
        from certwitness.relay import Relay

        relay = Relay(child)
        relay.run()
    except BaseException as error:
        child.rescue()
        relay = None
        if run:
            run.problems.append(f"stdout and stderr were passed on, but not kept: {error!r}")
    try:
        if recorder and run:
            recorder.finish(run.left(child, relay))
        elif run:
            from certwitness.run import record_data_operation

            record_data_operation(run, run.left(child, relay))
    except BaseException as error:
        _report(f"not recorded: {error!r}")


def _load() -> None:
    """Import what every run needs while the child is on its way; what fails here fails again where it is told."""
    try:
        import certwitness.config
        import certwitness.relay
        import certwitness.run  # noqa: F401
    except Exception:
        return


def _report(line: str) -> None:
    from certwitness.journal import report

    report(line)


def real_helpers(name: str, stub: str, config: Config) -> Iterator[str]:
    """What our program `stub` may run as the helper `name`, best first: what the configuration names, then
    certmonger's own. Nothing that is not there or cannot be executed, and not `stub` itself."""
    configured = [config.helpers[name]] if name in config.helpers else []
    for path in (*configured, *(f"{directory}/{name}" for directory in HELPER_DIRECTORIES)):
        if is_program(path) and not _is_same(path, stub):
            yield path


def is_program(path: str) -> bool:
    """Whether it is a file that we may execute."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except OSError:
        return False


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # `other` was removed while it ran
        return False


def _run_unwitnessed(
    error: BaseException,
    status: str,
    stub: str,
    arguments: Sequence[str],
    command: list[str],
    environ: dict[bytes, bytes],
) -> NoReturn:
    """Become the real helper. What is known to be it is executed; what is not, the program we were started as
    finds out without Python."""
    _report(f"{stub}: runs unwitnessed: {error!r}")
    try:
        restore_signals(ignored_signals(status))
    finally:
        if command:
            _exec(command, environ)
    environ[b"CERTWITNESS_BARE"] = repr(error)[:200].encode()
    os.execve("/bin/sh", ["/bin/sh", stub, *arguments], environ)


def _exec(command: list[str], environ: dict[bytes, bytes]) -> NoReturn:
    try:
        execute(command, environ)
    except OSError as error:
        error.filename = command[0]
        _again_in_30_seconds(error, environ)


def _again_in_30_seconds(error: OSError, environ: dict[bytes, bytes]) -> NoReturn:
    """End so that certmonger does what it does with a helper that it cannot execute itself: nothing is forgotten,
    and SUBMIT and POLL are tried again in 30 seconds (certmonger 0.79.17: exit 5 with that delay and the same
    cookie); a data operation is switched off until the next refresh (exit 6)."""
    line = f"cannot run {error.filename}: {error.strerror}"
    _report(line)
    os.write(2, f"certwitness: {line}\n".encode(errors="backslashreplace"))
    if (environ.get(b"CERTMONGER_OPERATION") or b"SUBMIT") not in (b"SUBMIT", b"POLL"):
        os._exit(6)
    os.write(1, b"30\n" + environ.get(b"CERTMONGER_CA_COOKIE", b"") + b"\n")
    os._exit(5)

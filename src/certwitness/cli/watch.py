# SPDX-License-Identifier: MIT
"""`certwitness watch`: the service that follows certmonger's renewals."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from certwitness.cli.options import config_option, configuration
from certwitness.journal import LEVELS, report
from certwitness.render.text import clean


class _Stopped(BaseException):
    """SIGTERM or SIGINT: this is how a service ends."""


@click.command("watch")
@config_option
@click.pass_context
def command(ctx: click.Context) -> None:
    """Follow certmonger's renewals: write the course of each into the event log, look whether it landed, and tell what
    looks like health and is none. For the unit certwitness-watch.service; ends at SIGTERM or Ctrl-C.

    What matters goes to the journal and to stderr, a line each. Exit status: 0; 3 for a configuration that cannot be
    used.
    """
    from certwitness import host, listening
    from certwitness.watch import Watch

    there = host.load(configuration(ctx))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        Watch(there, listening.start(there.bus), tell).run()
    except _Stopped:
        ctx.exit(0)


def _stop(_: int, __: FrameType | None) -> None:
    raise _Stopped


def tell(line: str, *, level: str) -> None:
    """To the journal and to stderr; once where they are the same (systemd.exec(5), JOURNAL_STREAM; its prefix for the
    level: sd-daemon(3))."""
    prefix = f"<{LEVELS[level]}>" if _is_journal() else "certwitness: "
    if not _is_journal():
        report(line, level=level)
    try:
        sys.stderr.write(f"{prefix}{clean(line)}\n")
        sys.stderr.flush()
    except (OSError, AttributeError):  # whoever read it has gone, or there never was a descriptor 2
        pass


def _is_journal() -> bool:
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"

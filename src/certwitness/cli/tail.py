# SPDX-License-Identifier: MIT
"""`certwitness tail`: events as lines for people, following the log through its rotation."""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import chain

import click

from certwitness.cli.options import config_option, configuration, empty_log, json_option, report_problems
from certwitness.errors import LogError
from certwitness.events import reader
from certwitness.render.runs import one_line
from certwitness.render.tables import on_terminal, styled
from certwitness.render.text import clean

UNKNOWN = 3
_BLOCK = 1 << 16


@click.command("tail")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with the events that come, until Ctrl-C.")
@click.option("-n", "--lines", "count", metavar="N", type=click.IntRange(0, 1_000_000), default=10, show_default=True,
              help="How many of the last events to print first.")  # fmt: skip
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, following: bool, count: int, as_json: bool) -> None:
    """The last events, one line each; with -f also those that come.

    With --json the lines are printed as they are in the log. Exit status: 0; 3 if there is no event or no log.
    """
    path = configuration(ctx).events_file
    problems = reader.Problems()
    show = _Printer(path, as_json, problems.report)
    watch = None
    if following:
        from certwitness.cli import follow

        watch = follow.Watch(os.path.dirname(path) or ".")
    descriptor: int | None = None
    lines: list[bytes] = []
    position = start = 0
    try:
        descriptor = reader.open_log(path)
        lines, position, start = last_lines(descriptor, count)
    except FileNotFoundError:
        if watch is None and not reader.rotated(path):
            raise LogError(reader.missing_log(path)) from None
    if len(lines) < count and start == 0:
        lines = [*_rotated_lines(path, count - len(lines), problems), *lines]
    if descriptor is not None and watch is None:
        lines.append(os.pread(descriptor, reader.LONGEST_LINE, position))
    for line in lines:
        show(line)
    report_problems(problems)
    if watch is None:
        if not show.printed and not problems and count:
            click.echo(empty_log(path), err=as_json)
        ctx.exit(0 if show.printed or not count else UNKNOWN)
    if not show.printed and count:
        click.echo(f"certwitness: waiting for events in {clean(path)}", err=True)
    sys.stdout.flush()
    show.report = _tell
    for line in follow.follow(path, descriptor, position, watch, sys.stdout.fileno()):
        show(line)
        sys.stdout.flush()


def _tell(problem: reader.Problem) -> None:
    click.echo(f"certwitness: {clean(f'{problem.path}: {problem.what}')}", err=True)


class _Printer:
    """Prints lines of the log; those that are no events go to ``report``. ``printed`` counts the events."""

    def __init__(self, path: str, as_json: bool, report: reader.Report) -> None:
        self._path = path
        self._as_json = as_json
        self.report = report
        self._colour = on_terminal()
        self.printed = 0

    def __call__(self, line: bytes) -> None:
        event = reader.parse(line, self._path, 0, self.report)
        if event is None:
            return
        self.printed += 1
        if self._as_json:
            sys.stdout.write(line.decode() + "\n")
        else:
            words = one_line(event)
            sys.stdout.write(styled(words.text, words.style, self._colour) + "\n")


def last_lines(descriptor: int, count: int) -> tuple[list[bytes], int, int]:
    """The last ``count`` lines of an open file, the position after them, and the position before them.

    A last line without its newline is left out: it is still being written, and the position is before it.
    """
    end = os.fstat(descriptor).st_size
    # Back to the last newline.
    while end:
        size = min(_BLOCK, end)
        block = os.pread(descriptor, size, end - size)
        newline = block.rfind(b"\n")
        if newline >= 0:
            end = end - size + newline + 1
            break
        end -= size
    lines: deque[bytes] = deque()
    start = end
    tail = b""
    while start and len(lines) < count:
        size = min(_BLOCK, start)
        block = os.pread(descriptor, size, start - size)
        start -= size
        tail, *whole = (block + tail).split(b"\n")
        if len(tail) > reader.LONGEST_LINE:
            break
        lines.extendleft(reversed([line for line in whole if line]))
    if start == 0 and tail:
        lines.appendleft(tail)
    while len(lines) > count:
        lines.popleft()
        start = max(start, 1)
    return list(lines), end, start


def _rotated_lines(path: str, count: int, problems: reader.Problems) -> list[bytes]:
    """The last lines of the rotated files, from the newest on until there are enough."""
    found: list[list[bytes]] = []
    for name in reader.rotated(path):
        if count <= 0:
            break
        try:
            descriptor = reader.open_log(name)
        except (FileNotFoundError, LogError):
            continue
        try:
            last = deque((line for _, line in reader.lines(name, descriptor, problems.report) if line), count)
        finally:
            os.close(descriptor)
        found.insert(0, list(last))
        count -= len(last)
    return list(chain.from_iterable(found))

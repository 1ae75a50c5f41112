# SPDX-License-Identifier: MIT
"""`certwitness tail`: events as lines for people, following the log through its rotation."""

from __future__ import annotations

import os
import sys
from collections import deque

import click

from certwitness.cli import follow
from certwitness.cli.options import config_option, configuration, empty_log, json_option, report_problems
from certwitness.errors import LogError
from certwitness.events import files, reader
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
    watch = follow.Watch(os.path.dirname(path) or ".") if following else None
    found = files.open_all(path)
    if not found and watch is None:
        raise LogError(reader.missing_log(path))
    lines: list[bytes] = []
    missing = count
    opened: list[tuple[int, int]] = []  # to be followed
    for name, descriptor in found:
        last, end, start = _last_of(name, descriptor, missing, problems.report)
        lines[:0] = last
        # Of the last two: who opened the log before it was renamed still writes into it.
        if following and len(opened) < 2:
            opened.insert(0, (descriptor, end))
        else:
            if missing or name == path:  # a line that only lacks its newline
                lines.insert(len(last), os.pread(descriptor, reader.LONGEST_LINE, end))
            os.close(descriptor)
        missing = 0 if start else missing - len(last)
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
    for line in follow.follow(path, opened, watch, sys.stdout.fileno(), _tell):
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


def _last_of(name: str, descriptor: int, count: int, report: reader.Report) -> tuple[list[bytes], int, int]:
    """``last_lines`` of a file that may be packed."""
    if not name.endswith(files.PACKED):
        return last_lines(descriptor, count)
    whole = (line for _, line in reader.lines(name, descriptor, report) if line)
    return list(deque(whole, count) if count else ()), os.fstat(descriptor).st_size, 0

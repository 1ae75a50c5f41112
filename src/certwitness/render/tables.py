# SPDX-License-Identifier: MIT
"""Tables: by rich on a terminal, aligned plain text elsewhere. rich (90 ms) is imported only for a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple, TextIO

from certwitness.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

# How text may be marked: for rich, and as the parameters of ECMA-48's SGR. Plain text has no marks.
STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim", "head": "bold", "": ""}
_SGR = {"good": "32", "bad": "1;31", "warn": "33", "dim": "2", "head": "1", "": ""}


class Column(NamedTuple):
    """A column: its title, and whether its cells are kept whole on the narrowest terminal."""

    title: str
    whole: bool = False


class Cell(NamedTuple):
    """A cell: lines of text, which are cleaned here, and how it is marked (a key of STYLES)."""

    text: str
    style: str = ""
    below: str = ""


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether people read the output: it goes to a terminal that can do more than print."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, terminal: bool) -> str:
    """Clean ``text`` marked for a terminal, unless NO_COLOR is set (https://no-color.org)."""
    if not style or not terminal or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m"


def width() -> int:
    """Columns of the terminal, from COLUMNS or the terminal itself."""
    from shutil import get_terminal_size

    return get_terminal_size((100, 24)).columns


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], stream: TextIO | None = None) -> None:
    """Print a table to ``stream`` (default: stdout), in the form that fits it."""
    stream = stream or sys.stdout
    if on_terminal(stream):
        _rich(columns, rows, stream)
    else:
        stream.write(plain(columns, rows))


def plain(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """The table as aligned text, one line a row, nothing cut; only the last column is not padded."""
    lines = [[column.title for column in columns]]
    for row in rows:
        lines.append([clean(cell.text) + (f"  {clean(cell.below)}" if cell.below else "") for cell in row])
    sizes = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    text = ""
    for line in lines:
        text += "  ".join(cell.ljust(size) for cell, size in zip(line, sizes)).rstrip() + "\n"
    return text


def _rich(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], stream: TextIO) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        # Folding breaks inside words; a column that must stay whole gets the room of its longest cell.
        longest = max([len(column.title), *(len(clean(row[index].text)) for row in rows)])
        table.add_column(
            column.title, no_wrap=column.whole, min_width=longest if column.whole else None, overflow="fold"
        )
    for row in rows:
        cells = []
        for cell in row:
            text = Text(clean(cell.text), style=STYLES[cell.style])
            if cell.below:
                text.append("\n" + clean(cell.below), style="dim")
            cells.append(text)
        table.add_row(*cells)
    Console(file=stream, width=width(), highlight=False, emoji=False, markup=False).print(table)

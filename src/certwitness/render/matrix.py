# SPDX-License-Identifier: MIT
"""Certificates by stores, as one screen: a mark in each cell, and what certmonger does about the certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from certwitness import catalogue, landing
from certwitness.overview import NextTry, Row
from certwitness.render.findings import STYLES
from certwitness.render.text import clean, moment

# What a cell shows, where UTF-8 can be printed and where not, and what that means.
MARKS = {
    landing.LANDED: ("✓", "ok", "landed"),
    landing.OLDER: ("old", "old", "an older one is there"),
    landing.NEWER: ("new", "new", "a newer one"),
    landing.OTHER: ("dif", "dif", "something different"),
    landing.MISSING: ("✗", "no", "missing"),
    landing.UNKNOWN: ("?", "?", "could not look"),
}
_MARK_STYLES = {landing.LANDED: "good", landing.UNKNOWN: "warn", landing.NEWER: "warn"}
# The stores' headings where there is room, and where there is not.
HEADINGS = {
    catalogue.REPOSITORY: ("repos", "rep"),
    catalogue.CA_RENEWAL: ("renewal", "ren"),
    catalogue.SAVED: ("saved", "sav"),
    catalogue.CS_CFG: ("CS.cfg", "cfg"),
    catalogue.USERS: ("users", "usr"),
    catalogue.AUTHORITY: ("auth", "aut"),
    catalogue.CA_STORE: ("store", "sto"),
    catalogue.SERVED: ("served", "srv"),
}
# "auditSigningCert cert-pki-kra" has 29 characters: beside it certmonger's MONITORING still fits 80 columns.
_LONGEST_NAME, _LONGEST_STATE, _SHORTEST_NAME = 29, 10, 8
_SOON = timedelta(days=2)


class Part(NamedTuple):
    """A piece of a line, clean, and how it is marked (a key of tables.STYLES)."""

    text: str
    style: str = ""


Parts = Sequence[Part]


def matrix(rows: Sequence[Row], now: datetime, columns: int = 0, unicode: bool = True) -> Iterator[Parts]:
    """The table and its legend, line by line. `columns` is the width that it must fit, 0 for any; where it does not,
    the shorter form is taken: the last renewal and the next try only of those that are not well, below them."""
    full = [_head(0), *(_full(row, now, unicode) for row in rows)]
    name, *others = _sizes(full, 2)
    room = columns - sum(others) if columns else name
    form = 0
    if room >= min(name, _LONGEST_NAME + 2):
        for first, *cells in full:
            yield _line([first._replace(text=_cut(first.text, room - 2, unicode)), *cells], [min(name, room), *others])
    else:
        form = 1
        yield from _narrow(rows, now, columns, unicode)
    headings = "  ".join(f"{names[form]} {store}" for store, names in HEADINGS.items() if names[form] != store)
    marks = "  ".join(f"{mark[0 if unicode else 1]} {mark[2]}" for mark in MARKS.values())
    yield []
    for legend in (f"{marks}  blank: need not be there", headings):
        yield from ([Part(line, "dim")] for line in _folded(legend, columns))


def _head(form: int) -> list[Part]:
    stores = [Part(HEADINGS[store][form], "head") for store in catalogue.STORES]
    titles = [("expires", "days", "certmonger", "last renewal", "next try"), ("days", "certmonger")][form]
    return [Part("certificate", "head"), *stores, *(Part(title, "head") for title in titles)]


def _full(row: Row, now: datetime, unicode: bool) -> list[Part]:
    expires = f"{row.not_after:%Y-%m-%d}" if row.not_after else "?"
    return [
        _name(row),
        *_marks(row, unicode),
        Part(expires),
        _days(row),
        _state(row),
        Part(_last(row)),
        Part(_next(row.next_try, now)),
    ]


def _narrow(rows: Sequence[Row], now: datetime, columns: int, unicode: bool) -> Iterator[Parts]:
    table = [_head(1)]
    for row in rows:
        state = _state(row)
        state = state._replace(text=_cut(state.text, _LONGEST_STATE, unicode))
        table.append([_name(row), *_marks(row, unicode), _days(row), state])
    longest, *others = _sizes(table, 1)
    size = min(max(columns - sum(others), _SHORTEST_NAME), longest)
    for number, (name, *cells) in enumerate(table):
        yield _line([name._replace(text=_cut(name.text, size - 1, unicode)), *cells], [size, *others])
        for line in _folded(_more(rows[number - 1], now), columns - 4) if number else ():
            yield [Part("    "), Part(line, "dim")]


def _more(row: Row, now: datetime) -> str:
    """What the shorter form tells of a certificate that is not well, below its row; "" where it is."""
    if not row.level and row.state in ("MONITORING", "?"):
        return ""
    return f"last renewal: {_last(row)}  next try: {_next(row.next_try, now)}"


def _name(row: Row) -> Part:
    there = all(row.mark(store) in ("", landing.LANDED) for store in catalogue.STORES)
    return Part(clean(row.tracked.name), STYLES[row.level] if row.level or there else "warn")


def _marks(row: Row, unicode: bool) -> list[Part]:
    marks = [row.mark(store) for store in catalogue.STORES]
    form = 0 if unicode else 1
    return [Part(MARKS[mark][form], _MARK_STYLES.get(mark, "bad")) if mark else Part("") for mark in marks]


def _days(row: Row) -> Part:
    if row.days is None:
        return Part("?", "warn")
    # certmonger begins 28 days before the end; within a week something has failed.
    return Part(str(row.days), "bad" if row.days < 7 else "warn" if row.days < 28 else "")


def _state(row: Row) -> Part:
    stuck = row.tracked.request is not None and row.tracked.request.stuck
    return Part(clean(row.state), "bad" if stuck else "" if row.state == "MONITORING" else "warn")


def _last(row: Row) -> str:
    if row.renewal is None:
        return "-"
    day = clean(moment(row.renewal.last)[:10])
    return day if row.renewal.state == "issued" else f"{day} {row.renewal.state}"


def _next(following: NextTry, now: datetime) -> str:
    if following.at is None:
        return following.short
    away = following.at - now
    if away <= timedelta(minutes=1):
        return "now"
    if away < _SOON:
        hours, minutes = divmod(int(away.total_seconds()) // 60, 60)
        return f"in {hours} h" if hours else f"in {minutes} min"
    return f"{following.at:%Y-%m-%d}"


def _sizes(table: Sequence[Parts], gap: int) -> list[int]:
    """The width of each column, the gap after it included, for all but the last."""
    sizes = [max(len(cells[index].text) for cells in table) + gap for index in range(len(table[0]))]
    return [*sizes[:-1], sizes[-1] - gap]


def _line(cells: Parts, sizes: Sequence[int]) -> Parts:
    *cells, last = cells
    # Blanks at the end would fold the line on a terminal that is full to the last column.
    return [*(Part(cell.text.ljust(size), cell.style) for cell, size in zip(cells, sizes)), last]


def _cut(text: str, longest: int, unicode: bool) -> str:
    """`text` with its middle left out: both ends tell certificates apart."""
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return text[: longest - 1 - tail] + ("…" if unicode else "~") + text[len(text) - tail :]


def _folded(text: str, columns: int) -> Iterator[str]:
    """`text` in lines of at most `columns` (0: one line), broken only where two blanks are."""
    line = ""
    for word in text.split("  ") if text else []:
        if line and columns and len(line) + 2 + len(word) > columns:
            yield line
            line = word
        else:
            line = f"{line}  {word}" if line else word
    if line:
        yield line

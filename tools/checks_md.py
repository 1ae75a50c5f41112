# SPDX-License-Identifier: MIT
"""Bring the table of checks in README.md up to date with certwitness.checks: `python tools/checks_md.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from certwitness.checks import CHECKS

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- checks: written by tools/checks_md.py -->"
END = "<!-- end of checks -->"


def table() -> str:
    """The checks as a Markdown table; `rows` are those of the catalogue of inconsistencies."""
    return "\n".join(_lines())


def updated(text: str) -> str:
    """`text` with the table between its two markers. Raises ValueError where a marker is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _lines() -> Iterator[str]:
    yield _row("check", "level", "what is compared", "what its failure means", "rows", "who else finds it")
    yield _row(*["---"] * 6)
    for check in CHECKS:
        rows = ", ".join(map(str, check.rows))
        yield _row(f"`{check.name}`", check.level, check.compares, check.failure, rows, check.found_by)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")

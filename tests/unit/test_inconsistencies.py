# SPDX-License-Identifier: MIT
"""docs/inconsistencies.md and the checks tell the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certwitness.checks import CHECKS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "inconsistencies.md").read_text(encoding="utf-8")
ROWS = {
    int(cells[0]): set(re.findall(r"`([a-z-]+)`", cells[4]))
    for cells in (line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| \d", line))
}


def test_all_rows() -> None:
    """The catalogue has its 26 rows."""
    assert sorted(ROWS) == list(range(1, 27))


@pytest.mark.parametrize("row", sorted(ROWS))
def test_row(row: int) -> None:
    """A row names the checks that say they find it."""
    assert ROWS[row] == {check.name for check in CHECKS if row in check.rows}

# SPDX-License-Identifier: MIT
"""Findings: levels, the exit status of several, and their form in events."""

from __future__ import annotations

import pytest

from certwitness.findings import CRITICAL, ERROR, LEVELS, PENDING, UNKNOWN, WARNING, Finding, exit_status, worst


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([], 0),
        ([PENDING], 0),
        ([UNKNOWN, PENDING], 3),
        ([WARNING, UNKNOWN], 1),
        ([ERROR, WARNING, UNKNOWN], 2),
        ([UNKNOWN, CRITICAL], 2),
    ],
)
def test_exit_status(levels: list[str], status: int) -> None:
    """The worst counts; not to know is less bad than to know a risk, and too early to judge is no fault."""
    assert exit_status([Finding("c", level) for level in levels]) == status


def test_worst() -> None:
    """The levels are in order, and nothing has no level."""
    assert worst([Finding("c", level) for level in reversed(LEVELS)]) == CRITICAL
    assert worst([]) == ""


def test_as_event() -> None:
    """What says nothing is left out, but for the fields that every finding has."""
    finding = Finding("c", ERROR, where="w", commands=("a\nb",))
    texts = {"expected": "", "found": "", "breaks": "", "remedy": ""}
    assert finding.as_event() == {"check": "c", "level": "ERROR", **texts, "where": "w", "commands": ["a\nb"]}
    assert finding.pending("later").as_event()["breaks"] == "later"
    assert finding.pending("later").level == PENDING

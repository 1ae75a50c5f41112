# SPDX-License-Identifier: MIT
"""certwitness checks, and the table of checks."""

from __future__ import annotations

import json

import pytest

from certwitness.checks import CHECKS
from certwitness.cli import checks, run
from certwitness.findings import CRITICAL, ERROR, WARNING
from tests.unit import findings_factory as make
from tools import checks_md


def test_every_check_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Each check is a paragraph with what it compares, what its failure means, and who else finds it."""
    assert run(["checks"]) == 0
    paragraphs = capsys.readouterr().out.split("\n\n")
    assert len(paragraphs) == len(CHECKS)
    for check, paragraph in zip(CHECKS, paragraphs):
        assert paragraph.startswith(f"{check.name}  {check.level}, ")
        for words in (check.compares, check.failure, check.found_by):
            assert words in paragraph


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs it is a list of objects in the same order."""
    assert run(["checks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["check"] for entry in found] == [check.name for check in CHECKS]
    assert {entry["of"] for entry in found} == {"host", "certificate"}
    assert {entry["level"] for entry in found} <= {CRITICAL, ERROR, WARNING}


def test_paragraph() -> None:
    """A paragraph reads as it was approved, and fits the terminal."""
    lines = [line.text for line in checks.lines([make.check("certmap", of_host=True), make.check("key")])]
    assert lines == [
        "certmap  CRITICAL, the host",
        "  compares  what certmap compares",
        "  failure   what certmap breaks",
        "  found by  ipa-healthcheck",
        "",
        "key  CRITICAL, each certificate",
        "  compares  what key compares",
        "  failure   what key breaks",
        "  found by  none",
    ]
    assert all(len(line.text) <= 60 for line in checks.lines(CHECKS, 60))


def test_names_are_unique() -> None:
    """No two checks have the same name."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_table() -> None:
    """The README's table has a row for each check, and every row has as many cells as the head."""
    head, rule, *rows = checks_md.table().splitlines()
    assert [row.split("`")[1] for row in rows] == [check.name for check in CHECKS]
    assert {line.replace("\\|", "").count("|") for line in (head, rule, *rows)} == {7}


def test_table_between_its_markers() -> None:
    """Only what is between the markers is written, and without both nothing is."""
    text = f"before\n{checks_md.BEGIN}\nold\n{checks_md.END}\nafter\n"
    written = checks_md.updated(text)
    assert written == checks_md.updated(written)
    assert written.startswith(f"before\n{checks_md.BEGIN}\n\n| check |")
    assert written.endswith(f"{checks_md.END}\nafter\n")
    for broken in ("", checks_md.BEGIN, checks_md.END):
        with pytest.raises(ValueError, match="needs the lines"):
            checks_md.updated(broken)

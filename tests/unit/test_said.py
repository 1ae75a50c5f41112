# SPDX-License-Identifier: MIT
"""What is taken out of what commands told the journal; how it is asked stands in test_save_record.py."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from certwitness import said
from certwitness.said import TRACEBACK, Line
from tests.unit import findings_factory as make
from tests.unit.harness import program

ERR, INFO = 3, 6


def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *entries: object) -> None:
    text = "\n".join(json.dumps(entry) for entry in entries)
    (tmp_path / "entries").write_text(f"{text}\n")
    program(tmp_path / "bin" / "journalctl", f'echo "$@" >{tmp_path}/asked; cat {tmp_path}/entries')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()


def test_of_each_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are asked for at once; without any nobody is asked."""
    journalctl(tmp_path, monkeypatch, {"MESSAGE": "x"})
    assert said.said(["stop_pkicad", "renew_ca_cert"], 1.5) == [Line("x", INFO)]
    assert "-t stop_pkicad -t renew_ca_cert" in (tmp_path / "asked").read_text()
    assert said.said([], 1.5) is None


def test_only_what_our_own_user_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can call himself renew_ca_cert; and a message is had whole."""
    journalctl(tmp_path, monkeypatch, {"MESSAGE": "x"})
    said.said(["renew_ca_cert"], 1.5)
    asked = (tmp_path / "asked").read_text().split()
    assert f"_UID={os.getuid()}" in asked
    assert "--all" in asked


@pytest.mark.skipif(not shutil.which("journalctl"), reason="no journalctl")
def test_the_real_one_takes_our_options() -> None:
    """Whatever is in its journal: nothing of a program of this name."""
    assert said.said(["certwitness-no-such-program"], 1_800_000_000.0) == []


def test_entries_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another kind than journald writes: they are passed over, and the rest is read."""
    odd: list[object] = [7, {"MESSAGE": "a", "PRIORITY": "x"}, {"MESSAGE": [1, "x"]}, {"MESSAGE": [300]}, {}]
    journalctl(tmp_path, monkeypatch, *odd, {"MESSAGE": "good", "PRIORITY": "3"})
    assert said.said(["x"], 0) == [Line("good", ERR)]


def test_a_long_line_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it does not fill the log."""
    journalctl(tmp_path, monkeypatch, {"MESSAGE": "y" * 100_000})
    assert [len(line.text) for line in said.said(["x"], 0) or ()] == [said.LONGEST_LINE]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([Line("fine", INFO)], None),
        ([], None),
        ([Line("fine", INFO), Line("Cannot stop pki_tomcatd: x", ERR)], "Cannot stop pki_tomcatd: x"),
        ([Line("first", ERR), Line("second", 2)], "first (and 1 more such lines)"),
        (
            [Line(TRACEBACK, ERR), Line('  File "x", line 1', ERR), Line("OSError: gone", ERR)],
            "OSError: gone (and 2 more such lines)",
        ),
    ],
)
def test_one_finding_for_all_errors(lines: list[Line], found: str | None) -> None:
    """Of a traceback its end; of anything else its beginning."""
    findings = said.complaints(lines, ["stop_pkicad"], make.SUBSYSTEM)
    assert [finding.found for finding in findings] == ([found] if found else [])
    for finding in findings:
        assert finding.commands == (
            "journalctl -t stop_pkicad -p err",
            "certwitness verify 'subsystemCert cert-pki-ca'",
        )

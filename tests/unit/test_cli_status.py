# SPDX-License-Identifier: MIT
"""certwitness status: the table, what is below it, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwitness import landing
from certwitness.cli import run, status
from certwitness.events import fold
from certwitness.findings import Finding
from certwitness.landing import Holding
from certwitness.overview import NextTry, Row
from certwitness.render.matrix import matrix
from tests.unit import empty_host
from tests.unit import events_factory as events
from tests.unit import findings_factory as make
from tests.unit.conftest import pem

GOLDEN = Path(__file__).with_name("golden")
LIGHTWEIGHT = "caSigningCert cert-pki-ca 1f6b2c34-9d0e-4a7b-8c15-2e3d4f5a6b7c"


def row(
    nickname: str, marks: str, *findings: Finding, days: int = 719, location: str = make.PKI_NSSDB, **fields: Any
) -> Row:
    """A row whose stores have the marks of these words ("store=mark")."""
    places = [word.split("=") for word in marks.split()]
    end = make.NOW + timedelta(days=days)
    state = fields.pop("state", "MONITORING")
    values = {"renewal": None, "next_try": NextTry(end - timedelta(days=28), "", "")}
    tracked = make.tracked(nickname, location=location, status=state, stuck=state == "NEED_GUIDANCE")
    if "not_after" in fields:
        fields["days"] = None
    holdings = tuple(Holding(store, "x", mark) for store, mark in places)
    return Row(tracked, holdings, findings, **{"not_after": end, "days": days, "state": state, **values, **fields})


def rows() -> list[Row]:
    unreachable, issued = fold.fold([*events.issued(), events.ended(9, code=3, trace="two", nickname="x")])[::-1]
    soon = NextTry(make.NOW + timedelta(hours=5, minutes=1), "", "")
    never = NextTry(None, "never", "")
    return [
        row(make.SUBSYSTEM, "repository=landed ca_renewal=landed saved=landed CS.cfg=landed users=other",
            make.USER_CERTIFICATE, renewal=issued),
        row(make.AUDIT, "repository=missing ca_renewal=older saved=newer CS.cfg=unknown", make.EXPIRY, days=20,
            state="CA_UNREACHABLE", renewal=unreachable, next_try=soon),
        row("Server-Cert cert-pki-ca", "saved=unknown", days=3, state="NEED_GUIDANCE", next_try=never),
        row("auditSigningCert cert-pki-kra", "repository=landed saved=landed"),
        row("", "repository=landed saved=landed served=landed", location="/var/lib/ipa/certs/httpd.crt", days=-2,
            next_try=NextTry(make.NOW, "", "")),
        row(LIGHTWEIGHT, "saved=landed authority=landed", not_after=None, state="?",
            next_try=NextTry(None, "?", "")),
    ]  # fmt: skip


def table(columns: int, unicode: bool = True) -> str:
    lines = ("".join(part.text for part in parts) for parts in matrix(rows(), make.NOW, columns, unicode))
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(("columns", "unicode"), [(0, True), (160, True), (80, True), (80, False)])
def test_golden(columns: int, unicode: bool) -> None:
    """The table reads as it was approved: off a terminal, on a wide one, on a narrow one, without UTF-8."""
    name = f"status-{columns}{'' if unicode else '-ascii'}.txt"
    assert table(columns, unicode) == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [80, 100, 132, 160, 250])
def test_fits_every_terminal(columns: int) -> None:
    """No line is wider than the terminal, and each certificate and its marks are there."""
    printed = table(columns)
    assert max(map(len, printed.splitlines())) <= columns
    assert make.SUBSYSTEM in printed
    assert printed.count("✗") == 2
    assert "2026-11-23" in printed


def test_without_utf8_there_is_only_ascii() -> None:
    """Where UTF-8 cannot be printed the marks are letters."""
    assert table(80, unicode=False).isascii()


def test_blank_and_whole_cells_are_not_alarming() -> None:
    """A blank cell is not marked; the name is only good where all stores are."""
    styles = {line[0].text.strip(): line for line in matrix(rows(), make.NOW) if line}
    names = [make.SUBSYSTEM, make.AUDIT, "Server-Cert cert-pki-ca", "auditSigningCert cert-pki-kra"]
    assert [styles[name][0].style for name in names] == ["bad", "warn", "warn", "good"]
    assert {part.style for part in styles[make.SUBSYSTEM][1:9] if not part.text.strip()} == {""}


def below(*findings: Finding) -> list[str]:
    return [line.text for line in status.below(findings, 0)]


def test_below_the_table_is_the_worst_with_its_remedy() -> None:
    """Under the table stands what to do about the worst finding, and how to see the rest."""
    lines = below(make.EXPIRY, make.MASTER, make.unknown("certmap"))
    assert lines[1] == "ERROR  this host"
    assert f"        {make.MASTER.commands[0]}" in lines
    assert lines[-1] == "everything (2 more findings): certwitness verify"
    assert not any("expiry" in line for line in lines)


def test_below_the_table_names_the_certificate() -> None:
    """A finding about one certificate leads to it, once; its LDIF does not push the table away."""
    lines = below(make.USER_CERTIFICATE)
    assert [line.strip() for line in lines if make.SUBSYSTEM in line][1:] == [
        f"the commands: certwitness verify '{make.SUBSYSTEM}'"
    ]
    assert lines[-1] == "everything: certwitness verify"
    assert not any("userCertificate::" in line for line in lines)
    lines = below(replace(make.USER_CERTIFICATE, commands=("true",)))
    assert lines[-2:] == [f"this certificate: certwitness verify '{make.SUBSYSTEM}'", "everything: certwitness verify"]


def test_below_the_table_those_without_a_verdict_are_together() -> None:
    """Where nothing is worse, all that could not look are told, each reason once."""
    lines = below(make.pending("key"), make.unknown("certmap"), make.unknown("users", make.SUBSYSTEM))
    assert lines[2] == f"    not known  certmap, users ({make.SUBSYSTEM})"
    assert below() == []


@pytest.fixture
def config(tmp_path: Path, leaf: x509.Certificate) -> str:
    """An IPA server with an RA certificate without its key; nothing else can be reached."""
    (tmp_path / "ra.pem").write_bytes(pem(leaf))
    return empty_host.configure(tmp_path)


def test_command(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table and what is below it are printed, with the status of verify; the event log is not touched."""
    assert run(["status", "--config", config]) == 2
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[0].startswith("ipa.example.test: 1 certificate, ")
    assert lines[2].split()[:2] == ["certificate", "repos"]
    assert lines[3].startswith(str(Path(config).with_name("ra.pem")))
    assert "certwitness verify" in lines[-1]
    assert output.err == ""
    assert not Path(config).with_name("log").exists()


def test_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs there is one object."""
    assert run(["status", "--json", "--config", config]) == 2
    form = json.loads(capsys.readouterr().out)
    assert (form["host"], form["status"]) == (empty_host.NAME, "CRITICAL")
    assert [one["role"] for one in form["certificates"]] == ["ra"]
    assert form["certificates"][0]["stores"]["saved"] == landing.LANDED
    assert {one["level"] for one in form["host_findings"]} == {"UNKNOWN"}


def test_no_certificate(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A host without any certificate has no table."""
    Path(config).with_name("ra.pem").unlink()
    assert run(["status", "--config", config]) == 3
    assert "certmonger tracks no certificate on this host\n" in capsys.readouterr().out


def test_terminal(config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the marks have colours, unless NO_COLOR is set."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    run(["status", "--config", config])
    coloured = capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    run(["status", "--config", config])
    plain = capsys.readouterr().out
    assert "\x1b[32m" in coloured
    assert "\x1b" not in plain


def test_worst_of_equals_is_the_first() -> None:
    """Of several findings of the worst level the first is shown."""
    later = replace(make.USER_CERTIFICATE, check="later")
    assert status.first([make.EXPIRY, make.USER_CERTIFICATE, later]) == [make.USER_CERTIFICATE]

# SPDX-License-Identifier: MIT
"""certwitness renewals."""

from __future__ import annotations

import gzip
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from certwitness.cli import renewals, run
from tests.unit import events_factory as make

GOLDEN = Path(__file__).with_name("golden")
AUDIT: dict[str, Any] = {"nickname": "auditSigningCert cert-pki-ca", "key": make.digest("b")}
SERVER: dict[str, Any] = {"nickname": "Server-Cert", "key": make.digest("c"), "ca": "IPA"}
FAR = make.certificate(days=36500)


def world() -> list[make.Event]:
    """One renewal that was issued, an older failure of the same, one unreachable, one stuck."""
    refused = "Error 7 connecting to https://ipa.example.test:443/ca/ee/ca/profileSubmit: Couldn't connect to server."
    return [
        make.data_operation(-200),
        make.started(-100, trace="zero"),
        make.ended(-99, trace="zero", stdout=refused, previous=FAR),
        *make.issued(),
        make.ended(11, trace="two", stdout=refused, previous=FAR, **AUDIT),
        make.started(20, trace="three", **SERVER),
        make.ended(86421, trace="three", code=0, kept=False, previous=FAR, **SERVER),
    ]


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration whose log holds ``world``."""
    make.write(tmp_path / "events.jsonl", world())
    path = tmp_path / "certwitness.conf"
    path.write_text(f"[events]\nfile = {tmp_path}/events.jsonl\n")
    path.chmod(0o600)
    return str(path)


def states(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> tuple[int, list[str]]:
    status = run(["renewals", "--json", "--config", config, *arguments])
    return status, [renewal["state"] for renewal in json.loads(capsys.readouterr().out)["renewals"]]


@pytest.mark.parametrize(
    ("arguments", "status", "found"),
    [
        ([], 2, ["stuck", "unreachable", "issued", "superseded"]),
        (["--cert", "Server-Cert"], 2, ["stuck"]),
        (["--cert", "*cert-pki-ca"], 1, ["unreachable", "issued", "superseded"]),
        (["--cert", make.NICKNAME], 0, ["issued", "superseded"]),
        (["--ca", "IPA"], 2, ["stuck"]),
        (["--ca", make.CA, "--state", "issued"], 0, ["issued"]),
        (["--state", "superseded"], 0, ["superseded"]),
        (["--state", "waiting"], 0, []),
        (["--since", "2026-11-24"], 2, ["stuck"]),
        (["--since", "2026-11-23T19:26"], 2, ["stuck", "unreachable", "issued"]),
        (["--since", "2026-11-23T20:26:00+01:00"], 2, ["stuck", "unreachable", "issued"]),
        (["--since", "2999-01-01T00:00:00Z"], 0, []),
        (["--since", "999999w"], 2, ["stuck", "unreachable", "issued", "superseded"]),
    ],
)
def test_filters(
    config: str, arguments: list[str], status: int, found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Filters choose rows, newest first; the status is the worst of the latest renewal of each certificate shown."""
    assert states(capsys, config, *arguments) == (status, found)


def test_since_an_age() -> None:
    """7d, 12h, 30m and 90s count back from now."""
    now = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
    assert [renewals.moment_of(text, now).isoformat()[:19] for text in ("7d", "12h", "30m", "90s", "1w")] == [
        "2026-11-16T12:00:00",
        "2026-11-23T00:00:00",
        "2026-11-23T11:30:00",
        "2026-11-23T11:58:30",
        "2026-11-16T12:00:00",
    ]


def test_golden(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table off a terminal reads as it was approved."""
    assert run(["renewals", "--config", config]) == 2
    assert capsys.readouterr().out == (GOLDEN / "renewals.txt").read_text()


def test_did_not_land(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What did not land is told beside the state, and counts."""
    log = Path(config).with_name("events.jsonl")
    make.write(log, [*world(), make.verified()])
    assert states(capsys, config, "--cert", make.NICKNAME) == (1, ["issued", "superseded"])
    assert run(["renewals", "--config", config]) == 2
    assert "issued       the CA issued the certificate; did not land: users  " in capsys.readouterr().out


def test_no_match(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters that leave nothing say so."""
    assert run(["renewals", "--config", config, "--ca", "nobody"]) == 0
    assert capsys.readouterr().out == "No renewal matches.\n"


def test_no_renewal_yet(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A log of data operations and changes of the registration is not empty: nothing was renewed yet."""
    changed = {**make.data_operation(), "event": "registration.changed", "what": "ca", "name": "IPA", "why": "register"}
    make.write(Path(config).with_name("events.jsonl"), [changed, *map(make.data_operation, range(3))])
    assert run(["renewals", "--config", config]) == 0
    assert capsys.readouterr().out == "No renewal yet; other events in the log: 4.\n"


def test_problems_in_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the problems stand in the answer, and are told on stderr too."""
    log = Path(config).with_name("events.jsonl")
    log.with_name("events.jsonl.1.gz").write_bytes(gzip.compress(make.line(make.started(trace="old")))[:30])
    assert run(["renewals", "--config", config, "--json"]) == 2
    output = capsys.readouterr()
    form = json.loads(output.out)
    assert form["problems"][0] == {
        "path": f"{log}.1.gz",
        "line": None,
        "what": "truncated gzip file: its end is missing",
        "count": 1,
    }
    assert (form["log"], form["status"]) == (str(log), "CRITICAL")
    assert output.err.count("\n") == len(form["problems"])


def test_rotated_files_are_read(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What logrotate has put aside still counts."""
    log = Path(config).with_name("events.jsonl")
    log.with_name("events.jsonl.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    assert states(capsys, config)[1] == ["stuck", "unreachable", "issued", "superseded"]


def test_severity() -> None:
    """A known failure is worse than an unknown state, which is worse than health."""
    assert renewals.overall_status([], make.stamp()) == 0
    assert renewals.SEVERITY == (0, 3, 1, 2)


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_terminal(
    config: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal of any width each row has its state whole, its trace and what comes next."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    run(["renewals", "--config", config])
    output = capsys.readouterr().out
    assert all(word in output for word in ("stuck", "unreachable", "superseded", make.digest("three", 8)))
    lines = re.sub("\x1b\\[[0-9;]*m", "", output).splitlines()
    assert max(map(len, lines)) <= int(columns)

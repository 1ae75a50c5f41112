# SPDX-License-Identifier: MIT
"""What a hook leaves behind, for what the tests of the whole hook do not bring about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from certwitness import conclusion, config, holds, journal, said, save_record
from certwitness.errors import StoreError
from certwitness.findings import CRITICAL, Finding
from certwitness.run import NOTHING
from certwitness.save import POST_SAVE, PRE_SAVE, Save
from tests.unit import empty_host
from tests.unit import findings_factory as make
from tests.unit.harness import CHECKOUT, program

SCHEMA = json.loads((CHECKOUT / "src" / "certwitness" / "events" / "schema.json").read_text())
LEFT = {"status": 0, "duration_s": 1.5, "stdout": NOTHING, "stderr": NOTHING, "started": 1_800_000_000.0}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The lines that the journal gets, with their levels."""
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(journal, "report", lambda line, *, level="err": lines.append((level, line)))
    monkeypatch.setattr(conclusion, "conclude", lambda *_, **__: [])
    return lines


def save(tmp_path: Path, phase: str = POST_SAVE, *command: str, **look: Any) -> Save:
    """A hook's run on a host where nothing can be reached."""
    made = Save(phase, ["--cert", make.SUBSYSTEM, "--", *command])
    made.config = config.load(empty_host.configure(tmp_path))
    made.look = {"trace_id": "0" * 32, **look}
    return made


def events(tmp_path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (tmp_path / "log" / "events.jsonl").read_text().splitlines()]
    for event in found:
        Draft202012Validator(SCHEMA).validate(event)
    return found


@pytest.mark.parametrize(
    ("levels", "level"), [([], "info"), (["WARNING"], "warning"), (["WARNING", "CRITICAL"], "critical")]
)
def test_the_level_is_that_of_the_worst_finding(tmp_path: Path, levels: list[str], level: str) -> None:
    """hook.started of a command that is about to run."""
    finding = make.BIND.as_event()
    given = save(tmp_path, PRE_SAVE, "/c", findings=[{**finding, "level": one} for one in levels], unseen=["x: y"])
    save_record.write_started(given)
    (event,) = events(tmp_path)
    assert (event["level"], event["unseen"], event["pid"]) == (level, ["x: y"], given.pid)


def test_a_skipped_restart(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    """The hold, the event without an end, and one sentence that names certificate, store and next step."""
    reason = make.BIND.as_event()
    sent: list[object] = []
    given = save(tmp_path, POST_SAVE, "/x/restart_httpd", service="httpd", reasons=[reason])
    given.config.state_directory = str(tmp_path / "state")
    save_record.write_end(given, {"skipped": True}, sent.append)
    ended, placed = events(tmp_path)
    assert (ended["skipped"], ended["findings"], ended["level"]) == (True, [reason], "critical")
    assert "exit" not in ended
    assert (placed["event"], placed["service"], placed["by"], placed["findings"]) == (
        "hold.placed", "httpd", POST_SAVE, [reason],
    )  # fmt: skip
    ((level, line),) = told
    assert level == "crit"
    assert line.startswith(f"{make.SUBSYSTEM}: restart_httpd was not run")
    assert reason["where"] in line
    assert line.endswith("Next: certwitness gate httpd")
    assert sent == [True]


def test_a_failure_of_ours_is_told_once(
    tmp_path: Path, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log cannot be written and the conclusion cannot be drawn: one line."""

    def conclude(*_: object, **__: object) -> None:
        raise StoreError("certmonger", "silent")

    monkeypatch.setattr(conclusion, "conclude", conclude)
    given = save(tmp_path, POST_SAVE, "/c")
    (tmp_path / "log").mkdir(mode=0o777)
    (tmp_path / "log").chmod(0o777)
    save_record.write_end(given, {"left": LEFT}, lambda _: None)
    ((_, line),) = told
    assert "not recorded" in line
    assert "certmonger: silent" in line


@pytest.mark.parametrize(
    ("trace_found", "findings", "lines"),
    [
        pytest.param(False, [make.EXPIRY, make.MASTER, make.BIND], 1, id="unexplained"),
        pytest.param(False, [make.EXPIRY], 0, id="nothing that accuses"),
        pytest.param(True, [make.BIND], 0, id="the conclusion told it"),
    ],
)
def test_a_save_that_the_log_does_not_explain(
    tmp_path: Path,
    told: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    trace_found: bool,
    findings: list[Finding],
    lines: int,
) -> None:
    """No renewal can be said to have landed or not: the worst that is wrong is told all the same, once."""
    monkeypatch.setattr(conclusion, "conclude", lambda *_, **__: findings)
    given = save(tmp_path, POST_SAVE, "/c", name=make.SUBSYSTEM, trace_found=trace_found)
    save_record.write_end(given, {"left": LEFT}, lambda _: None)
    sentence = (
        "subsystemCert cert-pki-ca: pkidbuser-bind: error 49; pki-tomcatd will not start. "
        "Next: certwitness verify 'subsystemCert cert-pki-ca'"
    )
    assert told == [("crit", sentence)] * lines


@pytest.mark.parametrize(
    ("command", "end", "limit_s"),
    [
        pytest.param(("/c",), {"left": LEFT}, 30, id="ran"),
        pytest.param(("/c",), {"left": LEFT, "error": "No such file"}, 0, id="cannot be executed"),
        pytest.param(("/c",), {"skipped": True}, 0, id="skipped"),
        pytest.param((), {"left": LEFT}, 0, id="no command"),
    ],
)
@pytest.mark.usefixtures("told")
def test_only_a_command_that_ran_is_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], end: dict[str, Any], limit_s: float
) -> None:
    """certmonger holds up all other saves while the stores are waited for."""
    limits: list[float] = []

    def conclude(*_: object, limit_s: float, **__: object) -> list[Finding]:
        limits.append(limit_s)
        return []

    monkeypatch.setattr(conclusion, "conclude", conclude)
    given = save(tmp_path, POST_SAVE, *command, service="httpd", reasons=[make.BIND.as_event()])
    given.config.state_directory = str(tmp_path / "state")
    save_record.write_end(given, end, lambda _: None)
    assert limits == [limit_s]


ENTRIES = (
    '{"MESSAGE": "one", "PRIORITY": "6"}',
    '{"MESSAGE": [116, 119, 111, 255], "PRIORITY": "5"}',
    "torn {",
    '{"PRIORITY": "3"}',
    '{"MESSAGE": "bind failed: pin=geheim123\\nwhy", "PRIORITY": "3"}',
)


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("cat <<'EOF'\n" + "\n".join(ENTRIES) + "\nEOF", ["one", "two\\xff", "bind failed", "why"]),
        ("exit 1", None),
        ("exec sleep 60", None),
        (None, None),
    ],
)
def test_the_journal_of_the_command(
    tmp_path: Path, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, body: str | None, lines: Any
) -> None:
    """What it told the journal is kept without secrets, and its errors are a finding; without journalctl, with one that
    fails or hangs, the event says nothing of it."""
    monkeypatch.setattr(said, "JOURNALCTL_S", 0.5)
    (tmp_path / "bin").mkdir()
    if body:
        program(tmp_path / "bin" / "journalctl", f'echo "$@" >{tmp_path}/asked\n{body}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin" + (":/bin:/usr/bin" if body else ""))
    given = save(tmp_path, PRE_SAVE, "/x/stop_pkicad")
    save_record.write_end(given, {"left": LEFT}, lambda _: None)
    (event,) = events(tmp_path)
    if not lines:
        assert "journal" not in event
        assert (event["level"], told) == ("info", [])
        return
    assert all(line.startswith(wanted) for line, wanted in zip(event["journal"], lines))
    assert len(event["journal"]) == len(lines)
    assert "geheim123" not in json.dumps(event)
    ((finding,), level) = event["findings"], event["level"]
    assert (finding["check"], finding["level"], level) == ("hook-said", "WARNING", "warning")
    assert finding["found"].startswith("bind failed")
    ((priority, line),) = told
    assert (priority, line.startswith(f"{make.SUBSYSTEM}: stop_pkicad told the journal: bind failed")) == (
        "warning",
        True,
    )
    assert "-t stop_pkicad" in (tmp_path / "asked").read_text()
    assert "--since=@1800000000.000000" in (tmp_path / "asked").read_text()


def test_a_reason_without_commands_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every remedy has any."""
    monkeypatch.setattr(conclusion, "conclude", lambda *_, **__: [])
    finding = Finding("key", CRITICAL, "Server-Cert", found="no private key", breaks="389-ds will not start")
    given = save(tmp_path, POST_SAVE, "/x/restart_dirsrv", "X", service="dirsrv", reasons=[finding.as_event()])
    given.config.state_directory = str(tmp_path / "state")
    save_record.write_end(given, {"skipped": True}, lambda _: None)
    hold, problem = holds.read(given.config, "dirsrv")
    assert hold is not None
    assert (problem, [one["found"] for one in hold.findings]) == ("", ["no private key"])


def test_a_bug_costs_its_own_step_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hold fails in a way that nobody thought of: the conclusion comes, and the journal is told."""
    told, concluded, sent = list[str](), list[object](), list[object]()

    def conclude(*_: Any, **how: Any) -> list[Finding]:
        concluded.append(how)
        return []

    monkeypatch.setattr(journal, "report", lambda line, **_: told.append(line))
    monkeypatch.setattr(conclusion, "conclude", conclude)
    given = save(tmp_path, POST_SAVE, "/x/restart_dirsrv", "X", service="dirsrv", reasons=[{"check": "x", "odd": 1}])
    given.look["reasons"][0].update(level=CRITICAL, where="w", found="f")
    save_record.write_end(given, {"skipped": True}, sent.append)
    assert (len(concluded), sent) == (1, [True])
    assert any("hold failed: TypeError" in line for line in told)

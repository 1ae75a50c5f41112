# SPDX-License-Identifier: MIT
"""certwitness show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from certwitness.cli import run
from certwitness.cli.show import choose
from certwitness.errors import CertwitnessError
from certwitness.events import fold
from tests.unit import events_factory as make

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration; the log beside it is for the test to write."""
    path = tmp_path / "certwitness.conf"
    path.write_text(f"[events]\nfile = {tmp_path}/events.jsonl\n")
    path.chmod(0o600)
    return str(path)


def show(config: str, events: list[make.Event], *arguments: str) -> int:
    make.write(Path(config).with_name("events.jsonl"), events)
    return run(["show", "--config", config, *arguments])


def test_golden_issued(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A renewal that was issued reads as it was approved."""
    events = make.issued()
    events[1]["stderr"] = {"size": 30, "text": 'GET "https://x"\n\x1b[31mcode = 200\n'}
    assert show(config, [make.data_operation(), *events]) == 0
    assert capsys.readouterr().out == (GOLDEN / "show-issued.txt").read_text()


def save() -> list[make.Event]:
    """A renewal whose save was witnessed: something was latent before it, a hook said something, and it landed."""
    latent = {"check": "user-certificate", "level": "CRITICAL", "expected": "serial 10", "found": "serial 9",
              "breaks": "pki-tomcatd will not start", "remedy": "add it"}  # fmt: skip
    held = {**make.certificate(), "pem": "-----BEGIN CERTIFICATE-----\n"}
    steps = [{"status": "SUBMITTING", "at": make.stamp(1), "duration_s": 0.31},
             {"status": "SAVED_CERT", "at": make.stamp(5), "duration_s": 0.001}]  # fmt: skip
    moved = {**make.hook(8, phase="moved"), "event": "request.moved", "steps": steps, "status": "MONITORING"}
    words = "journal \x1b[31mred"
    return [
        *make.issued(),
        make.hook(3.5, phase="pre-save", replaced=held, findings=[latent], lock="renew_ra_cert"),
        make.hook_ended(5.5, phase="pre-save", observer=["the log of yesterday"]),
        make.hook(6),
        make.hook_ended(8, exit={"code": 1, "signal": None}, stderr={"size": 4, "text": "bad\n"}, journal=[words]),
        make.verified(9, astray=False),
        moved,
    ]


def test_golden_save(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hooks, what was latent before them, certmonger's states and the landing read as they were approved."""
    assert show(config, save()) == 0
    assert capsys.readouterr().out == (GOLDEN / "show-save.txt").read_text()


def test_a_hook_without_an_end(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A post-save that was cut off is told: certmonger never runs it again."""
    show(config, [*make.issued(), make.hook(4)])
    assert "no end is recorded: it still runs, or was cut off" in capsys.readouterr().out


def test_a_skipped_restart(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A restart that was refused says so, and why."""
    reason = {"check": "key", "level": "CRITICAL", "expected": "the key", "found": "another", "breaks": "httpd stops",
              "remedy": "restore it"}  # fmt: skip
    show(config, [*make.issued(), make.hook(4), make.hook_ended(5, skipped=True, findings=[reason])])
    out = capsys.readouterr().out
    assert "skipped: the service runs on with what it has in memory" in out
    assert "CRITICAL key: another" in out


def loop() -> list[make.Event]:
    """An expired certificate that is refused every 30 seconds, the last run under way."""
    same = {"size": 24, "same_as_previous": True}
    held = make.certificate(days=-1)
    refused = "Server at x replied: no\n"
    events = []
    for number in range(1, 101):
        events.append(make.started(number * 30, attempt=number))
        fields: dict[str, Any] = {"stdout": refused, "stderr": "noise\n", "previous": held, "attempt": number}
        event = make.ended(number * 30 + 1, code=2, **fields)
        if number > 1:
            event.update(stdout=same, stderr=same)
        events.append(event)
    return [*events, make.started(3030, attempt=101)]


def test_golden_loop(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred runs that ended alike are two paragraphs, and a run under way is told."""
    assert show(config, loop()) != 0
    assert capsys.readouterr().out == (GOLDEN / "show-loop.txt").read_text()


def test_golden_stuck(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken promise with a finding reads as it was approved."""
    finding = {
        "check": "helper-output",
        "level": "CRITICAL",
        "expected": "UTF-8 on the first line",
        "found": "bytes ff fe",
        "breaks": "certmonger aborts",
        "remedy": "stop it and delete the ca_error line",
    }
    result = {"kind": "text", "problem": "no certificate in the output"}
    event = make.ended(code=0, kept=False, result=result, findings=[finding], observer=["state directory: no space"])
    assert show(config, [make.started(), event]) == 2
    assert capsys.readouterr().out == (GOLDEN / "show-stuck.txt").read_text()


def test_run_without_an_end_between_others(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose end was never written is told in its place."""
    show(config, [make.started(0), make.started(60, attempt=2), make.ended(61, attempt=2)])
    lines = capsys.readouterr().out.splitlines()
    first = next(index for index, line in enumerate(lines) if "#1 SUBMIT" in line)
    assert "no end is recorded" in lines[first + 2]
    assert any("#2 POLL" in line for line in lines[first:])


def test_runs_that_differ_are_apart(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs are one only if exit, output and findings are the same."""
    show(config, [make.ended(1, stdout="a"), make.ended(2, attempt=2, stdout="b"), make.ended(3, attempt=3, code=4)])
    assert "more such runs" not in capsys.readouterr().out


@pytest.mark.parametrize("which", [make.digest("one", 32), make.digest("one", 6).upper(), make.NICKNAME])
def test_which(config: str, which: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A renewal is chosen by trace, by the beginning of a trace, or by nickname."""
    other = make.ended(9, trace="two", nickname="Server-Cert", key=make.digest("c"))
    assert show(config, [*make.issued(), other], which) == 0
    assert capsys.readouterr().out.startswith(f"{make.NICKNAME} from")


def test_latest_of_a_nickname(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A nickname means its latest renewal, and no argument the latest of all."""
    events = [make.ended(1, trace="old"), *make.issued(at=10), make.ended(99, trace="two", nickname="x", key=None)]
    assert show(config, events, make.NICKNAME, "--json") == 0
    assert json.loads(capsys.readouterr().out)["renewal"]["trace_id"] == make.digest("one", 32)
    show(config, events, "--json")
    assert json.loads(capsys.readouterr().out)["renewal"]["nickname"] == "x"


def test_ambiguous_trace(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A beginning that fits several traces is one clear line that names them."""
    held = make.certificate(days=36500)
    traces = ("abcdef" + "0" * 26, "abcdef" + "1" * 26)
    events = [make.ended(at, trace_id=trace, nickname=trace, previous=held) for at, trace in enumerate(traces)]
    assert show(config, events, "abcdef") == 3
    output = capsys.readouterr()
    assert output.err.startswith("certwitness: 2 traces begin with abcdef: abcdef")
    assert output.err.count("\n") == 1
    assert show(config, events, "abcdef1") == 1


@pytest.mark.parametrize("which", ["abc", "0" * 32, "no such\x1bname"])
def test_unknown(config: str, which: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What names no renewal is UNKNOWN, with one clean line."""
    assert show(config, make.issued(), which) == 3
    output = capsys.readouterr()
    assert output.err.startswith("certwitness: no renewal of a certificate")
    assert output.err.count("\n") == 1
    assert "\x1b" not in output.err


def test_nickname_that_looks_like_a_trace() -> None:
    """A request id of digits only is a nickname first."""
    found = fold.fold([make.ended(nickname="20261123190541"), make.ended(2, trace_id="20261123190541" + "0" * 18)])
    assert choose(found, "20261123190541").nickname == "20261123190541"
    with pytest.raises(CertwitnessError, match="no renewal"):
        choose(found, "20261123190542")


def test_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: the renewal, its events as they are in the log, and the problems."""
    assert (
        show(
            config,
            [make.data_operation(), *make.issued(), make.ended(99, trace="two", nickname="x")],
            make.NICKNAME,
            "--json",
        )
        == 0
    )
    form = json.loads(capsys.readouterr().out)
    assert form["events"] == make.issued()
    assert form["renewal"]["certificate"]["serial"] == "12"
    assert form["problems"] == []


def test_trace_named_in_another_event(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace that is only mentioned in another's output does not mix them."""
    stranger = make.ended(99, trace="two", nickname="x", stderr=make.digest("one", 32))
    show(config, [*make.issued(), stranger], make.NICKNAME, "--json")
    assert len(json.loads(capsys.readouterr().out)["events"]) == 6


LDIF = "ldapmodify -Q -Y EXTERNAL <<'EOF'\ndn: uid=pkidbuser,ou=people,o=ipaca\nEOF"
FINDING = {
    "check": "user-certificate",
    "level": "CRITICAL",
    "certificate": make.NICKNAME,
    "where": "uid=pkidbuser,ou=people,o=ipaca",
    "expected": "serial 12",
    "found": "serial 10",
    "breaks": "pki-tomcatd will not start",
    "remedy": "Add the certificate.",
    "commands": [LDIF],
    "since": make.stamp(3),
}


def test_golden_did_not_land(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A renewal that did not land ends with the places that missed it, and with the remedies."""
    events = make.issued()
    events[-1]["must_follow"] = ["repository", "ca_renewal", "saved", "CS.cfg", "users"]
    assert show(config, [*events, make.verified(5), make.verified(findings=[FINDING])]) == 2
    printed = capsys.readouterr().out
    assert printed[printed.index("#3 POLL") :] == (GOLDEN / "show-did-not-land.txt").read_text()
    assert LDIF in printed


def test_landed(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that landed ends with the stores that have it, and when that was seen."""
    assert show(config, [*make.issued(), make.verified(5), make.verified(astray=False)]) == 0
    output = capsys.readouterr().out
    landed = "\nlanded: ca_renewal, users (seen 2026-11-23 19:26:10 UTC)\n10 seconds from the first run until "
    assert landed in output
    assert "did not land" not in output


def test_an_older_renewal_is_not_asked_for(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can look any more whether a renewal landed that was followed by another."""
    show(config, [*make.issued(), *make.issued("two", at=100)], make.digest("one", 8))
    assert "landed" not in capsys.readouterr().out


def test_look_of_a_later_version(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Findings with fields and levels that this version does not know are shown as far as they go."""
    odd = {"check": 7, "level": "FATAL", "found": "x\x1b", "commands": "rm"}
    assert show(config, [*make.issued(), make.verified(findings=[odd, "no finding"])]) == 1  # type: ignore[list-item]
    printed = capsys.readouterr().out
    assert "ERROR  this host" in printed
    assert "x\\x1b" in printed

# SPDX-License-Identifier: MIT
"""certwitness verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwitness.certificates import Certificate
from certwitness.checks import CHECKS
from certwitness.cli import looking, run, verify
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.findings import Finding
from tests.unit import empty_host
from tests.unit import findings_factory as make
from tests.unit.conftest import der, pem

HTTP = "/var/lib/ipa/certs/httpd.crt"


@pytest.fixture
def config(tmp_path: Path) -> str:
    """An IPA server on which nothing can be reached."""
    return empty_host.configure(tmp_path)


def seen(*findings: Finding, certificates: int = 1, **fields: Any) -> looking.Look:
    results = tuple(make.result(finding) for finding in findings) or (make.result(),)
    return looking.Look(make.evidence(**fields), (make.tracked(),) * certificates, (), results)


def story(look: looking.Look, *, everything: bool = True) -> list[str]:
    return [line.text for line in verify.story(look, everything)]


def test_all_is_well() -> None:
    """A host on which everything landed is two lines."""
    assert story(seen(certificates=13)) == [
        "ipa.example.test: 13 certificates, 1 check: OK",
        "13 certificates landed everywhere they must be",
    ]


def test_not_all_checks_prove_no_landing() -> None:
    """With some of the checks alone, or without any certificate, nobody says that all landed."""
    assert story(seen(), everything=False)[1] == "nothing wrong found, but not all checks were run"
    assert "tracks no certificate" in story(seen(certificates=0))[1]


def test_findings_are_told_and_nothing_is_said_to_have_landed() -> None:
    """With findings, even such that accuse nobody, there is no last word that all is well."""
    for finding in (make.USER_CERTIFICATE, make.unknown("certmap"), make.pending("cs-cfg")):
        lines = story(seen(finding))
        assert any(finding.check in line for line in lines)
        assert not any("landed everywhere" in line for line in lines)


def test_checks_are_chosen() -> None:
    """--only and --skip leave the checks that they name, in their order."""
    known = [make.check(name) for name in ("one", "two", "three")]

    def names(only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> list[str]:
        return [check.name for check in looking.chosen(known, only, skip)]

    assert names() == ["one", "two", "three"]
    assert names(only=("three", "one")) == ["one", "three"]
    assert names(skip=("two",)) == ["one", "three"]
    assert names(only=("three", "one"), skip=("one",)) == ["three"]
    for only, skip in ((("four",), ()), ((), ("four",))):
        with pytest.raises(CertwitnessError, match=r"no check 'four'; known: one, two, three"):
            names(only, skip)
    with pytest.raises(CertwitnessError, match="no check to run"):
        names(only=("one",), skip=("one",))


@pytest.mark.parametrize("word", [make.SUBSYSTEM, "4711", HTTP, "/var/lib/ipa/../ipa/certs/httpd.crt"])
def test_certificates_are_named(word: str) -> None:
    """A certificate is named by nickname, PEM file or request id."""
    world = make.evidence(make.tracked(id="4711"), make.tracked("", location=HTTP, id="4712"), make.tracked(make.AUDIT))
    expected = HTTP if word.startswith("/") else make.SUBSYSTEM
    assert [one.name for one in looking.named(world, (word, word))] == [expected]
    assert len(looking.named(world, ())) == 3


def test_unknown_certificate_lists_those_known() -> None:
    """A name that no certificate has is one line with those that there are."""
    world = make.evidence(make.tracked(), make.tracked("", location=HTTP))
    with pytest.raises(CertwitnessError, match=f"no certificate 'x' .* known: {make.SUBSYSTEM}, {HTTP}, and"):
        looking.named(world, (make.SUBSYSTEM, "x"))
    many = make.evidence(*(make.tracked(str(number)) for number in range(22)))
    with pytest.raises(CertwitnessError, match="19 and 2 more"):
        looking.named(many, ("x",))


def test_unknown_certificate_where_certmonger_is_silent() -> None:
    """Without certmonger its requests' ids are not known, and that is said."""

    class Silent:
        tracked = ()

        @property
        def requests(self) -> None:
            raise StoreError("certmonger", "no bus")

    with pytest.raises(CertwitnessError, match=r"nothing is \(certmonger could not be asked: no bus\)"):
        looking.named(Silent(), ("x",))  # type: ignore[arg-type]


def test_expected_certificate_must_belong_here(leaf: x509.Certificate) -> None:
    """A certificate that takes no tracked one's place is refused, with its serial, and with what could not be seen."""
    expected = Certificate(der(leaf))
    certificates = (make.tracked(), make.tracked(make.AUDIT))

    def held(tracked: Any) -> Certificate:
        if tracked.name == make.AUDIT:
            raise StoreError("alias", "locked")
        return expected

    looking.belongs(make.evidence(*certificates, held=held, wanted=lambda _: expected), expected)
    with pytest.raises(CertwitnessError, match=r"serial 10, CN=a.example.*alias: locked"):
        looking.belongs(make.evidence(*certificates, held=held, wanted=lambda _: None), expected)


def test_expected_certificate_file(tmp_path: Path, leaf: x509.Certificate) -> None:
    """The first certificate of the file is expected; a file without one is one line that names it."""
    path = tmp_path / "new.pem"
    path.write_bytes(pem(leaf) + b"garbage")
    assert looking.expected_certificate(str(path)).serial == 10
    for content, words in ((b"", "empty"), (b"x", "no PEM"), (der(leaf), "DER")):
        path.write_bytes(content)
        with pytest.raises(CertwitnessError, match=f"new.pem: .*{words}"):
            looking.expected_certificate(str(path))
    with pytest.raises(CertwitnessError, match=r"nowhere.pem: there is no such file"):
        looking.expected_certificate(str(tmp_path / "nowhere.pem"))


class Clock:
    """Time that passes only while somebody sleeps, or looks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def wait(looks: Iterator[looking.Look], wait_s: float) -> tuple[looking.Look, Clock, list[tuple[int, float]]]:
    clock = Clock()
    told: list[tuple[int, float]] = []
    last = looking.settled(
        lambda: next(looks), wait_s, lambda awaited, left: told.append((len(awaited), left)), clock, clock.sleep
    )
    return last, clock, told


@pytest.mark.parametrize("finding", [make.USER_CERTIFICATE, make.MASTER, make.pending("cs-cfg")])
def test_wait_until_all_is_well(finding: Finding) -> None:
    """--wait looks again after 1, 2, 4, and then every 5 seconds, until what is wrong or too early is gone."""
    looks = iter([*[seen(finding, make.EXPIRY)] * 5, seen(make.EXPIRY)])
    last, clock, told = wait(looks, 60)
    assert last.findings == (make.EXPIRY,)
    assert clock.slept == [1, 2, 4, 5, 5]
    assert told == [(1, 60), (1, 59), (1, 57), (1, 53), (1, 48)]


def test_wait_ends_with_a_last_look() -> None:
    """When the time is over there is one look more, and its findings count."""
    last, clock, _ = wait(iter([seen(make.MASTER)] * 3 + [seen(make.USER_CERTIFICATE)]), 5)
    assert (clock.slept, last.findings) == ([1, 2, 2], (make.USER_CERTIFICATE,))


@pytest.mark.parametrize("finding", [make.EXPIRY, make.unknown("certmap")])
def test_no_wait_for_what_waiting_does_not_mend(finding: Finding) -> None:
    """A risk, and what nobody could look at, are not waited for; without --wait nothing is."""
    assert wait(iter([seen(finding)]), 60)[1].slept == []
    assert wait(iter([seen(make.MASTER)]), 0)[1].slept == []


def test_looks_that_are_overtaken_are_closed() -> None:
    """Only the last look's evidence stays open, for its outcome to be recorded."""
    closed: list[int] = []
    looks = iter([seen(make.MASTER, close=lambda: closed.append(1)), seen(close=lambda: closed.append(2))])
    wait(looks, 60)
    assert closed == [1]


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal one line on stderr says what is awaited, and is gone at the end; elsewhere there is none."""
    with verify.Progress() as progress:
        progress.waiting([make.USER_CERTIFICATE], 25)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    with verify.Progress() as progress:
        progress.waiting([make.USER_CERTIFICATE], 25)
    words = "waiting, 25 s left, for user-certificate (subsystemCert cert-pki-ca)"
    assert capsys.readouterr().err == f"\r\x1b[K{words[:58]}…\r\x1b[K"


@pytest.mark.parametrize("error", [LogError("/log: full"), StoreError("event log", "not a regular file")])
def test_outcome_that_cannot_be_written(error: Exception) -> None:
    """Trouble with the event log is told, and changes nothing else."""

    class Broken:
        @property
        def log(self) -> None:
            raise error

    look = looking.Look(Broken(), (), (), ())  # type: ignore[arg-type]
    assert verify._record(look) == f"the outcome is not in the event log: {error}"


def test_host_on_which_nothing_can_be_reached(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be looked at, that is said, nobody is accused, and the status is UNKNOWN."""
    assert run(["verify", "--config", config]) == 3
    output = capsys.readouterr()
    assert output.out.startswith("ipa.example.test: 0 certificates, ")
    assert "UNKNOWN  certmonger: could not look: D-Bus" in output.out
    assert "UNKNOWN  directory: could not look: ldapi://" in output.out
    assert output.err == ""


def test_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs there is a list as ipa-healthcheck prints it, and nothing else."""
    assert run(["verify", "--json", "--config", config]) == 3
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert {tuple(entry) for entry in found} == {("source", "check", "result", "uuid", "when", "duration", "kw")}
    assert {entry["result"] for entry in found} <= {"SUCCESS", "WARNING"}
    assert "UNKNOWN" in {entry["kw"].get("level") for entry in found}
    assert output.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no certificate 'nobody' is tracked here; nothing is (certmonger could not be asked: D-Bus"),
        (["--only", "nothing"], f"no check 'nothing'; known: {CHECKS[0].name}, "),
        (["--skip", "x\x1b"], "no check 'x\\x1b'"),
        (["--wait", "soon"], "--wait"),
        (["--wait", "-1"], "--wait"),
        (["--wait", "nan"], "--wait"),
        (["--expect", "/nowhere.pem"], "/nowhere.pem: there is no such file"),
        (["--expect", "/"], "/: "),
        (["--expect", "/dev/zero"], "/dev/zero: "),
    ],
)
def test_bad_input(config: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input is UNKNOWN, with one line that names it."""
    assert run(["verify", "--config", config, *arguments]) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("certwitness: ")
    assert says in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("name", ["verify", "status"])
def test_no_ipa_server(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no realm is known it is no IPA server: one line."""
    path = tmp_path / "certwitness.conf"
    path.write_text("")
    path.chmod(0o600)
    assert run([name, "--config", str(path)]) == 3
    output = capsys.readouterr()
    assert "no IPA server" in output.err
    assert (output.out, output.err.count("\n")) == ("", 1)


def test_interrupt(config: str, tmp_path: Path, leaf: x509.Certificate) -> None:
    """Ctrl-C ends the waiting at once, with 130 and without a word."""
    (tmp_path / "ra.pem").write_bytes(pem(leaf))  # without its key: CRITICAL
    program = "from certwitness.cli import main; main()"
    arguments = [sys.executable, "-c", program, "--config", config, "verify", "--wait", "60"]
    terminal, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=slave, env=environ) as process:
        os.close(slave)
        shown = b""
        while b"waiting" not in shown:
            shown += os.read(terminal, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert b"Traceback" not in shown
    os.close(terminal)

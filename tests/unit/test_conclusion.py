# SPDX-License-Identifier: MIT
"""The end of a save: how long the stores are waited for, what is said of them, and what is held."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certwitness import catalogue, conclusion, gate, holds, judging, landing, verification
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.events import log
from certwitness.findings import CRITICAL, ERROR, Finding
from certwitness.gate import Verdict
from certwitness.landing import Holding
from certwitness.tracked import Tracked
from tests.unit import findings_factory as make
from tests.unit.test_verification import BEFORE, ISSUED

CA_CERTIFICATE = "/etc/ipa/ca.crt"
KEY = Finding("key", CRITICAL, make.SUBSYSTEM, "/alias", found="another key", breaks="pki-tomcatd will not start")
CERTIFICATE = make.tracked(certificate=None)
TOLD_WELL = ("info", f"{make.SUBSYSTEM}: the renewed certificate landed everywhere it must be")


def place(store: str, mark: str = landing.MISSING, where: str = "there") -> Holding:
    return Holding(store, where, mark)


HERE = place(catalogue.SAVED, landing.LANDED)
HTTPS_DOWN = place(catalogue.SERVED, landing.UNKNOWN, "ipa.example.test:443")
OLD_HTTPS = place(catalogue.SERVED, landing.OLDER, "ipa.example.test:443")
NO_USER = place(catalogue.USERS, landing.MISSING, make.PKIDBUSER)


class Look(SimpleNamespace):
    """What a look at the stores shows: `held`, `findings`, on a renewal `master` or not."""

    held: tuple[Holding, ...] = (HERE,)
    findings: tuple[Finding, ...] = ()
    master: bool | None = True
    wanted: Any = ISSUED
    tracked: Tracked = CERTIFICATE
    others: tuple[Tracked, ...] = ()
    log_fails: bool = False


class World:
    """The looks that conclude gets, one after the other (the last for ever), and what it does about them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks: list[Look] = [Look()]
        self.taken = 0
        self.pauses: list[float] = []
        self.told: list[tuple[str, str]] = []
        self.verdicts: list[Verdict] = []
        self.path = directory / "log" / "events.jsonl"
        self.outcome = ""
        config = SimpleNamespace(events_file=str(self.path), state_directory=str(directory / "state"))
        self.host: Any = SimpleNamespace(config=config, ca_certificate=CA_CERTIFICATE, kra_cs_cfg="/kra")
        monkeypatch.setattr(conclusion, "Evidence", self._evidence)
        monkeypatch.setattr(landing, "holdings", lambda evidence, *_: evidence.look.held)
        monkeypatch.setattr(verification, "run", self._run)
        monkeypatch.setattr(judging, "verdicts", lambda *_: self.verdicts)
        monkeypatch.setattr(conclusion, "time", SimpleNamespace(monotonic=lambda: sum(self.pauses)))

    def conclude(self, limit_s: float = 30) -> list[Finding]:
        return conclusion.conclude(
            self.host, make.SUBSYSTEM, by="watch", limit_s=limit_s, report=self._report, pause=self.pauses.append
        )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def _report(self, line: str, *, level: str) -> None:
        self.told.append((level, line))

    @staticmethod
    def _run(evidence: Any, _: object, certificates: tuple[str, ...] = ()) -> list[verification.Result]:
        return [make.result(finding) for finding in evidence.look.findings] if certificates else []

    def _evidence(self, host: Any, *, waits: bool) -> Any:
        assert not waits
        self.taken += 1
        return _Evidence(host, self.looks.pop(0) if len(self.looks) > 1 else self.looks[0], self.outcome)


class _Evidence:
    def __init__(self, host: Any, look: Look, outcome: str) -> None:
        self.host, self.look, self.now = host, look, make.NOW
        self._renewal = SimpleNamespace(
            state="issued", new=ISSUED.as_event(), outcome=outcome, trace_id="1" * 32, nickname=make.SUBSYSTEM,
            key="2" * 64, ca="CA",
        )  # fmt: skip
        self.tracked, self.expect = (look.tracked, *look.others), None

    @property
    def log(self) -> tuple[Any, ...]:
        if self.look.log_fails:
            raise StoreError("event log", "no permission")
        return (self._renewal,)

    def renewal(self, _: Tracked) -> Any:
        return self.log[0]

    def wanted(self, _: Tracked) -> Any:
        return self.look.wanted

    def in_flight(self, _: Tracked) -> str:
        return ""

    @property
    def is_renewal_master(self) -> bool:
        if self.look.master is None:
            raise StoreError("directory", "no answer")
        return self.look.master

    def __enter__(self) -> _Evidence:
        return self

    def __exit__(self, *failure: object) -> None:
        return


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


# --- how long it waits


def test_all_is_there_at_once(world: World) -> None:
    """One look, one event, one line."""
    assert world.conclude() == []
    assert (world.taken, world.pauses, world.told) == (1, [], [TOLD_WELL])
    ((outcome, by, level),) = [(event["outcome"], event["by"], event["level"]) for event in world.events()]
    assert (outcome, by, level) == ("landed", "watch", "info")


def test_it_waits_with_back_off_until_the_stores_agree(world: World) -> None:
    """A service that starts, and one that still shows the old certificate."""
    world.looks = [Look(held=(HERE, HTTPS_DOWN))] * 2 + [Look(held=(HERE, OLD_HTTPS))] * 4 + [Look()]
    world.conclude()
    assert world.pauses == [0.5, 1, 2, 4, 8, 8]
    assert world.told == [TOLD_WELL]


def test_the_deadline(world: World) -> None:
    """No pause goes beyond it, and what is there then is told."""
    world.looks = [Look(held=(HERE, OLD_HTTPS))]
    world.conclude(limit_s=10)
    assert world.pauses == [0.5, 1, 2, 4]
    ((level, line),) = world.told
    assert (level, "did not land in served (ipa.example.test:443)" in line) == ("err", True)


@pytest.mark.parametrize(
    ("master", "held", "waits"),
    [
        pytest.param(True, place(catalogue.CA_STORE, landing.OLDER, CA_CERTIFICATE), False, id="ipa-certupdate"),
        pytest.param(False, place(catalogue.CA_STORE, landing.OLDER, CA_CERTIFICATE), False, id="ipa-certupdate there"),
        pytest.param(False, place(catalogue.SAVED, landing.OLDER), False, id="saved"),
        pytest.param(False, place(catalogue.CS_CFG, landing.OLDER), False, id="CS.cfg"),
        pytest.param(True, NO_USER, False, id="LDAP, written here"),
        pytest.param(False, NO_USER, True, id="LDAP, replicated"),
        pytest.param(None, NO_USER, True, id="LDAP, nobody knows"),
        pytest.param(True, place(catalogue.USERS, landing.UNKNOWN), True, id="not seen"),
        pytest.param(True, OLD_HTTPS, True, id="served"),
    ],
)
def test_it_waits_only_where_that_can_help(world: World, master: bool | None, held: Holding, waits: bool) -> None:
    """certmonger holds up all other saves meanwhile."""
    world.looks = [Look(held=(HERE, held), master=master)]
    world.conclude()
    assert bool(world.pauses) is waits


# --- what is said


def test_nothing_is_said_where_nothing_is_news(world: World) -> None:
    """The log has it already: the hook and `watch` saw the same."""
    world.outcome = "landed"
    assert world.conclude() == []
    assert (world.told, world.events()) == ([], [])


def test_nothing_is_said_of_another_certificate(world: World) -> None:
    """Saved was one that the log's renewal did not issue; what is wrong is the caller's to tell."""
    newer = SimpleNamespace(as_event=lambda: {"sha256": "c", "not_before": "2027-01-01T00:00:00Z"})
    world.looks = [Look(wanted=newer, findings=(KEY,))]
    assert world.conclude() == [KEY]
    assert (world.told, world.events()) == ([], [])


def test_it_was_never_saved(world: World) -> None:
    """The helper was given one, and an older one is held."""
    world.looks = [Look(wanted=BEFORE, held=(place(catalogue.SAVED, landing.OLDER, "/alias"),))]
    world.conclude()
    assert [event["outcome"] for event in world.events()] == ["did not land"]


def test_a_log_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the journal hears it all the same, and the service is held."""

    def append(path: str, _: object) -> None:
        raise LogError(f"{path}: {errno.errorcode[errno.ENOSPC]}")

    monkeypatch.setattr(log, "append", append)
    world.looks = [Look(held=(HERE, NO_USER), findings=(KEY,))]
    assert world.conclude() == [KEY]
    ((level, line),) = world.told
    assert (level, make.PKIDBUSER in line, "another key" in line, "ENOSPC" in line) == ("crit", True, True, True)
    world.verdicts = [Verdict("pki-tomcatd", allow=False, reasons=(KEY,))]
    with pytest.raises(CertwitnessError, match="ENOSPC"):
        world.conclude()
    assert holds.read(world.host.config, "pki-tomcatd")[0] is not None


def test_a_log_that_cannot_be_read(world: World) -> None:
    """Whether it landed cannot be told; the service is held."""
    world.looks = [Look(log_fails=True)]
    world.verdicts = [Verdict("pki-tomcatd", allow=False, reasons=(KEY,))]
    with pytest.raises(StoreError, match="no permission"):
        world.conclude()
    assert holds.read(world.host.config, "pki-tomcatd")[0] is not None


def test_not_tracked(world: World) -> None:
    """One line."""
    world.looks = [Look(tracked=make.tracked(make.AUDIT))]
    with pytest.raises(CertwitnessError, match="tracks no certificate subsystemCert"):
        world.conclude()


# --- the sentence

ASTRAY = {
    "outcome": "did not land",
    "stores": [
        {"store": "saved", "where": "/alias", "mark": "landed"},
        {"store": "users", "where": make.PKIDBUSER, "mark": "older"},
        {"store": "CS.cfg", "where": "/ca/CS.cfg: ca.subsystem.cert", "mark": "missing"},
        {"store": "served", "where": "ipa:443", "mark": "unknown"},
    ],
}


def test_it_names_certificate_stores_effect_and_next_step() -> None:
    """In one line: what is proven to fail comes before what is merely wrong; nobody is accused by what nobody saw."""
    findings = [replace(KEY, check="chain", level=ERROR, found="x").as_event(), KEY.as_event()]
    assert conclusion.sentence(make.SUBSYSTEM, {**ASTRAY, "findings": findings}) == (
        "subsystemCert cert-pki-ca: the renewed certificate did not land in users (uid=pkidbuser,ou=people,o=ipaca), "
        "CS.cfg (/ca/CS.cfg: ca.subsystem.cert); key: another key; pki-tomcatd will not start; "
        "next: certwitness verify 'subsystemCert cert-pki-ca'"
    )


@pytest.mark.parametrize(
    ("event", "words"),
    [
        pytest.param({**ASTRAY, "stores": []}, "did not land; next", id="proven by a finding alone"),
        pytest.param({"outcome": "landed", "findings": [KEY.as_event()]}, "landed; key: another key;", id="but"),
        pytest.param({"outcome": "landed"}, "landed everywhere it must be", id="well"),
    ],
)
def test_the_sentence_without_some_of_it(event: dict[str, Any], words: str) -> None:
    """Where there is no place or no finding to name."""
    assert f"the renewed certificate {words}" in conclusion.sentence(make.SUBSYSTEM, event)


def test_what_a_store_holds_does_not_fill_the_journal() -> None:
    """However much was found: the next step is in the line."""
    line = conclusion.sentence("x", {**ASTRAY, "findings": [replace(KEY, found="y" * 10_000).as_event()]})
    assert len(line) < 1000
    assert line.endswith("next: certwitness verify x")


@pytest.mark.parametrize(("level", "expected"), [(CRITICAL, "crit"), (ERROR, "err")])
def test_the_priority(world: World, level: str, expected: str) -> None:
    """By the worst finding."""
    world.looks = [Look(findings=(replace(KEY, level=level),))]
    world.conclude()
    assert [one for one, _ in world.told] == [expected]
    assert "landed; key: another key" in world.told[0][1]


# --- holds, and the CA


def test_a_hold_is_placed_and_ended(world: World) -> None:
    """Where it is proven that a service that reads the certificate does not start, and until that is over."""
    world.verdicts = [Verdict("pki-tomcatd", allow=False, reasons=(KEY,))]
    world.conclude()
    (placed,) = [event for event in world.events() if event["event"] == "hold.placed"]
    assert (placed["service"], placed["by"], placed["findings"][0]["check"]) == ("pki-tomcatd", "watch", "key")
    world.verdicts = [Verdict("pki-tomcatd", allow=True)]
    world.conclude()
    assert holds.read(world.host.config, "pki-tomcatd")[0] is None
    assert world.events()[-1]["event"] == "hold.released"


def test_only_what_reads_the_certificate_is_judged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """httpd does not read the subsystem certificate."""
    judged: list[str] = []

    def verdicts(_: object, services: list[gate.Service], *__: object) -> list[Verdict]:
        judged.extend(service.name for service in services)
        return []

    monkeypatch.setattr(judging, "verdicts", verdicts)
    world.conclude()
    assert "pki-tomcatd" in judged
    assert "httpd" not in judged


@pytest.mark.parametrize(
    ("nickname", "by", "other", "told"),
    [
        pytest.param(make.SUBSYSTEM, "watch", "MONITORING", True, id="Dogtag's"),
        pytest.param("", "watch", "MONITORING", False, id="another's"),
        pytest.param(make.SUBSYSTEM, "watch", "PRE_SAVE_CERT", False, id="the next save has stopped it"),
        pytest.param(make.SUBSYSTEM, "post-save", "NEED_TO_SAVE_CERT", True, id="the next save waits for ours"),
    ],
)
def test_a_ca_that_stayed_down(
    world: World, monkeypatch: pytest.MonkeyPatch, nickname: str, by: str, other: str, told: bool
) -> None:
    """FreeIPA's hooks stop it for the saves of Dogtag's certificates, and for no other's."""
    down = Finding("ca-running", CRITICAL, found="the CA does not answer", breaks="nothing is issued")

    def run(_: object, checks: Any, certificates: tuple[str, ...] = ()) -> list[verification.Result]:
        return [] if certificates else [make.result(down, certificate="") for _ in checks]

    monkeypatch.setattr(verification, "run", run)
    one = make.tracked(nickname, location=make.PKI_NSSDB if nickname else "/etc/x.pem")
    world.looks = [Look(tracked=one, others=(make.tracked(make.AUDIT, status=other),))]
    found = conclusion.conclude(world.host, one.name, by=by, limit_s=1, report=world._report, pause=world.pauses.append)
    assert [(finding.check, finding.certificate) for finding in found] == [("ca-running", one.name)] * told

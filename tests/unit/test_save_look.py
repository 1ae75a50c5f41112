# SPDX-License-Identifier: MIT
"""What a hook makes of what it sees: whose save it is, what explains it, and whether the command can do its part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certwitness import catalogue, save_look
from certwitness.errors import StoreError
from certwitness.events.renewals import Renewal
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, Finding
from certwitness.save import POST_SAVE, PRE_SAVE, Save
from certwitness.tracked import of_requests
from tests.unit import findings_factory as make
from tests.unit.test_checks_users import RA, SUBSYSTEM, Given, certificate, ldap, master, person

OLD, NEW = certificate(serial=12), certificate(serial=15, days=1)


def renewal(trace: str = "one", *, state: str = "issued", **fields: Any) -> Renewal:
    """A renewal of the subsystem certificate that issued NEW."""
    made = Renewal(trace * 8, "2026-11-23T20:00:00.000000Z")
    known = {
        "nickname": SUBSYSTEM.nickname,
        "key": NEW.spki_sha256,
        "ca": "dogtag-ipa-ca-renew-agent",
        "state": state,
        "new": NEW.as_event(),
        **fields,
    }
    for name, value in known.items():
        setattr(made, name, value)
    return made


def explained(*renewals: Renewal, keys: frozenset[str] = frozenset({NEW.spki_sha256})) -> tuple[str, str]:
    return save_look.issued_by(renewals, SUBSYSTEM, set(keys), NEW.sha256)


# --- the words of a hook


@pytest.mark.parametrize(
    ("arguments", "config", "name", "command"),
    [
        (["--cert", "N", "--", "c", "x"], None, "N", ["c", "x"]),
        (["--config", "/c", "--cert", "N", "c", "--", "x"], "/c", "N", ["c", "--", "x"]),
        (["--cert", "N", "--config", "/c", "--", "--cert"], "/c", "N", ["--cert"]),
        (["--cert", "--", "--", "c"], None, "--", ["c"]),
        (["c", "--cert", "N"], None, None, ["c", "--cert", "N"]),
        (["--", "c"], None, None, ["c"]),
        (["--cert", "N"], None, "N", []),
        (["--cert", "N", "--"], None, "N", []),
        (["--cert"], None, None, []),
        (["--cert", "\udcff é", "--", "c"], None, "\\xff é", ["c"]),
        ([], None, None, []),
    ],
)
def test_arguments(arguments: list[str], config: str | None, name: str | None, command: list[str]) -> None:
    """Options come first; everything behind them is the command's."""
    save = Save(PRE_SAVE, arguments)
    assert (save.config_path, save.certificate, save.command) == (config, name, command)


# --- which certificate


def test_an_ambiguous_nickname_means_the_one_that_waits_for_the_hook() -> None:
    """FreeIPA 4.4 has a Server-Cert in two databases; certmonger saves one at a time."""
    requests = [
        make.request(id="1", location="/etc/dirsrv/slapd-X", nickname="Server-Cert", status="MONITORING"),
        make.request(id="2", location="/etc/httpd/alias", nickname="Server-Cert", status="POST_SAVED_CERT"),
    ]
    tracked = of_requests(requests)

    def found(name: str, phase: str) -> str:
        one = save_look.find(tracked, name, phase)
        return one.location if one else ""

    assert found("Server-Cert", POST_SAVE) == "/etc/httpd/alias"
    assert found("Server-Cert", PRE_SAVE) == tracked[0].location
    assert found("Server-Cert in /etc/dirsrv/slapd-X", POST_SAVE) == "/etc/dirsrv/slapd-X"
    assert found("Another", POST_SAVE) == ""


# --- what explains the save


def test_the_newest_renewal_that_issued_it() -> None:
    """By name, key and certificate."""
    assert explained(renewal("old.", new=OLD.as_event()), renewal("new.")) == ("new." * 8, "")


def test_a_new_key() -> None:
    """A rekeyed renewal has the new certificate's key, whatever the old one's is."""
    assert explained(renewal(), keys=frozenset({OLD.spki_sha256, NEW.spki_sha256})) == ("one" * 8, "")
    assert explained(renewal(key="e" * 64), keys=frozenset()) == ("one" * 8, ""), "known by the certificate itself"


@pytest.mark.parametrize(
    ("renewals", "why"),
    [
        ((), "no run of a helper"),
        ((renewal(nickname="another"),), "no run of a helper"),
        ((renewal(key="e" * 64, new=OLD.as_event()),), "no run of a helper"),
        ((renewal(new=OLD.as_event()),), "issued serial 12"),
        ((renewal(), renewal("new.", new=OLD.as_event())), "issued serial 12"),
        ((renewal(state="rejected", new=None),), "issued nothing"),
    ],
)
def test_nothing_explains_it(renewals: tuple[Renewal, ...], why: str) -> None:
    """Another certificate's renewal, an older one, one that issued something else."""
    trace_id, reason = explained(*renewals)
    assert trace_id == ""
    assert why in reason


def test_the_ca_tells_requests_of_one_name_and_key_apart() -> None:
    """Where certmonger says which CA the request has."""
    ours = replace(SUBSYSTEM, request=make.request(nickname=SUBSYSTEM.nickname, ca="IPA"))
    other = renewal(new=OLD.as_event())
    assert "no run" in save_look.issued_by((other,), ours, {NEW.spki_sha256}, NEW.sha256)[1]


# --- what is this renewal's, and no fault

SAVING = replace(SUBSYSTEM, request=make.request(certificate=NEW))


@pytest.mark.parametrize(
    ("found", "ahead"),
    [
        ("serial 15, valid from 2026-11-24", True),
        ("serial 12: the CA has issued serial 15 since", True),
        ("serial 12 ends in 3 days", False),
        ("serial 150", False),
        ("trust u,u,u", False),
    ],
)
def test_the_stores_that_are_ahead(found: str, ahead: bool) -> None:
    """Before the save some stores have the new certificate already."""
    finding = Finding("x", ERROR, found=found)
    assert save_look.is_this_save(finding, SAVING, OLD.as_event()) is ahead
    assert not save_look.is_this_save(finding, SAVING, NEW.as_event()), "the same once more: all of it is old"


def test_the_certificate_that_is_replaced_ends_soon() -> None:
    """That is why it is renewed."""
    finding = Finding("expiry", CRITICAL, found="serial 12 ends in 3 days")
    assert save_look.is_this_save(finding, SAVING, OLD.as_event())
    assert not save_look.is_this_save(finding, SAVING, NEW.as_event()), "the same once more: it ends soon after, too"


def test_a_first_certificate() -> None:
    """There is none before it is saved; where nobody could look, that is told."""
    assert save_look.is_this_save(Finding("saved", CRITICAL, found="no certificate /x"), SAVING, None)
    assert not save_look.is_this_save(Finding("saved", UNKNOWN, found="no permission"), SAVING, None)
    assert not save_look.is_this_save(Finding("key", CRITICAL, found="cannot be read"), SAVING, None)


# --- can the command do its part


def ahead(evidence: Given, *, role: Any = SUBSYSTEM, program: str = "renew_ca_cert") -> list[Finding]:
    return list(save_look.update_ahead(evidence, role, program))


def test_the_search_finds_its_entries() -> None:
    """Nothing to say; nor on a server that leaves it to the renewal master."""
    assert ahead(Given({SUBSYSTEM: NEW}, ldap(OLD))) == []
    replica = ldap(OLD, people=(), masters=(master("replica.ipadomain.com", "CA", "caRenewalMaster"),))
    assert ahead(Given({SUBSYSTEM: NEW}, replica)) == []


@pytest.mark.parametrize(
    ("people", "found"),
    [
        ((), "no such entry"),
        ((person("pkidbuser", OLD, description=[]),), "no description"),
        ((person("pkidbuser", OLD, description=[f"2;12;{OLD.issuer};CN=Another"]),), "CN=Another"),
        # FreeIPA searches for the text: another spelling of the same names is not found.
        ((person("pkidbuser", OLD, description=[f"2;12;{OLD.issuer.replace(',', ', ')};{OLD.subject}"]),), "O=IPA"),
    ],
)
def test_the_search_that_will_find_nothing(people: tuple[Any, ...], found: str) -> None:
    """CRITICAL: FreeIPA's command takes it for success."""
    (finding,) = ahead(Given({SUBSYSTEM: NEW}, ldap(OLD, people=people)))
    assert (finding.check, finding.level) == ("store-update", CRITICAL)
    assert found in finding.found


def test_an_agent_without_a_kra() -> None:
    """ipakra is missed only where there is a KRA."""
    people = (person("ipara", OLD),)
    assert ahead(Given({RA: NEW}, ldap(OLD, people=people)), role=RA) == []
    (finding,) = ahead(Given({RA: NEW}, ldap(OLD, people=people, has_kra=True)), role=RA, program="renew_ra_cert")
    assert finding.where == "uid=ipakra"


@pytest.mark.parametrize(
    ("program", "stopped"), [("renew_ca_cert", "leaves pki-tomcatd stopped"), ("renew_ra_cert", "updates nothing")]
)
def test_ldap_does_not_answer(program: str, stopped: str) -> None:
    """The command will not reach it either, and end without an error."""
    (finding,) = ahead(Given({SUBSYSTEM: NEW}, StoreError("directory", "no answer in 10 s")), program=program)
    assert (finding.level, finding.found) == (ERROR, "no answer in 10 s")
    assert finding.breaks.endswith(stopped)


def test_the_programs_are_freeipas() -> None:
    """Every command that is skipped or looked ahead for is known as one."""
    assert set(save_look.RESTARTS) & set(save_look.UPDATES) == set()
    assert set(save_look.RESTARTS) < set(catalogue._BY_HOOK)

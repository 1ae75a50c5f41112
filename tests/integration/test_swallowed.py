# SPDX-License-Identifier: MIT
"""What FreeIPA's hooks swallow (reference: freeipa.md, 5.7): every row, told by our hooks, and by `certwitness watch`
what has left a mark in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from certwitness import config, holds
from tests.integration.conftest import Event
from tests.integration.witnessing import BY_HOOKS, BY_WATCH, Saves
from tests.lab.tracked import HTTP, KDC, LDAP, RA
from tests.lab.world import SUBSYSTEM, World

pytestmark = pytest.mark.lab

CA, AUDIT = "caSigningCert cert-pki-ca", "auditSigningCert cert-pki-ca"


# What is found where renew_ca_cert did nothing but stop the CA.
WITHOUT_UPDATE = {"cs-cfg", "user-certificate", "pkidbuser-bind", "ca-running"}


@dataclass(frozen=True)
class Row:
    """A failure that a hook of FreeIPA's keeps to itself: how it is made (`fault`, "name=value"), in the renewal of
    which certificate; the outcome in our words, and the checks that find something; the service that is held; which
    command it was, how that ended (None: killed), and what it told the journal."""

    certificate: str
    fault: str
    outcome: str
    checks: set[str] = field(default_factory=set)
    held: str = ""
    command: str = ""
    exit: int | None = 0
    journal: str = ""


ROWS = {
    "stop_pkicad: cannot stop": Row(
        SUBSYSTEM, "cannot-stop-pki", "landed", command="stop_pkicad", journal="Cannot stop pki_tomcatd: "
    ),
    "stop_pkicad: any exception": Row(
        SUBSYSTEM, "hook-dies-half-way=stop_pkicad", "landed", command="stop_pkicad", exit=None
    ),
    "renew_ca_cert: no certificate": Row(
        SUBSYSTEM, "certificate-missing", "did not land: CS.cfg, users", WITHOUT_UPDATE,
        "pki-tomcatd", "renew_ca_cert", 1, "No certificate subsystemCert cert-pki-ca found.",
    ),
    "renew_ca_cert: kinit": Row(
        SUBSYSTEM, "kinit-fails=renew_ca_cert", "did not land: CS.cfg, users",
        WITHOUT_UPDATE, "pki-tomcatd", "renew_ca_cert", 0, "Cannot contact any KDC",
    ),
    "renew_ca_cert: LDAP": Row(
        SUBSYSTEM, "ldap-down=renew_ca_cert", "did not land: CS.cfg, users",
        WITHOUT_UPDATE, "pki-tomcatd", "renew_ca_cert", 0, "Can't contact LDAP server",
    ),
    "renew_ca_cert: people": Row(
        SUBSYSTEM, "people-update-fails", "did not land: users", {"user-certificate", "pkidbuser-bind", "ca-running"},
        "pki-tomcatd", "renew_ca_cert", 0, "Updating entry uid=pkidbuser,ou=people,o=ipaca failed: ",
    ),
    "renew_ca_cert: authority": Row(
        CA, "authority-update-fails", "did not land: authority, CA store", {"ca-store"},
        command="renew_ca_cert", journal="Updating entry cn=",
    ),
    "renew_ca_cert: CS.cfg's backup": Row(
        SUBSYSTEM, "backup-cs-cfg-fails", "landed", command="renew_ca_cert", journal="Failed to backup CS.cfg: "
    ),
    "renew_ca_cert: trust": Row(
        AUDIT, "trust-update-fails", "landed", command="renew_ca_cert",
        journal=f"Updating trust on certificate {AUDIT} failed in ",
    ),
    "renew_ca_cert: CA store": Row(
        CA, "ca-store-update-fails", "did not land: CA store", {"ca-store"}, command="renew_ca_cert",
        journal="Updating CA certificate failed: ",
    ),
    "renew_ca_cert: cannot start": Row(
        SUBSYSTEM, "cannot-start-pki", "landed", {"ca-running"}, command="renew_ca_cert",
        journal="Cannot start pki_tomcatd: CA did not start in ",
    ),
    "renew_ra_cert_pre: any exception": Row(
        RA, "hook-dies-half-way=renew_ra_cert_pre", "landed", command="renew_ra_cert_pre", exit=None
    ),
    "renew_ra_cert: no certificate": Row(
        RA, "certificate-missing", "did not land: users", {"user-certificate"}, command="renew_ra_cert", exit=1,
        journal="Can't open ",
    ),
    "renew_ra_cert: kinit": Row(
        RA, "kinit-fails=renew_ra_cert", "did not land: users", {"user-certificate"}, command="renew_ra_cert",
        journal="Cannot contact any KDC",
    ),
    "renew_ra_cert: people": Row(
        RA, "people-update-fails", "did not land: users", {"user-certificate"}, command="renew_ra_cert",
        journal="Updating entry uid=ipara,ou=people,o=ipaca failed: ",
    ),
    "restart_httpd": Row(
        HTTP, "restart-httpd-fails", "did not land: served", {"served"}, command="restart_httpd",
        journal="Cannot restart httpd: ",
    ),
    "restart_dirsrv": Row(
        LDAP, "restart-dirsrv-fails", "did not land: served", {"served"}, command="restart_dirsrv",
        journal="Cannot restart dirsrv ",
    ),
    "renew_kdc_cert": Row(
        KDC, "restart-krb5kdc-fails", "landed", command="renew_kdc_cert", journal="cannot restart krb5kdc: "
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def saves() -> Iterator[Saves]:
    """One world for the module."""
    with World(full=True) as world:
        yield Saves(world)


@pytest.mark.parametrize("mode", [BY_HOOKS, BY_WATCH])
@pytest.mark.parametrize("what", ROWS)
def test_it_is_told(saves: Saves, what: str, mode: str) -> None:
    """The stores that miss it, the checks that say why, the service that must not be restarted, and by our hooks also
    how the command ended and what it told nobody but the journal."""
    row, world = ROWS[what], saves.world
    fault, _, value = row.fault.partition("=")
    with saves.by(mode):
        world.faults.on(fault, value)
        assert saves.outcome(row.certificate) == row.outcome
        events = saves.events()
        told = [event for event in events if event["event"] == "verified"][-1]
        assert {finding["check"] for finding in told.get("findings", ())} == row.checks
        assert told["level"] == ("info" if row.outcome == "landed" and not row.checks else told["level"])
        held = holds.every(config.load(str(world.certwitness_config)), ("pki-tomcatd", "httpd", "dirsrv", "krb5kdc"))
        assert [(hold.service, hold.by) for hold in held[0]] == ([(row.held, told["by"])] if row.held else [])
        if mode == BY_HOOKS:
            assert_told_by_the_hook(row, events, told)
        elif row.journal:
            said = saves.wait_for(lambda event: "hook-said" in checks_of(event))
            assert row.journal in said["findings"][0]["found"]
            assert said["trace_id"] == told["trace_id"]


def checks_of(event: Event) -> list[str]:
    """The checks of an event's findings."""
    return [finding["check"] for finding in event.get("findings", ())]


def assert_told_by_the_hook(row: Row, events: list[Event], told: Event) -> None:
    """How the command ended, and what it told the journal, is in the trace, at a level that somebody looks at."""
    (ended,) = [
        event
        for event in events
        if event["event"] == "hook.ended" and event["command"][0].rpartition("/")[2] == row.command
    ]
    assert ended["trace_id"] == told["trace_id"]
    assert ended["exit"]["code"] == row.exit
    assert row.exit is not None or ended["exit"]["signal"] == 9
    assert any(row.journal in line for line in ended["journal"]) or not row.journal
    assert ended["level"] in ("warning", "error", "critical")
    assert ("hook-said" in checks_of(ended)) == bool(row.journal)

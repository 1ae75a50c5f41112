# SPDX-License-Identifier: MIT
"""The checks of what is saved, of the CA's stores, of Dogtag and the services, and of certmonger's requests: each is
seen to accuse in a world that is broken so, and to be content after its own commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from certwitness.certificates import Certificate
from certwitness.checks import BY_NAME, authority, pki, requests, saved
from certwitness.findings import CRITICAL, ERROR, PENDING, WARNING, Finding
from tests.integration.broken import accusing, commands, examine, findings, heal, levels, unknown
from tests.lab.breaks import BREAKS
from tests.lab.breaks.landing import dirsrv_nss, held, land, ldapi, renewed
from tests.lab.ca import TestCA, certificate_pem, key_of, subject
from tests.lab.freeipa.lock import FORMAT
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.freeipa.updates import CA_STORE_ENTRY
from tests.lab.settings import HOST
from tests.lab.tracked import HTTP, KDC, LDAP, LIGHTWEIGHT, PKI_SERVER, RA, RENEW_AGENT
from tests.lab.world import SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

OCSP = "ocspSigningCert cert-pki-ca"
AUDIT = "auditSigningCert cert-pki-ca"
TRANSPORT = "transportCert cert-pki-kra"
STORAGE = "storageCert cert-pki-kra"
BIND = ("pkidbuser-bind", SUBSYSTEM, CRITICAL)
CHECKS = (*saved.CHECKS, *authority.CHECKS, *pki.CHECKS, *requests.CHECKS)
DAY = timedelta(days=1)
Expected = set[tuple[str, str, str]]

# What stands in for files' names, which are the world's: RA, HTTP and KDC.
EXPECTED: dict[str, Expected] = {
    "pki-wrong-pin": {("pin", "", CRITICAL)},
    "chain-foreign": {("chain", STORAGE, CRITICAL)},
    "store-missing": {("saved", KDC, CRITICAL)},
    "store-not-pem": {("saved", KDC, CRITICAL)},
    "nss-certificate-missing": {("saved", LDAP, CRITICAL)},
    "issued-not-saved": {("saved", OCSP, ERROR)},
    "cs-cfg-old": {("cs-cfg", OCSP, ERROR)},
    "cs-cfg-missing-directive": {("cs-cfg", OCSP, ERROR)},
    "connector-old": {("cs-cfg", TRANSPORT, ERROR)},
    "kra-cs-cfg-old": {("cs-cfg", STORAGE, WARNING)},
    "ra-key-mode": {("file-mode", RA, ERROR)},
    "authority-serial-old": {("authority-serial", CA_NICKNAME, WARNING)},
    "lightweight-authority-serial-old": {("authority-serial", LIGHTWEIGHT, ERROR)},
    "ca-store-old": {("ca-store", CA_NICKNAME, ERROR)},
    "legacy-ca-old": {("ca-store", CA_NICKNAME, ERROR)},
    "ca-crt-old": {("ca-store", CA_NICKNAME, ERROR)},
    "nss-ca-old": {("ca-store", CA_NICKNAME, ERROR)},
    "nss-ca-missing": {("ca-store", CA_NICKNAME, CRITICAL), BIND},
    "trust-audit-lost": {("trust-flags", AUDIT, ERROR)},
    "certmonger-old-view": {("certmonger-view", OCSP, WARNING)},
    "request-on-reuse": {("request-ca", CA_NICKNAME, ERROR)},
    "ca-definition-missing": {("ca-definition", "", ERROR)},
    "tracking-missing": {("tracking", "", CRITICAL)},
    "ca-error-monitoring": {("request-state", OCSP, WARNING)},
    "stale-lock": {("renewal-lock", "", ERROR)},
    "pki-stopped": {("ca-running", "", CRITICAL)},
    "https-old-in-memory": {("served", HTTP, ERROR)},
    "pki-old-in-memory": {("served", PKI_SERVER, ERROR)},
    "ldaps-old-in-memory": {("served", LDAP, ERROR)},
    "ajp-secret-differs": {("ajp-secret", "", CRITICAL)},
    "not-in-repository": {("repository", OCSP, ERROR)},
    "basic-auth": {("internal-database", "", CRITICAL)},
}
# What else cannot be looked at in some of them.
UNKNOWN = {
    "trust-ca-lost": {("pkidbuser-bind", SUBSYSTEM)},
    "wrong-pin": {("key", LDAP)},
}
BLINDING: dict[str, Expected] = {
    "trust-ca-lost": {("trust-flags", CA_NICKNAME, CRITICAL)},
    "wrong-pin": {("pin", "", CRITICAL)},
}
# Healed by a renewal, after which FreeIPA leaves the KRA's CS.cfg as it was.
AFTERMATH = {"chain-foreign": {("cs-cfg", STORAGE, WARNING)}}
# Only a backup, another server or the IPA API (which a world does not have) can mend these.
NOT_HERE: dict[str, Expected] = {
    "nss-key-missing": {("key", OCSP, CRITICAL)},
    "pem-key-mismatch": {("key", KDC, CRITICAL)},
    "ra-key-mismatch": {("key", RA, CRITICAL)},
    "expired": {("expiry", KDC, CRITICAL), ("auto-renew", KDC, ERROR)},
    "soon-expired": {("expiry", KDC, ERROR), ("auto-renew", KDC, ERROR)},
    "not-yet-valid": {("expiry", KDC, CRITICAL), ("auto-renew", KDC, ERROR)},
}
COMBINED = [
    ("cs-cfg-old", "connector-old", "basic-auth"),
    ("ca-store-old", "trust-audit-lost"),
    ("pki-stopped", "stale-lock", "tracking-missing"),
    ("https-old-in-memory", "ajp-secret-differs", "request-on-reuse"),
    ("ra-key-mode", "store-missing", "pki-wrong-pin"),
]


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """One full world for the module."""
    with World(full=True) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The module's world, healthy."""
    yield shared_world
    shared_world.reset()


def expected(world: World, found: Expected) -> Expected:
    """With the names that files have in this world."""
    settings = world.settings
    files = {RA: settings.ra_certificate, HTTP: settings.httpd_certificate, KDC: settings.kdc_certificate}
    return {(check, str(files.get(name, name)), level) for check, name, level in found}


def only(world: World, check: str, *, now: datetime | None = None) -> Finding:
    """The one finding of a check."""
    found = findings(examine(world, checks=[BY_NAME[check]], now=now))
    assert len(found) == 1, found
    return found[0]


def nothing(world: World, check: str) -> bool:
    """Whether a check is content."""
    return not findings(examine(world, checks=[BY_NAME[check]]))


def wait_for(world: World, name: str, status: str) -> None:
    """Until certmonger's request is there."""
    world.certmonger.wait_for(request_id(name), lambda request: request["status"] == status)


# --- every break, alone and with others


def test_a_healthy_world_gives_nothing(world: World) -> None:
    """No finding at all, not even one that somebody could not look."""
    assert findings(examine(world)) == []


@pytest.mark.parametrize("name", [*EXPECTED, *BLINDING])
def test_a_break_gives_its_findings_and_their_commands_heal_it(world: World, name: str) -> None:
    """Exactly the expected findings; after their commands, none, or what FreeIPA itself leaves undone."""
    BREAKS[name].apply(world)
    results = examine(world)
    assert levels(results) == expected(world, {**EXPECTED, **BLINDING}[name])
    assert unknown(results) == UNKNOWN.get(name, set())
    accused = findings(results, CRITICAL, ERROR, WARNING)
    assert all(one.where and one.expected and one.found and one.breaks and one.remedy for one in accused)
    heal(world, results)
    healed = examine(world)
    assert levels(healed) == expected(world, AFTERMATH.get(name, set()))
    heal(world, healed)
    assert findings(examine(world)) == []


@pytest.mark.parametrize("name", NOT_HERE)
def test_a_break_that_a_world_cannot_heal_gives_its_findings(world: World, name: str) -> None:
    """Exactly the expected findings, each with a remedy."""
    BREAKS[name].apply(world)
    results = examine(world)
    assert levels(results) == expected(world, NOT_HERE[name])
    assert unknown(results) == set()
    assert all(one.remedy and one.breaks for one in findings(results))


@pytest.mark.parametrize("names", COMBINED, ids="+".join)
def test_breaks_together_give_all_their_findings(world: World, names: tuple[str, ...]) -> None:
    """Nothing hides anything else, and all commands together heal."""
    for name in names:
        BREAKS[name].apply(world)
    results = examine(world)
    assert levels(results) == expected(world, set().union(*(EXPECTED[name] for name in names)))
    heal(world, results)
    assert findings(examine(world)) == []


# --- while certmonger is between steps, and where it cannot be asked


def test_between_save_and_post_save_nothing_is_accused(world: World) -> None:
    """While the post-save hook sleeps the differences are PENDING; when it has done its work there are none."""
    hook = shlex.quote(str(world.settings.hooks / "renew_ca_cert"))
    slow = f"/bin/sh -c 'sleep 4; exec {hook} \"{OCSP}\"'"
    world.certmonger.getcert("resubmit", "-i", request_id(OCSP), "-C", slow)
    wait_for(world, OCSP, "POST_SAVED_CERT")
    results = examine(world)
    assert accusing(results) == set()
    pending = {one.check for one in findings(results, PENDING)}
    assert {"ca-running", "cs-cfg"} <= pending
    assert all("POST_SAVED_CERT" in one.breaks for one in findings(results, PENDING))
    wait_for(world, OCSP, "MONITORING")
    assert findings(examine(world)) == []


def test_without_certmonger_the_stores_are_still_checked(world: World) -> None:
    """certmonger is down: what needs it is UNKNOWN, and the NSS database at its usual place is looked at."""
    BREAKS["trust-audit-lost"].apply(world)
    BREAKS["cs-cfg-missing-directive"].apply(world)
    world.certmonger.stop()
    results = examine(world)
    assert levels(results) == {("trust-flags", AUDIT, ERROR), ("cs-cfg", OCSP, ERROR)}
    assert {check for check, _ in unknown(results)} == {"ca-definition", "tracking"}


def test_a_damaged_nss_database_is_unknown(world: World) -> None:
    """Nobody is accused of what cannot be read."""
    (world.settings.nss_directory / "cert9.db").write_bytes(b"no database")
    results = examine(world, checks=CHECKS)
    assert accusing(results) == set()
    assert {("saved", OCSP), ("key", SUBSYSTEM), ("expiry", AUDIT)} <= unknown(results)
    assert ("expiry", str(world.settings.ra_certificate)) not in unknown(results)


def test_without_the_directory_the_rest_is_checked(world: World) -> None:
    """389-ds is down: its own service and the entries are UNKNOWN, files and NSS databases are judged."""
    assert world.directory_server is not None
    BREAKS["ca-crt-old"].apply(world)
    world.directory_server.kill()
    results = examine(world, checks=CHECKS)
    assert levels(results) == set()  # which of the copies is old cannot be told: LDAP comes first
    assert {("repository", OCSP), ("ca-store", CA_NICKNAME), ("served", LDAP)} <= unknown(results)
    assert not [name for name in unknown(results) if name[0] in ("key", "expiry", "chain", "trust-flags", "tracking")]


# --- saved


@pytest.mark.parametrize(("days", "level"), [(-1, CRITICAL), (2, ERROR), (20, WARNING), (40, "")])
def test_the_level_of_an_expiry_goes_by_what_is_left(world: World, days: int, level: str) -> None:
    """Expired is CRITICAL, under seven days ERROR, under certmonger's 28 days WARNING."""
    ends = held(world, OCSP).not_valid_after_utc
    results = examine(world, checks=[BY_NAME["expiry"]], certificates=[OCSP], now=ends - days * DAY)
    assert [one.level for one in findings(results)] == ([level] if level else [])


def test_a_renewal_that_is_refused_makes_an_early_end_an_error(world: World) -> None:
    """With 20 days left and a ca-error both the end and the refusal are ERRORs."""
    BREAKS["ca-error-monitoring"].apply(world)
    ends = held(world, OCSP).not_valid_after_utc
    results = examine(world, certificates=[OCSP], now=ends - 20 * DAY)
    assert levels(results) == {("expiry", OCSP, ERROR), ("request-state", OCSP, ERROR)}


def test_the_self_signed_certificate_of_a_kdc_without_pkinit_is_no_fault(world: World) -> None:
    """Its issuer is itself, of which nobody knows a CA."""
    path = world.settings.kdc_certificate
    stranger = TestCA(first_serial=7)
    stranger.name, stranger.key = subject(HOST), key_of(KDC)
    path.write_text(certificate_pem(stranger.issue(subject(HOST), key_of(KDC).public_key())))
    assert nothing(world, "chain")


@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        ("httpd_key", 0o640, WARNING),
        ("kdc_key", 0o604, ERROR),
        ("ra_certificate", 0o662, ERROR),
        ("kdc_key", 0o400, ""),
    ],
)
def test_modes_of_files_are_compared_with_freeipas(world: World, name: str, mode: int, level: str) -> None:
    """More than FreeIPA permits is a risk, what anybody can read or write an error, stricter is fine."""
    path = getattr(world.settings, name)
    path.chmod(mode)
    found = findings(examine(world, checks=[BY_NAME["file-mode"]]))
    assert [(one.level, one.where) for one in found] == ([(level, str(path))] if level else [])
    if level:
        heal(world, examine(world))
        assert nothing(world, "file-mode")


def test_an_expected_certificate_that_is_not_saved(world: World) -> None:
    """With --expect every store is compared with that one."""
    wanted = renewed(world, OCSP)
    expect = Certificate.from_pem(certificate_pem(wanted).encode())
    results = examine(world, checks=CHECKS, certificates=[OCSP], expect=expect)
    assert levels(results) == {("saved", OCSP, ERROR), ("cs-cfg", OCSP, ERROR)}


def test_a_missing_pin_file_is_told_once(world: World) -> None:
    """httpd cannot open its key without it."""
    world.settings.httpd_pin_file.unlink()
    found = only(world, "key")
    assert found.level == CRITICAL
    assert str(world.settings.httpd_pin_file) in found.found


def test_a_wrong_pin_of_an_encrypted_key(world: World) -> None:
    """The key of httpd does not open with what is in its PIN file."""
    world.settings.httpd_pin_file.write_text("Wrong.123")
    assert (only(world, "key").level, only(world, "key").found) == (CRITICAL, "wrong PIN")


def test_no_pin_is_in_any_finding(world: World) -> None:
    """Neither in words nor in commands."""
    for name in ("wrong-pin", "pki-wrong-pin", "trust-audit-lost", "ajp-secret-differs"):
        BREAKS[name].apply(world)
    results = examine(world)
    text = repr(findings(results)) + "".join(commands(results))
    secrets = [world.nss.pin, "Wrong.123", "3vJ9mTq0pXw7", "q8Xk2nLw5tRz"]
    assert not [secret for secret in secrets if secret in text]


# --- the CA's stores


def test_a_ca_store_without_the_entry_gets_a_whole_one(world: World) -> None:
    """The entry is made anew as FreeIPA has it."""
    ldapi(world).delete(CA_STORE_ENTRY)
    results = examine(world)
    assert levels(results) == {("ca-store", CA_NICKNAME, ERROR)}
    heal(world, results)
    assert findings(examine(world)) == []
    assert ldapi(world).search(CA_STORE_ENTRY)[CA_STORE_ENTRY]["ipacertsubject"]


def test_a_ca_crt_without_the_ca_fails_renewals(world: World) -> None:
    """No CA certificate of this key in /etc/ipa/ca.crt: CRITICAL."""
    world.settings.ca_certificate.write_text(certificate_pem(held(world, KDC)))
    assert only(world, "ca-store").level == CRITICAL


def test_389_ds_must_trust_the_ca_for_clients(world: World) -> None:
    """Without T in the first field it refuses pki-tomcatd's certificate; the command sets the flags."""
    dirsrv_nss(world).set_trust("IPADOMAIN.COM IPA CA", "C,,")
    found = only(world, "ca-store")
    assert (found.level, found.where) == (CRITICAL, str(world.settings.dirsrv_configuration))
    heal(world, examine(world, checks=[BY_NAME["ca-store"]]))
    assert nothing(world, "ca-store")


# --- Dogtag and services


def test_cs_cfg_with_crlf_and_a_directive_twice(world: World) -> None:
    """Java keeps the last of two lines; the command mends all, and leaves every other line as it is."""
    path = world.settings.cs_cfg
    before = path.read_text()
    old = next(line for line in before.splitlines() if line.startswith("ca.ocsp_signing.cert="))
    land(world, OCSP, renewed(world, OCSP))
    new = path.read_text()
    path.write_bytes((new + old).replace("\n", "\r\n").encode())
    results = examine(world)
    assert levels(results) == {("cs-cfg", OCSP, ERROR)}
    heal(world, results)
    assert findings(examine(world)) == []
    assert sorted(set(path.read_text().split())) == sorted(set(new.split()))


def test_a_directive_is_added_after_a_last_line_without_an_end(world: World) -> None:
    """Nothing is glued to it."""
    path = world.settings.cs_cfg
    before = path.read_text().splitlines()
    BREAKS["cs-cfg-missing-directive"].apply(world)
    path.write_text(path.read_text().rstrip("\n"))
    heal(world, examine(world))
    assert findings(examine(world)) == []
    assert sorted(path.read_text().splitlines()) == sorted(before)


def test_another_nickname_for_the_internal_database(world: World) -> None:
    """Dogtag would look for a certificate that is not there; a token in front is fine."""
    path = world.settings.cs_cfg
    text = "\n".join(line for line in path.read_text().splitlines() if "clientCertNickname" not in line)
    path.write_text(f"{text}\ninternaldb.ldapauth.clientCertNickname=internal:{SUBSYSTEM}\n")
    assert nothing(world, "internal-database")
    path.write_text(f"{text}\ninternaldb.ldapauth.clientCertNickname=Server-Cert cert-pki-ca\n")
    assert only(world, "internal-database").level == CRITICAL
    heal(world, examine(world))
    assert findings(examine(world)) == []


def test_basic_auth_with_its_password_still_works(world: World) -> None:
    """As long as password.conf has internaldb= nothing is proved: ERROR."""
    BREAKS["basic-auth"].apply(world)
    with open(world.settings.password_conf, "a", encoding="utf-8") as file:
        file.write("internaldb=temporary\n")
    assert only(world, "internal-database").level == ERROR


def test_a_service_that_is_down_shows_nothing(world: World) -> None:
    """UNKNOWN, except for the CA, whose absence is a finding of its own."""
    world.httpd.stop()
    world.pki.stop()
    results = examine(world, checks=pki.CHECKS)
    assert levels(results) == {("ca-running", "", CRITICAL)}
    assert unknown(results) == {("served", str(world.settings.httpd_certificate))}


def test_an_expired_certificate_in_memory_is_critical(world: World) -> None:
    """Clients see it, however fresh the one on disk is."""
    BREAKS["https-old-in-memory"].apply(world)
    ends = held(world, KDC).not_valid_after_utc
    assert only(world, "served", now=ends + DAY).level == CRITICAL


# --- certmonger


def test_states_in_which_a_request_is_parked(world: World) -> None:
    """An answer that certmonger cannot use parks the request in NEED_GUIDANCE for ever."""
    helper = world.certmonger.helper_of(RENEW_AGENT)
    script = Path(world.settings.directory, "exit-9")
    script.write_text(f'#!/bin/sh\n[ "$CERTMONGER_OPERATION" = SUBMIT ] && exit 9\nexec {helper}\n')
    script.chmod(0o755)
    world.register(RENEW_AGENT, str(script))
    world.certmonger.getcert("resubmit", "-i", request_id(OCSP))
    wait_for(world, OCSP, "NEED_GUIDANCE")
    found = only(world, "request-state")
    assert (found.level, found.certificate) == (CRITICAL, OCSP)
    world.register(RENEW_AGENT, helper)
    heal(world, examine(world, checks=[BY_NAME["request-state"]]))
    assert nothing(world, "request-state")


def test_an_unreachable_ca_is_tried_again(world: World) -> None:
    """WARNING with two years left, ERROR in the last four weeks; the CA that is down has its own finding."""
    BREAKS["pki-stopped"].apply(world)
    with world.faults.active("dogtag-down"):
        world.certmonger.getcert("resubmit", "-i", request_id(OCSP))
        wait_for(world, OCSP, "CA_UNREACHABLE")
    assert only(world, "request-state").level == WARNING
    ends = held(world, OCSP).not_valid_after_utc
    assert only(world, "request-state", now=ends - 20 * DAY).level == ERROR


def test_a_key_that_certmonger_cannot_open(world: World) -> None:
    """The wrong PIN and the request that is parked because of it are two findings."""
    BREAKS["wrong-pin"].apply(world)
    world.certmonger.getcert("resubmit", "-i", request_id(LDAP))
    world.certmonger.wait_for(request_id(LDAP), lambda request: "PIN" in request["status"])
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("pin", "", CRITICAL), ("request-state", LDAP, CRITICAL)}


def test_a_ca_that_requests_need(world: World) -> None:
    """Without it a renewal ends in NEED_CA; defined again, as its sisters are, all requests have it back."""
    world.certmonger.getcert("remove-ca", "-c", RENEW_AGENT)
    world.certmonger.getcert("resubmit", "-i", request_id(OCSP))
    wait_for(world, OCSP, "NEED_CA")
    results = examine(world)
    assert levels(results) == {("ca-definition", "", CRITICAL)}
    heal(world, results)
    wait_for(world, OCSP, "MONITORING")
    assert findings(examine(world)) == []


@pytest.mark.parametrize("name", [RA, HTTP, LDAP, PKI_SERVER, LIGHTWEIGHT])
def test_each_of_freeipas_certificates_must_be_tracked(world: World, name: str) -> None:
    """Dogtag's, the RA's, httpd's and 389-ds's."""
    world.certmonger.getcert("stop-tracking", "-i", request_id(name))
    found = only(world, "tracking")
    assert found.level == (ERROR if name == LIGHTWEIGHT else CRITICAL)
    assert (
        str({RA: world.settings.ra_certificate, HTTP: world.settings.httpd_certificate}.get(name, name))
        in found.expected
    )


def test_what_another_ca_issued_for_httpd_need_not_be_tracked(world: World) -> None:
    """FreeIPA does not track it either."""
    stranger = TestCA(first_serial=7)
    stranger.name = subject("Another CA")
    certificate = stranger.issue(subject(HOST), key_of(HTTP).public_key())
    world.certmonger.getcert("stop-tracking", "-i", request_id(HTTP))
    world.settings.httpd_certificate.write_text(certificate_pem(certificate))
    assert nothing(world, "tracking")


def test_a_store_behind_certmongers_view_is_an_error(world: World) -> None:
    """Restored from a backup: certmonger would renew too late."""
    before = held(world, OCSP)
    later = world.issue(OCSP, 800 * DAY)
    land(world, OCSP, later)
    land(world, OCSP, before, but=("certmonger", "people", "ca_renewal", "cs_cfg", "restart"))
    found = only(world, "certmonger-view")
    assert found.level == ERROR
    heal(world, examine(world, checks=[BY_NAME["certmonger-view"]]))
    assert nothing(world, "certmonger-view")


@pytest.mark.parametrize(
    ("owner", "minutes", "level"),
    [
        ("renew_ca_cert", 30, ERROR),
        ("renew_ca_cert", -30, WARNING),
        ("ipa-server-guard[4194304]", -30, WARNING),
        ("ipa-server-guard[1]", 30, ""),
        ("ipa-server-guard[1]", -30, ""),
    ],
)
def test_the_renewal_lock(world: World, owner: str, minutes: int, level: str) -> None:
    """A lock across a save that nobody does, one past its hour, and one of a process that runs."""
    until = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    text = f"[lock]\nlocked = 1\nowner = {owner}\nexpire = {until.strftime(FORMAT)}\n\n"
    world.settings.renewal_lock.write_text(text)
    found = findings(examine(world, checks=[BY_NAME["renewal-lock"]]))
    assert [one.level for one in found] == ([level] if level else [])
    if level:
        heal(world, examine(world))
        assert nothing(world, "renewal-lock")

# SPDX-License-Identifier: MIT
"""The checks of Dogtag's users, of the way from a certificate to its user, and of cn=ca_renewal: each is seen to accuse
in a world that is broken so, and to be content after its own commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from certwitness import config, host, verification
from certwitness.certificates import Certificate
from certwitness.checks import BY_NAME, renewal, users
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, PENDING, WARNING, Finding
from certwitness.stores import directory, external_bind
from certwitness.tracked import SUBSYSTEM as SUBSYSTEM_ROLE
from tests.integration.broken import accusing, commands, examine, findings, heal, levels, unknown
from tests.lab import entries
from tests.lab.breaks import BREAKS
from tests.lab.breaks.landing import held, land, ldapi, renewed
from tests.lab.ca import certificate_der, certificate_pem, key_of, key_pem
from tests.lab.entries import ca_renewal_dn, person_dn
from tests.lab.tracked import RA
from tests.lab.world import SUBSYSTEM, World

pytestmark = pytest.mark.lab

OCSP = "ocspSigningCert cert-pki-ca"
PKIDBUSER = person_dn("pkidbuser")
CHECKS = (*users.CHECKS, *renewal.CHECKS)
NO_BIND = ("pkidbuser-bind", SUBSYSTEM, CRITICAL)
Expected = set[tuple[str, str, str]]

# "RA" stands for the name of the RA's certificate, its file, which is the world's.
EXPECTED: dict[str, Expected] = {
    "pkidbuser-old-certificate": {("user-certificate", SUBSYSTEM, CRITICAL), NO_BIND},
    "subsystem-users-old-certificate": {("user-certificate", SUBSYSTEM, CRITICAL), NO_BIND},
    "pkidbuser-old-description": {("user-description", SUBSYSTEM, ERROR)},
    "pkidbuser-no-seealso": {("pkidbuser-seealso", SUBSYSTEM, CRITICAL), NO_BIND},
    "pkidbuser-wrong-seealso": {("pkidbuser-seealso", SUBSYSTEM, CRITICAL), NO_BIND},
    "pkidbuser-second-seealso": {("pkidbuser-seealso", SUBSYSTEM, ERROR), NO_BIND},
    "pkidbuser-binary-beside": {("user-binary", SUBSYSTEM, CRITICAL), NO_BIND},
    "pkidbuser-binary-only": {("user-binary", SUBSYSTEM, ERROR)},
    "ipara-binary-only": {("user-binary", "RA", CRITICAL)},
    "ca-renewal-binary": {("ca-renewal-binary", SUBSYSTEM, ERROR)},
    "ca-renewal-older": {("ca-renewal", SUBSYSTEM, ERROR)},
    "ca-renewal-newer": {("ca-renewal", SUBSYSTEM, CRITICAL)},
    "replica-older": {("ca-renewal", SUBSYSTEM, WARNING)},
    "ipaca-not-replicated": {("user-certificate", SUBSYSTEM, CRITICAL), ("repository", SUBSYSTEM, ERROR), NO_BIND},
    "ra-old-at-ipara": {("user-certificate", "RA", CRITICAL)},
    "ra-old-at-ipakra": {("user-certificate", "RA", ERROR)},
    "ipara-old-description": {("user-description", "RA", CRITICAL)},
    "no-renewal-master": {("renewal-master", "", CRITICAL)},
    "two-renewal-masters": {("renewal-master", "", ERROR)},
    "master-without-kra": {("renewal-master", "", CRITICAL)},
    "wrong-subject-base": {("subject-base", "", ERROR)},
    "certmap-wrong-issuer": {("certmap", "", CRITICAL), NO_BIND},
}
COMBINED = [
    ("pkidbuser-old-certificate", "pkidbuser-no-seealso"),
    ("pkidbuser-binary-beside", "pkidbuser-second-seealso"),
    ("ra-old-at-ipara", "ca-renewal-older"),
    ("certmap-wrong-issuer", "pkidbuser-old-certificate"),
    ("no-renewal-master", "wrong-subject-base"),
    ("ipara-binary-only", "pkidbuser-old-description"),
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


def expected(world: World, *names: str) -> Expected:
    """What breaks must give together."""
    ra = str(world.settings.ra_certificate)
    every = set().union(*(EXPECTED[name] for name in names))
    return {(check, ra if name == "RA" else name, level) for check, name, level in every}


def only(world: World, check: str, certificate: str = SUBSYSTEM) -> Finding:
    """The one finding of a check."""
    found = [one for one in findings(examine(world, checks=[BY_NAME[check]])) if one.certificate == certificate]
    assert len(found) == 1, found
    return found[0]


def change(world: World, dn: str, *changes: tuple[str, str, list[str | bytes]]) -> None:
    """Modify an entry."""
    ldapi(world).modify(dn, *changes)


def wrong(world: World) -> Expected:
    """What the checks of this module accuse."""
    return levels(examine(world, checks=CHECKS))


def der(world: World, name: str = SUBSYSTEM) -> bytes:
    """The saved certificate."""
    return certificate_der(held(world, name))


# --- every break, alone and with others


def test_a_healthy_world_gives_nothing(world: World) -> None:
    """No finding at all, not even one that somebody could not look."""
    assert findings(examine(world)) == []


@pytest.mark.parametrize("name", EXPECTED)
def test_a_break_gives_its_findings_and_their_commands_heal_it(world: World, name: str) -> None:
    """Exactly the expected findings; after their commands, none."""
    BREAKS[name].apply(world)
    results = examine(world)
    assert levels(results) == expected(world, name)
    assert unknown(results) == set()
    assert all(one.where and one.expected and one.found and one.breaks and one.remedy for one in findings(results))
    if name == "ipaca-not-replicated":
        results = [one for one in results if one.check.name != "repository"]  # replication alone heals the repository
    heal(world, results)
    healed = examine(world, checks=CHECKS)
    assert (levels(healed), unknown(healed)) == (set(), set())


@pytest.mark.parametrize("names", COMBINED, ids=" and ".join)
def test_two_breaks_give_the_findings_of_both(world: World, names: tuple[str, str]) -> None:
    """None hides another one, and all commands together heal the world."""
    for name in names:
        BREAKS[name].apply(world)
    results = examine(world)
    assert levels(results) == expected(world, *names)
    heal(world, results)
    assert findings(examine(world)) == []


# --- the seed's own case


def test_the_seeds_case_is_told_as_such(world: World, tmp_path: Path) -> None:
    """subsystemCert was renewed, pkidbuser has the old one with the old serial, ldapwhoami gets 49: two findings say
    so, and after the one modification that they propose ldapwhoami is pkidbuser."""
    old = held(world, SUBSYSTEM)
    assert whoami(world, tmp_path) == (0, f"dn: {PKIDBUSER}")
    BREAKS["pkidbuser-old-certificate"].apply(world)
    new = held(world, SUBSYSTEM)
    code, words = whoami(world, tmp_path)
    assert (code, "Invalid credentials (49)" in words) == (49, True)

    results = examine(world)
    assert accusing(results) == {("user-certificate", SUBSYSTEM), ("pkidbuser-bind", SUBSYSTEM)}
    cause, bind = findings(results)
    assert cause.where == PKIDBUSER
    assert f"serial {new.serial_number}" in cause.expected
    assert cause.found.startswith(f"serial {old.serial_number}, ")
    assert cause.found.endswith(f"; description has the serial {old.serial_number}")
    assert cause.breaks == "pki-tomcatd will not start: 389-ds maps its certificate to nobody (error 49)"
    assert cause.remedy.startswith("Add the certificate")
    assert cause.since == new.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert bind.found == (
        f"389-ds answers 49 (invalid credentials) and takes the certificate for nobody; seeAlso leads to {PKIDBUSER}"
    )
    assert len(commands(results)) == 1
    assert f"replace: description\ndescription: {entries.description_of(new)}\n" in commands(results)[0]

    heal(world, results)
    assert whoami(world, tmp_path) == (0, f"dn: {PKIDBUSER}")
    assert world.people_certificates("pkidbuser") == [old, new]  # other servers may still use the old one
    assert findings(examine(world)) == []


def whoami(world: World, directory: Path) -> tuple[int, str]:
    """ldapwhoami with the saved subsystemCert and its key: exit status, which is LDAP's result code, and words."""
    assert world.directory_server is not None
    files = {"CERT": certificate_pem(held(world, SUBSYSTEM)), "KEY": key_pem(key_of(SUBSYSTEM)).decode()}
    environment = {**os.environ, "LDAPTLS_CACERT": str(world.settings.ca_certificate), "LDAPTLS_REQCERT": "demand"}
    for name, text in files.items():
        (directory / name).write_text(text)
        environment[f"LDAPTLS_{name}"] = str(directory / name)
    done = subprocess.run(
        ["ldapwhoami", "-Q", "-Y", "EXTERNAL", "-H", world.directory_server.ldaps_uri],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, (done.stdout or done.stderr).strip()


# --- users


def test_where_o_ipaca_lags_replication_is_named(world: World) -> None:
    """ca_renewal agrees, the CA's records and pkidbuser do not: the text says how to look at the agreement."""
    BREAKS["ipaca-not-replicated"].apply(world)
    remedy = only(world, "user-certificate").remedy
    assert "replication of o=ipaca to this server may be broken" in remedy
    assert "dsconf IPADOMAIN-COM repl-agmt status --suffix o=ipaca" in remedy
    assert "ipa-replica-manage" in remedy


def test_a_user_that_is_gone_is_told(world: World) -> None:
    """No entry at all is told once, and nothing is invented to put there."""
    ldapi(world).delete(person_dn("ipara"))
    assert wrong(world) == {("user-certificate", str(world.settings.ra_certificate), CRITICAL)}
    found = only(world, "user-certificate", str(world.settings.ra_certificate))
    assert (found.where, found.found, found.commands) == (person_dn("ipara"), "there is no such entry", ())


def test_old_values_beside_the_right_one_are_no_fault(world: World) -> None:
    """Several certificates and descriptions, what is no certificate among them: one is right, and that is enough."""
    before = der(world)
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM))
    change(world, PKIDBUSER, ("add", "userCertificate", [b"no certificate"]))
    change(world, PKIDBUSER, ("add", "description", ["2;5;CN=Old,O=X;CN=Old,O=X", "nonsense"]))
    change(world, person_dn("ipara"), ("add", "userCertificate;binary", [before, b"nonsense"]))
    assert wrong(world) == set()


@pytest.mark.parametrize(
    ("value", "level", "found"),
    [
        (
            "2;;CN=Certificate Authority,O=IPADOMAIN.COM;CN=CA Subsystem,O=IPADOMAIN.COM",
            CRITICAL,
            "description is '2;;",
        ),
        (
            "2;{serial};CN=Other,O=X;CN=CA Subsystem,O=IPADOMAIN.COM",
            CRITICAL,
            "description has the issuer CN=Other,O=X",
        ),
        ("2;{serial};CN=Certificate Authority,O=IPADOMAIN.COM;CN=X", CRITICAL, "description has the subject CN=X"),
        ("2;-{serial};{names}", ERROR, "description has the serial -"),
        (
            "2;1461501637330902918203684832716283019655932542975;{names}",
            ERROR,
            "description has the serial 146150163733",
        ),
        ("", CRITICAL, "there is no description"),
    ],
)
def test_a_description_of_something_else(world: World, value: str, level: str, found: str) -> None:
    """With other names, or none, the next renewal passes the entry by: that is worse than a wrong serial."""
    names = "CN=Certificate Authority,O=IPADOMAIN.COM;CN=CA Subsystem,O=IPADOMAIN.COM"
    text = value.format(serial=held(world, SUBSYSTEM).serial_number, names=names)
    change(world, PKIDBUSER, ("replace", "description", [text] if text else []))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("user-description", SUBSYSTEM, level)}
    assert findings(results)[0].found.startswith(found)
    heal(world, results)
    assert wrong(world) == set()


def test_another_spelling_of_the_names_is_no_fault_and_is_kept(world: World) -> None:
    """Names are compared as names; where only the serial is wrong, the spelling that Dogtag searches for stays."""
    names = r"cn=certificate\20authority, o=IPADOMAIN.COM;CN=CA Subsystem, O=#0c0d495041444f4d41494e2e434f4d"
    serial = held(world, SUBSYSTEM).serial_number
    change(world, PKIDBUSER, ("replace", "description", [f"2;{serial};{names}"]))
    assert wrong(world) == set()
    change(world, PKIDBUSER, ("replace", "description", [f"2;999999;{names}"]))
    heal(world, examine(world, checks=CHECKS))
    assert world.people_description("pkidbuser") == f"2;{serial};{names}"


def test_a_description_that_is_ahead_is_not_accused(world: World) -> None:
    """Of a certificate that this server has not fetched yet: not the entry is wrong."""
    BREAKS["replica-older"].apply(world)
    assert world.people_description("pkidbuser") != entries.description_of(held(world, SUBSYSTEM))
    assert wrong(world) == {("ca-renewal", SUBSYSTEM, WARNING)}


def test_values_that_are_no_certificates_are_told(world: World) -> None:
    """A user, or an entry of ca_renewal, that holds rubbish alone does not hold the certificate."""
    change(world, PKIDBUSER, ("replace", "userCertificate", [b"rubbish", b"\x30\x80"]))
    change(world, ca_renewal_dn(SUBSYSTEM), ("replace", "userCertificate", [b"rubbish"]))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {
        ("user-certificate", SUBSYSTEM, CRITICAL),
        ("ca-renewal", SUBSYSTEM, ERROR),
        NO_BIND,
    }
    assert findings(results)[0].found == "no certificate, and 2 that cannot be read"
    heal(world, results)
    assert wrong(world) == set()


@pytest.mark.parametrize("rubbish", [False, True])
def test_binary_values_that_hide_a_missing_certificate_are_told_too(world: World, rubbish: bool) -> None:
    """Both are wrong: the certificate is nowhere, and the ;binary values would hide it when it comes."""
    old = der(world)
    BREAKS["pkidbuser-old-certificate"].apply(world)
    change(world, PKIDBUSER, ("add", "userCertificate;binary", [b"rubbish" if rubbish else old]))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {
        ("user-certificate", SUBSYSTEM, CRITICAL),
        ("user-binary", SUBSYSTEM, ERROR),
        NO_BIND,
    }
    heal(world, results)
    assert wrong(world) == set()


def test_the_certificate_under_both_names_is_a_fault_of_the_future(world: World) -> None:
    """389-ds sees it now, but not the next one; other values under ;binary are moved, not lost."""
    old, unknown_to_plain = der(world), certificate_der(world.issue(SUBSYSTEM))
    change(world, PKIDBUSER, ("add", "userCertificate;binary", [old, unknown_to_plain]))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("user-binary", SUBSYSTEM, ERROR)}
    heal(world, results)
    assert wrong(world) == set()
    assert {certificate_der(one) for one in world.people_certificates("pkidbuser")} == {old, unknown_to_plain}


# --- from certificate to user


def test_a_stranger_with_the_see_also_is_named(world: World) -> None:
    """The seeAlso is on another entry, in the other suffix, and not on pkidbuser."""
    subject = entries.name_of(held(world, SUBSYSTEM).subject)
    dn = 'cn=Zürich\\, \\+ \\"x\\",dc=ipadomain,dc=com'
    ldapi(world).add((dn, {"objectClass": ["top", "person", "inetOrgPerson"], "sn": ["x"], "seeAlso": [subject]}))
    change(world, PKIDBUSER, ("delete", "seeAlso", []))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("pkidbuser-seealso", SUBSYSTEM, CRITICAL), NO_BIND}
    assert "rich" in findings(results)[0].found
    heal(world, results)
    assert wrong(world) == set()


@pytest.mark.parametrize(
    ("line", "instead", "level"),
    [
        ("ipaca:verifycert .*", "ipaca:verifycert off", WARNING),
        ("ipaca:verifycert .*", "", WARNING),
        ("ipaca:CmapLdapAttr .*", "ipaca:CmapLdapAttr description", CRITICAL),
        ("certmap ipaca .*", "certmap ipaca CN=Other,O=X", CRITICAL),
    ],
)
def test_a_mapping_that_is_not_freeipas(world: World, line: str, instead: str, level: str) -> None:
    """What 389-ds reads at its next start is judged, and the restart after the correction takes it in."""
    path = world.settings.certmap
    text, changed = re.subn(line, instead, path.read_text())
    assert changed == 1
    path.write_text(text)
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("certmap", "", level)}
    heal(world, results)
    assert wrong(world) == set()


def test_no_mapping_at_all_is_added(world: World) -> None:
    """With the default mapping alone 389-ds maps to nobody."""
    world.settings.certmap.write_text("certmap default default\ndefault:DNComps\ndefault:FilterComps uid")
    results = examine(world, checks=[BY_NAME["certmap"]])
    assert levels(results) == {("certmap", "", CRITICAL)}
    heal(world, results)
    assert wrong(world) == set()


def test_a_certmap_that_cannot_be_read_accuses_nobody(world: World) -> None:
    """It is UNKNOWN what 389-ds makes of it."""
    world.settings.certmap.write_text("what is this\n")
    results = examine(world, checks=CHECKS)
    assert (accusing(results), unknown(results)) == (set(), {("certmap", "")})


# --- ca_renewal


def test_a_new_installation_has_nothing_in_ca_renewal(world: World) -> None:
    """The first renewal makes the entries: before it there are none, and that is no fault."""
    for name in (OCSP, RA, SUBSYSTEM):
        ldapi(world).delete(ca_renewal_dn(name))
    assert wrong(world) == set()


def test_an_entry_that_a_renewal_should_have_made_is_missing(world: World) -> None:
    """After a renewal its absence is a fault, and the command makes the entry."""
    land(world, OCSP, renewed(world, OCSP))
    ldapi(world).delete(ca_renewal_dn(OCSP))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("ca-renewal", OCSP, ERROR)}
    assert "there is no such entry" in findings(results)[0].found
    heal(world, results)
    assert wrong(world) == set()
    assert world.ca_renewal_certificate(OCSP) == held(world, OCSP)


def test_several_values_in_ca_renewal(world: World) -> None:
    """FreeIPA's helper cannot read more than one."""
    change(world, ca_renewal_dn(OCSP), ("add", "userCertificate", [der(world)]))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("ca-renewal", OCSP, ERROR)}
    heal(world, results)
    assert wrong(world) == set()


def test_an_older_one_in_ca_renewal_can_roll_another_server_back(world: World) -> None:
    """This server is not the renewal master and has the newer certificate: the finding says where to act."""
    BREAKS["ca-renewal-older"].apply(world)
    other_is_master(world)
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("ca-renewal", SUBSYSTEM, ERROR)}
    found = findings(results)[0]
    assert "loses the newer certificate" in found.breaks
    assert "On replica.ipadomain.com" in found.remedy
    heal(world, results)
    assert wrong(world) == set()


def test_an_older_one_is_not_put_back_by_a_server_that_lags_itself(world: World) -> None:
    """Where the CA has issued something newer than what is saved here, this server proposes nothing to write."""
    BREAKS["ca-renewal-older"].apply(world)
    other_is_master(world)
    time.sleep(1)  # certificates' times are whole seconds
    renewed(world, SUBSYSTEM)
    found = only(world, "ca-renewal")
    assert (found.level, found.commands) == (ERROR, ())


def test_a_lagging_server_is_in_a_hurry_at_the_end(world: World) -> None:
    """What is a WARNING with two years left is an ERROR in the last four weeks."""
    BREAKS["replica-older"].apply(world)
    soon = held(world, SUBSYSTEM).not_valid_after_utc - timedelta(days=27)
    assert levels(examine(world, checks=[BY_NAME["ca-renewal"]], now=soon)) == {("ca-renewal", SUBSYSTEM, ERROR)}


def test_a_waiting_request_is_refreshed(world: World) -> None:
    """It waits for eight hours between two looks: refresh makes it look now."""
    other_is_master(world)
    world.renew(SUBSYSTEM, wait=False)
    identifier = world.request(SUBSYSTEM)["id"]
    world.certmonger.wait_for(identifier, lambda request: request["status"] == "CA_WORKING")
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM), but=("store", "certmonger", "cs_cfg", "kra_cs_cfg"))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("ca-renewal", SUBSYSTEM, WARNING)}
    assert commands(results) == [f"getcert refresh -i {identifier}"]
    heal(world, results)
    world.certmonger.wait_for(identifier, lambda request: request["status"] == "MONITORING")
    assert wrong(world) == set()


def test_a_ca_certificate_is_not_resubmitted(world: World) -> None:
    """getcert resubmit would clear its request's CA flag."""
    land(world, "caSigningCert cert-pki-ca", renewed(world, "caSigningCert cert-pki-ca"), but=("store", "certmonger"))
    assert only(world, "ca-renewal", "caSigningCert cert-pki-ca").commands == ("ipa-certupdate",)
    other_is_master(world)
    assert only(world, "ca-renewal", "caSigningCert cert-pki-ca").commands == ("ipa-certupdate",)


def test_an_expected_certificate_takes_the_place_of_the_saved_one(world: World) -> None:
    """With --expect the stores are compared with what must have landed."""
    new = Certificate.from_der(certificate_der(renewed(world, SUBSYSTEM)))
    results = examine(world, checks=CHECKS, expect=new, certificates=[SUBSYSTEM])
    assert levels(results) == {("user-certificate", SUBSYSTEM, CRITICAL), ("ca-renewal", SUBSYSTEM, ERROR)}
    assert all(f"serial {new.serial_text}" in one.expected for one in findings(results))


# --- who renews, and by which names


def test_a_ca_subject_that_is_not_the_cas(world: World) -> None:
    """FreeIPA would not know its own CA's certificate."""
    change(world, entries.IPA_CA, ("replace", "ipaCaSubjectDN", ["CN=Other\\, Authority,O=X"]))
    results = examine(world, checks=CHECKS)
    assert levels(results) == {("subject-base", "", ERROR)}
    heal(world, results)
    assert wrong(world) == set()


def test_another_spelling_of_the_subject_base_is_no_fault(world: World) -> None:
    """Names are compared as names."""
    change(world, entries.IPA_CONFIG, ("replace", "ipaCertificateSubjectBase", ["o = ipadomain.com"]))
    assert wrong(world) == set()


def test_a_hidden_server_may_be_the_renewal_master(world: World) -> None:
    """It does everything but being advertised; and case does not matter."""
    change(world, entries.MASTER, ("replace", "ipaConfigString", ["hiddenService", "CARENEWALMASTER"]))
    assert wrong(world) == set()


# --- where nobody could look


class Impatient(Evidence):
    """Waits half a second for 389-ds where others wait ten."""

    @property
    def directory(self) -> directory.Directory:
        """With a short time limit."""
        there = self.host
        return self._once("directory", lambda: directory.read(there.uri, there.basedn, self._subjects, timeout_s=0.5))

    @property
    def bound(self) -> external_bind.BindResult:
        """With a short time limit."""
        return self._once("bind", self._bind_at_once)

    def _bind_at_once(self) -> external_bind.BindResult:
        one = self.by_role(SUBSYSTEM_ROLE)
        assert one is not None
        pin = self.pin(one.location)
        assert pin is not None
        return external_bind.bind(one.location, one.nickname, pin, *self.host.ldaps_address, deadline_s=0.5)


ASK_LDAP = [check.name for check in CHECKS if check.name != "certmap"]


def assert_nobody_is_accused(results: list[verification.Result]) -> None:
    """Every check that asks 389-ds says that it could not, and why."""
    assert accusing(results) == set()
    assert {check for check, _ in unknown(results)} == set(ASK_LDAP)
    assert all(one.found.startswith("could not look: ") and one.where for one in findings(results))


def test_without_a_directory_nobody_is_accused(world: World) -> None:
    """389-ds is down: each check that needs it is UNKNOWN."""
    BREAKS["pkidbuser-old-certificate"].apply(world)
    assert world.directory_server is not None
    world.directory_server.kill()
    assert_nobody_is_accused(examine(world, checks=CHECKS))


def test_with_a_directory_that_does_not_answer_nobody_is_accused(world: World) -> None:
    """389-ds takes connections and says nothing: the time limits end it."""
    BREAKS["pkidbuser-old-certificate"].apply(world)
    assert world.directory_server is not None
    os.kill(world.directory_server.pid, signal.SIGSTOP)
    try:
        with Impatient(host.load(config.load(str(world.certwitness_config)))) as evidence:
            results = list(verification.run(evidence, CHECKS))
    finally:
        os.kill(world.directory_server.pid, signal.SIGCONT)
    assert_nobody_is_accused(results)
    assert any("in 0.5 s" in one.found for one in findings(results))


def test_a_bind_that_is_not_roots_accuses_nobody(world: World) -> None:
    """Whoever is not Directory Manager may not see what is there; only the bind by certificate is still a proof."""
    with without_autobind(world):
        results = examine(world, checks=CHECKS)
    assert accusing(results) == set()
    assert {check for check, _ in unknown(results)} == set(ASK_LDAP) - {"pkidbuser-bind"}
    assert all(one.found.endswith("run as root") for one in findings(results))


def test_the_bind_can_be_switched_off(world: World) -> None:
    """`bind = no` in [checks]: UNKNOWN, and it says so."""
    text = world.certwitness_config.read_text()
    try:
        world.certwitness_config.write_text(f"{text}\n[checks]\nbind = no\n")
        (found,) = findings(examine(world, checks=CHECKS))
    finally:
        world.certwitness_config.write_text(text)
    assert (found.check, found.level) == ("pkidbuser-bind", "UNKNOWN")
    assert "bind = no" in found.found


def test_while_a_renewal_is_between_its_steps_nobody_is_accused(world: World) -> None:
    """certmonger waits for the helper: that stores differ is normal."""
    BREAKS["pkidbuser-old-certificate"].apply(world)
    world.faults.on("dogtag-slow", "2")
    world.renew(SUBSYSTEM, wait=False)
    results = examine(world, checks=CHECKS, certificates=[SUBSYSTEM])
    assert accusing(results) == set()
    assert {one.check for one in findings(results, PENDING)} == {"user-certificate", "pkidbuser-bind"}


@contextmanager
def without_autobind(world: World) -> Iterator[None]:
    """389-ds does not take root on its socket for Directory Manager."""
    server = world.directory_server
    assert server is not None
    dse = server.configuration / "dse.ldif"
    server.stop()
    text = dse.read_text()
    assert "nsslapd-ldapiautobind: on" in text
    dse.write_text(text.replace("nsslapd-ldapiautobind: on", "nsslapd-ldapiautobind: off"))
    server.launch()
    try:
        wait_for_tls(world)
        yield
    finally:
        server.kill()
        dse.write_text(text)
        server.start()


def wait_for_tls(world: World) -> None:
    """Until 389-ds listens on its TLS port."""
    assert world.directory_server is not None
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("localhost", world.directory_server.ldaps_port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def other_is_master(world: World) -> None:
    """The renewal master's role goes to the other CA server, which gets a KRA too."""
    dn = f"cn=KRA,{entries.MASTER.partition(',')[2].replace('cn=ipa.', 'cn=replica.')}"
    ldapi(world).add(
        (dn, {"objectClass": ["top", "nsContainer", "ipaConfigObject"], "ipaConfigString": ["enabledService"]})
    )
    change(world, entries.MASTER, ("delete", "ipaConfigString", ["caRenewalMaster"]))
    change(world, dn.replace("cn=KRA,", "cn=CA,"), ("add", "ipaConfigString", ["caRenewalMaster"]))

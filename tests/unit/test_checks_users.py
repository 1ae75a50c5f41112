# SPDX-License-Identifier: MIT
"""The checks of users, mapping and cn=ca_renewal on what no lab brings about: odd names and serials, other topologies,
and whatever else 389-ds may answer to the bind."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certwitness import catalogue, host, landing
from certwitness.certificates import Certificate
from certwitness.certmonger import Request
from certwitness.checks import BY_NAME, services, wording
from certwitness.config import Config
from certwitness.errors import StoreError
from certwitness.events.renewals import Renewal
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, WARNING, Finding
from certwitness.stores.certmap import CertMap
from certwitness.stores.directory import Directory, Entry
from certwitness.stores.external_bind import REFUSED_IN_TLS, BindResult
from certwitness.stores.nss import NssDatabase, NssEntry
from certwitness.stores.pem import PemFile
from certwitness.tracked import Tracked
from certwitness.verification import run
from tests.unit import findings_factory as make

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
SUFFIX = "dc=ipadomain,dc=com"
CA = "CN=Certificate Authority,O=IPADOMAIN.COM"
SUBJECT = "CN=CA Subsystem,O=IPADOMAIN.COM"
PKIDBUSER = "uid=pkidbuser,ou=people,o=ipaca"
HERE, THERE = "ipa.ipadomain.com", "replica.ipadomain.com"
KEY = ec.generate_private_key(ec.SECP256R1())
SUBSYSTEM = Tracked("NSSDB", "/alias", "subsystemCert cert-pki-ca", catalogue.BY_KEY["subsystem"])
RA = Tracked("FILE", "/ra-agent.pem", "", catalogue.BY_KEY["ra"])
ODD_SUBJECTS = [
    r"CN=a\;b\,c\+d\"e\\f,O=X",
    "CN=a+OU=b+2.5.4.65=p,O=X",
    "CN=Zürich 東京,O=Ä Ö",
    "1.3.6.1.4.1.99999.1=odd,O=X",
]


def certificate(subject: str = SUBJECT, *, serial: int = 4711, days: int = 0, issuer: str = CA) -> Certificate:
    """Valid from `days` after NOW for two years."""
    start = NOW + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .serial_number(abs(serial))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=720))
        .public_key(KEY.public_key())
    )
    der = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    if serial < 0:  # two bytes, positive, become two bytes, negative
        der = der.replace(
            b"\x02\x02" + abs(serial).to_bytes(2, "big"), b"\x02\x02" + serial.to_bytes(2, "big", signed=True), 1
        )
    return Certificate.from_der(der)


def person(uid: str, *held: Certificate, tree: str = "ou=people,o=ipaca", **more: Sequence[str]) -> Entry:
    """A user that holds certificates, described by the last of them."""
    one = held[-1]
    attributes = {
        "uid": [uid],
        "description": [f"2;{one.serial};{one.issuer};{one.subject}"],
        "seealso": [one.subject] if uid == "pkidbuser" else [],
        **more,
    }
    encoded = {name: tuple(value.encode() for value in values) for name, values in attributes.items() if values}
    return Entry(f"uid={uid},{tree}", {**encoded, "usercertificate": tuple(one.der for one in held)})


def master(name: str, service: str = "CA", *strings: str) -> Entry:
    """An enabled service of a server, with more configuration strings."""
    values = tuple(value.encode() for value in ("enabledService", *strings))
    return Entry(
        f"cn={service},cn={name},cn=masters,cn=ipa,cn=etc,{SUFFIX}",
        {"cn": (service.encode(),), "ipaconfigstring": values},
    )


def shared(name: str, *held: Certificate) -> dict[str, Entry]:
    """An entry of cn=ca_renewal."""
    dn = f"cn={name},cn=ca_renewal,cn=ipa,cn=etc,{SUFFIX}"
    return {name: Entry(dn, {"cn": (name.encode(),), "usercertificate": tuple(one.der for one in held)})}


def ldap(one: Certificate, **other: Any) -> Directory:
    """A healthy directory for the subsystem certificate, but for what is `other`."""
    values: dict[str, Any] = {
        "bound_as": "dn: cn=Directory Manager",
        "suffix": SUFFIX,
        "ca_renewal": shared(SUBSYSTEM.nickname, one),
        "people": (person("pkidbuser", one),),
        "authorities": (),
        "ca_store": (),
        "legacy_ca": None,
        "masters": (master(HERE, "CA", "caRenewalMaster"),),
        "ca_subject": CA,
        "subject_base": "O=IPADOMAIN.COM",
        "has_kra": False,
        "see_also": {one.subject: (PKIDBUSER,)},
        "issued": {one.subject: (one,)},
    }
    return Directory(**{**values, **other})


class Given(Evidence):
    """What was found is given; nothing is looked at."""

    def __init__(
        self,
        held: Mapping[Tracked, Certificate | None],
        found: Directory | StoreError,
        *,
        bound: BindResult | None = None,
        maps: tuple[CertMap, ...] = (),
        log: tuple[Renewal, ...] = (),
    ) -> None:
        nowhere = Config("", {"ipa": {"realm": "IPADOMAIN.COM", "host": HERE}})
        self.host = host.load(nowhere, "/nonexistent")
        self.expect, self.now, self._waits = None, NOW, True
        self._held, self._found, self._bound, self._maps = held, found, bound, maps
        self._renewals = log

    @property
    def tracked(self) -> tuple[Tracked, ...]:
        return tuple(self._held)

    @property
    def directory(self) -> Directory:
        if isinstance(self._found, StoreError):
            raise self._found
        return self._found

    @property
    def bound(self) -> BindResult:
        assert self._bound is not None
        return self._bound

    @property
    def certmap(self) -> tuple[CertMap, ...]:
        return self._maps

    @property
    def log(self) -> tuple[Renewal, ...]:
        return self._renewals

    def held(self, tracked: Tracked) -> Certificate | None:
        return self._held[tracked]


def found(evidence: Evidence, *names: str) -> list[Finding]:
    """What these checks find."""
    return [one for result in run(evidence, [BY_NAME[name] for name in names]) for one in result.findings]


def told(evidence: Evidence, *names: str) -> list[tuple[str, str]]:
    """Check and level of what these checks find."""
    return [(one.check, one.level) for one in found(evidence, *names)]


USERS = ("user-certificate", "user-description", "user-binary", "pkidbuser-seealso")


# --- users


@pytest.mark.parametrize("serial", [1, 2**158 + 12345, -300, 32767])
@pytest.mark.parametrize("subject", [SUBJECT, *ODD_SUBJECTS])
def test_any_subject_and_serial_is_recognised(subject: str, serial: int) -> None:
    """The healthy entry is found healthy, an older one is not, and the command carries the right description."""
    one, old = certificate(subject, serial=serial), certificate(subject, serial=77, days=-300)
    assert told(Given({SUBSYSTEM: one}, ldap(one)), *USERS) == []
    lagging = ldap(one, people=(person("pkidbuser", old),))
    (finding,) = found(Given({SUBSYSTEM: one}, lagging), *USERS)
    assert (finding.check, finding.level) == ("user-certificate", CRITICAL)
    assert f"serial {serial}, " in finding.expected
    half = person("pkidbuser", one, description=[f"2;77;{CA};{subject}"])
    (finding,) = found(Given({SUBSYSTEM: one}, ldap(one, people=(half,))), *USERS)
    assert (finding.check, finding.level) == ("user-description", ERROR)
    assert finding.expected == f"description: 2;{serial};{CA};{subject}"


def test_nothing_saved_is_not_the_users_fault() -> None:
    """The check `saved` tells that."""
    one = certificate()
    assert told(Given({SUBSYSTEM: None}, ldap(one)), *USERS, "ca-renewal", "ca-renewal-binary", "certmap") == []


def test_a_server_without_ca_has_no_users() -> None:
    """There is no o=ipaca, and the RA's certificate is tracked all the same: nobody is accused."""
    one = certificate("CN=IPA RA,O=IPADOMAIN.COM")
    empty = ldap(one, people=(), authorities=(), ca_renewal=shared("ipaCert", one))
    assert (
        told(Given({RA: one}, empty), *(check for check in BY_NAME if check.startswith(("user-", "ca-renewal")))) == []
    )


@pytest.mark.parametrize(("has_kra", "expected"), [(False, []), (True, [("user-certificate", ERROR)])])
def test_ipakra_is_wanted_where_there_is_a_kra(has_kra: bool, expected: list[tuple[str, str]]) -> None:
    """Without a KRA its users are not missed."""
    one = certificate("CN=IPA RA,O=IPADOMAIN.COM")
    some = ldap(one, people=(person("ipara", one),), has_kra=has_kra)
    assert told(Given({RA: one}, some), *USERS) == expected


def test_pkidbuser_that_is_gone_is_told_once() -> None:
    """Not by the check of its seeAlso as well."""
    one = certificate()
    some = ldap(one, people=(person("CA-x-8443", one),), see_also={one.subject: ()})
    assert told(Given({SUBSYSTEM: one}, some), *USERS) == [("user-certificate", CRITICAL)]


def test_a_directory_that_was_not_asked_for_a_subject_is_unknown() -> None:
    """No seeAlso was looked for: that it is nowhere is not known."""
    one = certificate()
    assert told(Given({SUBSYSTEM: one}, ldap(one, see_also={})), "pkidbuser-seealso") == [
        ("pkidbuser-seealso", UNKNOWN)
    ]


# --- the bind


@pytest.mark.parametrize(
    ("bound", "level", "words"),
    [
        (BindResult(0, f"dn: {PKIDBUSER}", ""), "", ""),
        (BindResult(0, "dn:UID=pkidbuser, OU=People,o=ipaca", ""), "", ""),
        (BindResult(0, "dn: uid=CA-x-8443,ou=people,o=ipaca", ""), CRITICAL, "for uid=CA-x-8443,ou=people,o=ipaca"),
        (BindResult(0, "", ""), CRITICAL, "takes the certificate for nobody"),
        (BindResult(49, "", ""), CRITICAL, "answers 49 (invalid credentials) and takes the certificate for nobody"),
        (BindResult(49, "", "Why"), CRITICAL, "answers 49 (invalid credentials: Why)"),
        (BindResult(48, "", "x"), CRITICAL, "48 (inappropriate authentication: x)"),
        (BindResult(53, "", "Account inactivated."), CRITICAL, "53 (unwilling to perform: Account inactivated.)"),
        (BindResult(REFUSED_IN_TLS, "", "SSL_ERROR_EXPIRED_CERT_ALERT"), CRITICAL, "SSL_ERROR_EXPIRED_CERT_ALERT"),
        (BindResult(51, "", ""), UNKNOWN, "389-ds answers 51: without a word"),
        (BindResult(52, "", "stopping"), UNKNOWN, "389-ds answers 52: stopping"),
    ],
)
def test_what_389_ds_says(bound: BindResult, level: str, words: str) -> None:
    """Only pkidbuser will do; a server that is busy says nothing about the certificate."""
    one = certificate()
    findings = found(Given({SUBSYSTEM: one}, ldap(one), bound=bound), "pkidbuser-bind")
    assert [finding.level for finding in findings] == ([level] if level else [])
    assert all(words in finding.found for finding in findings)


def test_the_bind_stands_without_the_directory() -> None:
    """That it failed is a proof, even if nobody can say why."""
    given = Given({SUBSYSTEM: certificate()}, StoreError("directory", "down"), bound=BindResult(49, "", ""))
    (finding,) = found(given, "pkidbuser-bind")
    assert finding.level == CRITICAL
    assert "seeAlso" not in finding.found


# --- certmap.conf

OURS = {"cmapldapattr": "SEEALSO", "verifycert": "On"}


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ((CertMap("default", "default", {}), CertMap("ipaca", "cn=Certificate Authority, o=ipadomain.com", OURS)), []),
        ((CertMap("other", CA, OURS),), []),
        ((CertMap("ipaca", CA, {**OURS, "verifycert": "off"}),), [WARNING]),
        ((CertMap("ipaca", CA, {"verifycert": "on"}),), [CRITICAL]),
        ((CertMap("ipaca", "CN=X", OURS),), [CRITICAL]),
        ((CertMap("default", "default", OURS),), [CRITICAL]),
        ((), [CRITICAL]),
    ],
)
def test_mappings(maps: tuple[CertMap, ...], expected: list[str]) -> None:
    """The mapping of the certificate's issuer counts, under whatever name."""
    one = certificate()
    findings = found(Given({SUBSYSTEM: one}, ldap(one), maps=maps), "certmap")
    assert [finding.level for finding in findings] == expected
    assert all(len(finding.commands) == 2 for finding in findings)


def test_without_a_subsystem_certificate_no_mapping_is_wanted() -> None:
    """A server without CA has none."""
    one = certificate()
    assert told(Given({RA: one}, ldap(one)), "certmap") == []


# --- cn=ca_renewal


@pytest.mark.parametrize("here_is_master", [True, False])
def test_another_certificate_of_the_same_day(here_is_master: bool) -> None:
    """Neither older nor newer, and still not the one that is saved."""
    one, other = certificate(serial=1), certificate(serial=2)
    masters = (master(HERE if here_is_master else THERE, "CA", "caRenewalMaster"),)
    some = ldap(one, ca_renewal=shared(SUBSYSTEM.nickname, other), masters=masters)
    assert told(Given({SUBSYSTEM: one}, some), "ca-renewal") == [("ca-renewal", ERROR)]


def test_a_newer_one_that_all_users_have_is_no_proof_of_failure() -> None:
    """On the renewal master: pkidbuser has it, so who fetches it is not refused."""
    one, new = certificate(serial=1), certificate(serial=2, days=1)
    some = ldap(one, ca_renewal=shared(SUBSYSTEM.nickname, new), people=(person("pkidbuser", one, new),))
    assert told(Given({SUBSYSTEM: one}, some), "ca-renewal", *USERS) == [("ca-renewal", ERROR)]


def test_an_expired_certificate_of_a_lagging_server() -> None:
    """The finding says that it has expired."""
    old, new = certificate(serial=1, days=-721), certificate(serial=2, days=-1)
    masters = (master(THERE, "CA", "caRenewalMaster"),)
    some = ldap(old, ca_renewal=shared(SUBSYSTEM.nickname, new), masters=masters)
    (finding,) = found(Given({SUBSYSTEM: old}, some), "ca-renewal")
    assert finding.level == ERROR
    assert finding.breaks.endswith(", which has expired")


@pytest.mark.parametrize(("days", "best"), [(1, "new"), (-1, "saved")])
def test_the_newer_one_is_moved_out_of_binary(days: int, best: str) -> None:
    """What is under ;binary may be ahead of this server, or behind it."""
    saved, other = certificate(serial=1), certificate(serial=2, days=days)
    entry = shared(SUBSYSTEM.nickname, other)[SUBSYSTEM.nickname]
    hidden = Entry(entry.dn, {"usercertificate;binary": (other.der,)})
    some = ldap(saved, ca_renewal={SUBSYSTEM.nickname: hidden})
    (finding,) = found(Given({SUBSYSTEM: saved}, some), "ca-renewal", "ca-renewal-binary")
    assert (finding.check, finding.level) == ("ca-renewal-binary", ERROR)
    wanted = {"new": other, "saved": saved}[best]
    assert base64.b64encode(wanted.der).decode() in finding.commands[0]


def test_binary_beside_plain_in_ca_renewal_is_harmless() -> None:
    """FreeIPA's helper does not look at it."""
    one = certificate()
    entry = shared(SUBSYSTEM.nickname, one)[SUBSYSTEM.nickname]
    both = Entry(entry.dn, {**entry.attributes, "usercertificate;binary": (b"x",)})
    some = ldap(one, ca_renewal={SUBSYSTEM.nickname: both})
    assert told(Given({SUBSYSTEM: one}, some), "ca-renewal", "ca-renewal-binary") == []


# --- words


def test_the_newest_of_several_is_told() -> None:
    """In whatever order the server gives them."""
    old, new = certificate(serial=1), certificate(serial=2, days=1)
    assert wording.newest([new, old], 1) == (
        "serial 2, valid from 2026-11-24 (the newest of 2), and 1 that cannot be read"
    )
    assert wording.newest([old]) == "serial 1, valid from 2026-11-23"


@pytest.mark.parametrize("same", [True, False])
def test_since_when_is_the_logs_word_or_the_certificates(same: bool) -> None:
    """The log tells when this certificate was issued; another one's renewal tells nothing."""
    one, other = certificate(), certificate(serial=2)
    renewal = Renewal("0" * 32, "2026-11-23T10:00:00.000000Z")
    renewal.nickname, renewal.key, renewal.state = SUBSYSTEM.nickname, one.spki_sha256, "issued"
    renewal.new = (one if same else other).as_event()
    given = Given({SUBSYSTEM: one}, ldap(one), log=(renewal,))
    expected = "2026-11-23T10:00:00.000000Z" if same else "2026-11-23T00:00:00Z"
    assert wording.since(given, SUBSYSTEM, one) == expected


# --- who renews, and by which names


@pytest.mark.parametrize(
    ("masters", "expected", "command"),
    [
        ((), [], ""),  # no CA anywhere
        ((master(HERE, "CA", "CaRenewalMaster"),), [], ""),
        ((master(HERE), master(THERE)), [CRITICAL], HERE),
        ((master(THERE),), [CRITICAL], THERE),
        ((master("a.ipadomain.com"), master(HERE)), [CRITICAL], HERE),
        ((master(HERE, "CA", "caRenewalMaster"), master(THERE, "CA", "caRenewalMaster")), [ERROR], HERE),
        ((master(HERE, "CA", "caRenewalMaster"), master(THERE), master(THERE, "KRA")), [CRITICAL], THERE),
        ((master(HERE, "CA", "caRenewalMaster"), master(HERE, "KRA"), master(THERE, "KRA")), [], ""),
    ],
)
def test_renewal_masters(masters: tuple[Entry, ...], expected: list[str], command: str) -> None:
    """Exactly one, with a KRA if there is one; this server is proposed where it will do."""
    one = certificate()
    findings = found(Given({SUBSYSTEM: one}, ldap(one, masters=masters)), "renewal-master")
    assert [finding.level for finding in findings] == expected
    assert [finding.commands for finding in findings] == [
        (f"ipa config-mod --ca-renewal-master-server={command}",) for _ in expected
    ]


@pytest.mark.parametrize(("state", "expected"), [("hiddenService", [CRITICAL]), ("configuredService", [])])
def test_a_hidden_kra_counts_and_one_that_is_not_enabled_does_not(state: str, expected: list[str]) -> None:
    """Hidden servers do everything but being advertised; those being set up do nothing yet."""
    kra = master(THERE, "KRA")
    kra = Entry(kra.dn, {**kra.attributes, "ipaconfigstring": (state.encode(),)})
    one = certificate()
    some = ldap(one, masters=(master(HERE, "CA", "caRenewalMaster"), kra))
    assert [level for _, level in told(Given({SUBSYSTEM: one}, some), "renewal-master")] == expected


@pytest.mark.parametrize(
    ("subject", "base", "expected"),
    [
        (SUBJECT, "o=ipadomain.com", []),
        ("CN=CA Subsystem,OU=a\\,b,O=X", "OU=a\\,b, O=X", []),
        (SUBJECT, "O=OTHER", ["replace: ipaCertificateSubjectBase\nipaCertificateSubjectBase: O=IPADOMAIN.COM"]),
        (SUBJECT, None, ["replace: ipaCertificateSubjectBase\nipaCertificateSubjectBase: O=IPADOMAIN.COM"]),
        ("CN=Something Else,O=X", "O=X", [""]),
        ("CN=CA Subsystem+OU=b,O=X", "O=X", [""]),
    ],
)
def test_subject_bases(subject: str, base: str | None, expected: list[str]) -> None:
    """A command only where the certificates themselves tell the base."""
    one = certificate(subject)
    findings = found(Given({SUBSYSTEM: one}, ldap(one, subject_base=base)), "subject-base")
    assert len(findings) == len(expected)
    for finding, text in zip(findings, expected):
        assert finding.level == ERROR
        assert text in "".join(finding.commands)
        assert bool(text) == bool(finding.commands)


def test_certificates_that_do_not_agree_on_a_base() -> None:
    """Then there is no command, and both are named."""
    one, other = certificate("CN=CA Subsystem,O=X"), certificate("CN=IPA RA,O=Y")
    (finding,) = found(Given({SUBSYSTEM: one, RA: other}, ldap(one, subject_base="O=Z")), "subject-base")
    assert finding.commands == ()
    assert "CN=CA Subsystem,O=X; CN=IPA RA,O=Y" in finding.found


# --- the CA's own certificate, its entries, and where they are ahead of this server

AUTHORITY = Tracked("NSSDB", "/alias", "caSigningCert cert-pki-ca", catalogue.BY_KEY["ca"])
SUB_CA = Tracked("NSSDB", "/alias", "caSigningCert cert-pki-ca 0", catalogue.BY_KEY["lightweight-ca"])
OLD_CA, NEW_CA = (certificate(CA, serial=serial, days=days) for serial, days in ((1, -700), (20, 0)))


def authorities(*serials: str) -> tuple[Entry, ...]:
    """The CA's entry below ou=authorities."""
    values = {"authorityserial": tuple(text.encode() for text in serials)} if serials else {}
    return (Entry("cn=host,ou=authorities,ou=ca,o=ipaca", {"authoritydn": (CA.encode(),), **values}),)


def store(*held: Certificate) -> tuple[Entry, ...]:
    """The CA's entry below cn=certificates."""
    values = {"ipacertsubject": (CA.encode(),), "cacertificate;binary": tuple(one.der for one in held)}
    return (Entry(f"cn=IPADOMAIN.COM IPA CA,cn=certificates,cn=ipa,cn=etc,{SUFFIX}", values),)


def test_the_host_authority_of_a_fresh_installation_has_no_serial() -> None:
    """Dogtag makes its entry without (CAEngine.addHostAuthorityEntry)."""
    evidence = Given({AUTHORITY: OLD_CA}, ldap(OLD_CA, authorities=authorities()))
    assert told(evidence, "authority-serial") == []
    assert landing.holdings(evidence, AUTHORITY, catalogue.AUTHORITY) == ()


def test_a_lightweight_ca_without_a_serial_is_told() -> None:
    """Dogtag gives it one when it makes it."""
    evidence = Given({SUB_CA: OLD_CA}, ldap(OLD_CA, authorities=authorities()))
    assert told(evidence, "authority-serial") == [("authority-serial", ERROR)]


@pytest.mark.parametrize("tracked", [AUTHORITY, SUB_CA])
@pytest.mark.parametrize("held", ["repository", "ca_renewal", "store"])
def test_an_authority_that_is_ahead_of_this_server_is_not_set_back(tracked: Tracked, held: str) -> None:
    """A server that has not fetched the new CA certificate accuses no entry that names it already."""
    places: dict[str, dict[str, Any]] = {
        "repository": {"issued": {CA: (NEW_CA, OLD_CA)}},
        "ca_renewal": {"ca_renewal": shared(AUTHORITY.nickname, NEW_CA)},
        "store": {"ca_store": store(OLD_CA, NEW_CA)},
    }
    found = ldap(OLD_CA, authorities=authorities("20"), **{"issued": {}, "ca_renewal": {}, **places[held]})
    evidence = Given({tracked: OLD_CA}, found)
    if (tracked, held) == (SUB_CA, "ca_renewal"):
        return  # it is in no cn=ca_renewal
    assert told(evidence, "authority-serial") == []
    assert [one.mark for one in landing.holdings(evidence, tracked, catalogue.AUTHORITY)] == [landing.NEWER]


def test_an_authority_that_is_behind_is_told() -> None:
    """One that names the certificate before; Dogtag itself goes by it for lightweight CAs alone."""
    found = ldap(NEW_CA, authorities=authorities("1"), issued={CA: (NEW_CA, OLD_CA)})
    assert told(Given({AUTHORITY: NEW_CA}, found), "authority-serial") == [("authority-serial", WARNING)]


class WithFiles(Given):
    """With a ca.crt and 389-ds's database, too."""

    ca_crt: tuple[Certificate, ...] = (OLD_CA, NEW_CA)
    dirsrv: tuple[tuple[str, tuple[Certificate, ...]], ...] = (("CT,C,C", (NEW_CA, OLD_CA)),)

    def pem(self, path: str) -> PemFile:
        return PemFile(path, self.ca_crt, "root", "root", 0o644)

    def nss(self, location: str) -> NssDatabase:
        entries = {
            f"CA{number}": NssEntry(f"CA{number}", trust, held, (False,) * len(held))
            for number, (trust, held) in enumerate(self.dirsrv)
        }
        return NssDatabase(location, entries, "")

    def requests_at(self, _: str) -> list[Request]:
        return []


def of_the_ca(held: Certificate, legacy: Certificate) -> WithFiles:
    """A CA whose store has both certificates, and cn=CAcert one."""
    dn = f"cn=CAcert,cn=ipa,cn=etc,{SUFFIX}"
    found = ldap(held, ca_store=store(OLD_CA, NEW_CA), legacy_ca=Entry(dn, {"cacertificate;binary": (legacy.der,)}))
    return WithFiles({AUTHORITY: held}, found)


def test_copies_of_the_ca_that_are_ahead_of_this_server_are_not_set_back() -> None:
    """cn=CAcert, ca.crt and 389-ds may have the new CA certificate before Dogtag's NSS database here has it."""
    evidence = of_the_ca(OLD_CA, NEW_CA)
    evidence.ca_crt, evidence.dirsrv = (NEW_CA,), (("CT,C,C", (NEW_CA,)),)
    assert told(evidence, "ca-store") == []
    assert told(of_the_ca(NEW_CA, OLD_CA), "ca-store") == [("ca-store", ERROR)]


@pytest.mark.parametrize(("trust", "expected"), [(",, or CT,C,C", []), ("CT,C,C or ,,", []), (",,", [CRITICAL])])
def test_the_cas_trust_in_389_ds_where_its_certificates_differ(trust: str, expected: list[str]) -> None:
    """One of a nickname's certificates that is trusted is enough."""
    evidence = of_the_ca(NEW_CA, NEW_CA)
    evidence.dirsrv = ((trust, (NEW_CA, OLD_CA)),)
    assert [level for _, level in told(evidence, "ca-store")] == expected


# --- tracking

HSM = "ipa-hsm"


class Tracking(WithFiles):
    """What certmonger tracks, and a server's NSS database."""

    asked: tuple[Request, ...] = ()

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.asked

    def nss(self, location: str) -> NssDatabase:
        if location != self.host.pki_nssdb:
            return NssDatabase(location, {}, "")
        return NssDatabase(location, {name: NssEntry(name, "u,u,u", (OLD_CA,), (True,)) for name in self.names}, "")

    def pem(self, path: str) -> PemFile:
        return PemFile(path, (), "", "", 0, missing=True)

    names: tuple[str, ...] = ()


def test_certificates_on_an_hsm_are_tracked_without_its_name() -> None:
    """FreeIPA gives certmonger nickname and token apart; certutil shows them together."""
    nickname = "auditSigningCert cert-pki-ca"
    evidence = Tracking({AUTHORITY: OLD_CA}, ldap(OLD_CA))
    location = evidence.host.pki_nssdb
    evidence.names, evidence.asked = (f"{HSM}:{nickname}",), (make.request(nickname=nickname, token=HSM),)
    assert location == make.PKI_NSSDB
    assert told(evidence, "tracking") == []


def test_a_ca_whose_requests_are_all_lost_is_told(tmp_path: Path) -> None:
    """Its configuration is there, so it is a CA."""
    cs_cfg = tmp_path / "CS.cfg"
    evidence = Tracking({}, ldap(OLD_CA))
    evidence.host = replace(evidence.host, cs_cfg=str(cs_cfg))
    evidence.names = (AUTHORITY.nickname, SUBSYSTEM.nickname, "External Root CA")
    assert told(evidence, "tracking") == []
    cs_cfg.write_text("")
    assert told(evidence, "tracking") == [("tracking", CRITICAL)] * 2


# --- CS.cfg

CERTREQ = {"ca.signing.certreq": ("x",)}


@pytest.mark.parametrize(("more", "expected"), [({}, ["connector"]), (CERTREQ, ["connector", "own"])])
def test_the_connector_is_read_by_every_version(more: Mapping[str, tuple[str, ...]], expected: list[str]) -> None:
    """PKI 11.5 dropped a subsystem's own certificates from CS.cfg, not the KRA's in the CA's."""
    old, new = (certificate("CN=KRA Transport Certificate,O=X", serial=serial, days=serial - 2) for serial in (1, 2))
    values = {**more, "ca.connector.KRA.transportCert": (base64.b64encode(old.der).decode(),)}
    transport = Tracked("NSSDB", "/alias", "transportCert cert-pki-kra", catalogue.BY_KEY["kra-transport"])

    class WithConfiguration(Given):
        def cs_cfg(self, _: str) -> Any:
            return values

    held = landing.holdings(WithConfiguration({transport: new}, ldap(new)), transport, catalogue.CS_CFG)
    assert ["connector" if ".connector." in one.where else "own" for one in held] == expected
    assert {one.mark for one in held} <= {landing.OLDER, landing.MISSING}


def test_the_name_that_pkidbuser_has_counts_however_it_is_spelled() -> None:
    """The server's search is by one spelling; what the entry has is compared as a name."""
    subject = "CN=CA Subsystem,1.2.840.113549.1.9.1=pki@x.test,O=X"
    one = certificate(subject)
    user = person("pkidbuser", one, seealso=["CN=CA Subsystem,E=pki@x.test,O=X"])
    assert told(Given({SUBSYSTEM: one}, ldap(one, people=(user,), see_also={one.subject: ()})), *USERS) == []


# --- on which server to renew


@pytest.mark.parametrize(
    ("nickname", "masters", "expected"),
    [
        (AUTHORITY.nickname, (HERE,), "ipa-cacert-manage renew"),
        (AUTHORITY.nickname, (THERE,), "ipa-certupdate"),  # the other would make this server the renewal master
        (SUBSYSTEM.nickname, (HERE,), f"getcert resubmit -i {make.request().id} -w"),
        (SUBSYSTEM.nickname, (THERE,), f"getcert resubmit -i {make.request().id}"),  # it would wait for that server
        (SUBSYSTEM.nickname, (), f"getcert resubmit -i {make.request().id}"),
        ("Server-Cert cert-pki-ca", (THERE,), f"getcert resubmit -i {make.request().id} -w"),
    ],
)
def test_renewing_takes_the_renewal_masters_role_from_nobody(
    nickname: str, masters: tuple[str, ...], expected: str
) -> None:
    """A shared certificate is renewed on the renewal master, and only fetched elsewhere."""
    servers = tuple(master(name, "CA", "caRenewalMaster") for name in masters)
    tracked = make.tracked(nickname)
    evidence = Given({tracked: OLD_CA}, ldap(OLD_CA, masters=servers))
    assert services.renew(tracked, evidence) == (expected,)


def test_without_a_directory_nobody_takes_the_role() -> None:
    """Who the renewal master is, is not known then."""
    tracked = make.tracked(AUTHORITY.nickname)
    assert services.renew(tracked, Given({tracked: OLD_CA}, StoreError("directory", "gone"))) == ("ipa-certupdate",)

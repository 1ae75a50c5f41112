# SPDX-License-Identifier: MIT
"""What a full world's directory has besides entries.py's: KRA, CA store, another CA server, a lightweight CA, and a
record of every certificate that was issued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab.entries import AUTHORITIES, NewEntry, der, name_of, person, record_of
from tests.lab.freeipa.updates import CA_STORE_ENTRY, LEGACY_CA
from tests.lab.ldapi import Ldapi, Value
from tests.lab.settings import AUTHORITY_ID, HOST, LIGHTWEIGHT_ID, REPLICA, SUFFIX
from tests.lab.tracked import LIGHTWEIGHT, RA

MASTERS = f"cn=masters,cn=ipa,cn=etc,{SUFFIX}"
CA_STORE = f"cn=certificates,cn=ipa,cn=etc,{SUFFIX}"
KRA = "o=kra,o=ipaca"
KRA_PEOPLE = f"ou=people,{KRA}"
LIGHTWEIGHT_DN = f"cn={LIGHTWEIGHT_ID},{AUTHORITIES}"
SUBSYSTEM = "subsystemCert cert-pki-ca"
EXTENDED_USAGES: list[Value] = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.4"]


def fill(ldapi: Ldapi, shared: Mapping[str, x509.Certificate], authority: x509.Certificate) -> None:
    """Add them; `shared` holds the certificates by nickname."""
    ldapi.add(*_suffix(authority), *_lightweight(shared[LIGHTWEIGHT], authority), *_kra(shared))


def records(certificates: Iterable[x509.Certificate], known: Iterable[x509.Certificate]) -> list[NewEntry]:
    """Dogtag's entries for `certificates` that are not among the `known`."""
    there = {certificate.serial_number for certificate in known}
    return [record_of(certificate) for certificate in certificates if certificate.serial_number not in there]


def issuer_and_serial(certificate: x509.Certificate) -> str:
    """The form of ipaCertIssuerSerial."""
    return f"{name_of(certificate.issuer)};{certificate.serial_number}"


def _suffix(authority: x509.Certificate) -> Iterable[NewEntry]:
    service = ["top", "nsContainer", "ipaConfigObject"]
    yield f"cn=KRA,cn={HOST},{MASTERS}", _strings(service, "enabledService", "startOrder 51")
    yield f"cn={REPLICA},{MASTERS}", {"objectClass": ["top", "nsContainer"]}
    yield f"cn=CA,cn={REPLICA},{MASTERS}", _strings(service, "enabledService", "startOrder 50")
    yield CA_STORE, {"objectClass": ["top", "nsContainer"]}
    public_key = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield (
        CA_STORE_ENTRY,
        {
            "objectClass": ["top", "ipaCertificate", "pkiCA", "ipaKeyPolicy"],
            "ipaCertSubject": [name_of(authority.subject)],
            "ipaCertIssuerSerial": [issuer_and_serial(authority)],
            "ipaPublicKey": [public_key],
            "ipaKeyTrust": ["trusted"],
            "ipaKeyExtUsage": EXTENDED_USAGES,
            "ipaConfigString": ["ipaCA", "compatCA"],
            "cACertificate;binary": [der(authority)],
        },
    )
    yield LEGACY_CA, {"objectClass": ["top", "nsContainer", "pkiCA"], "cACertificate;binary": [der(authority)]}


def _lightweight(certificate: x509.Certificate, authority: x509.Certificate) -> Iterable[NewEntry]:
    yield (
        LIGHTWEIGHT_DN,
        {
            "objectClass": ["top", "authority"],
            "authorityID": [LIGHTWEIGHT_ID],
            "authorityDN": [name_of(certificate.subject)],
            "authorityParentID": [AUTHORITY_ID],
            "authorityParentDN": [name_of(authority.subject)],
            "authoritySerial": [str(certificate.serial_number)],
            "authorityKeyNickname": [LIGHTWEIGHT],
            "authorityEnabled": ["TRUE"],
            "description": ["VPN"],
        },
    )
    yield (
        f"cn=vpn,cn=cas,cn=ca,{SUFFIX}",
        {
            "objectClass": ["top", "ipaCa"],
            "ipaCaId": [LIGHTWEIGHT_ID],
            "ipaCaSubjectDN": [name_of(certificate.subject)],
            "ipaCaIssuerDN": [name_of(certificate.issuer)],
        },
    )


def _kra(shared: Mapping[str, x509.Certificate]) -> Iterable[NewEntry]:
    yield KRA, {"objectClass": ["top", "organization"]}
    users = {"ipakra": shared[RA], f"KRA-{HOST}-8443": shared[SUBSYSTEM]}
    groups = {"Data Recovery Manager Agents": "ipakra", "Subsystem Group": f"KRA-{HOST}-8443"}
    for unit in (KRA_PEOPLE, f"ou=groups,{KRA}"):
        yield unit, {"objectClass": ["top", "organizationalUnit"]}
    for uid, certificate in users.items():
        yield person(uid, certificate, KRA_PEOPLE)
    for group, uid in groups.items():
        members: list[Value] = [f"uid={uid},{KRA_PEOPLE}"]
        yield (
            f"cn={group},ou=groups,{KRA}",
            {"objectClass": ["top", "groupOfUniqueNames"], "uniqueMember": members},
        )


def _strings(classes: list[str], *strings: str) -> dict[str, list[Value]]:
    return {"objectClass": list(classes), "ipaConfigString": list(strings)}

# SPDX-License-Identifier: MIT
"""What FreeIPA keeps below its suffix and Dogtag below o=ipaca, as far as certificates go.

The entries are those of a CA server with the renewal master's role; attribute names, object classes and the forms of
`description` and `seeAlso` are FreeIPA's and Dogtag's (reference: lab.md, freeipa.md section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.freeipa.server import CA_NICKNAME, SHARED
from tests.lab.ldapi import Ldapi, Value
from tests.lab.settings import AUTHORITY_ID, HOST, REALM, SUFFIX

CA_RENEWAL = f"cn=ca_renewal,cn=ipa,cn=etc,{SUFFIX}"
MASTER = f"cn=CA,cn={HOST},cn=masters,cn=ipa,cn=etc,{SUFFIX}"
IPA_CONFIG = f"cn=ipaConfig,cn=etc,{SUFFIX}"
IPA_CA = f"cn=ipa,cn=cas,cn=ca,{SUFFIX}"
PEOPLE = "ou=people,o=ipaca"
REPOSITORY = "ou=certificateRepository,ou=ca,o=ipaca"
AUTHORITIES = "ou=authorities,ou=ca,o=ipaca"

# Dogtag's users that hold a shared certificate.
USERS = {"subsystemCert cert-pki-ca": ("pkidbuser", f"CA-{HOST}-8443"), "ipaCert": ("ipara",)}

NewEntry = tuple[str, Mapping[str, list[Value]]]


def ca_renewal_dn(nickname: str) -> str:
    """DN of a shared certificate's entry."""
    return f"cn={nickname},{CA_RENEWAL}"


def person_dn(uid: str) -> str:
    """DN of one of Dogtag's users."""
    return f"uid={uid},{PEOPLE}"


def name_of(name: x509.Name) -> str:
    """A DN in LDAP order, most specific first, comma without space."""
    return name.rfc4514_string()


def description_of(certificate: x509.Certificate) -> str:
    """``2;<decimal serial>;<issuer>;<subject>``: how Dogtag finds a user by certificate."""
    issuer, owner = name_of(certificate.issuer), name_of(certificate.subject)
    return f"2;{certificate.serial_number};{issuer};{owner}"


def der(certificate: x509.Certificate) -> bytes:
    """What userCertificate holds."""
    return certificate.public_bytes(Encoding.DER)


def fill(ldapi: Ldapi, shared: Mapping[str, x509.Certificate], authority: x509.Certificate) -> None:
    """Fill both empty suffixes. `shared` holds certificates by nickname: those that belong into cn=ca_renewal get their
    entry, the subsystem and RA certificates also their users; `authority` is the CA's own."""
    ldapi.add(*_suffix(shared, authority), *_ipaca(shared, authority))


def put(ldapi: Ldapi, nickname: str, certificate: x509.Certificate) -> None:
    """Make `certificate` the only one in cn=ca_renewal and with its users, as after a renewal of which all is well."""
    if ldapi.read(ca_renewal_dn(nickname)) is None:
        ldapi.add(_shared_entry(nickname, certificate))
    else:
        ldapi.modify(ca_renewal_dn(nickname), ("replace", "userCertificate", [der(certificate)]))
    for uid in USERS.get(nickname, ()):
        ldapi.modify(
            person_dn(uid),
            ("replace", "userCertificate", [der(certificate)]),
            ("replace", "description", [description_of(certificate)]),
        )


def record_of(certificate: x509.Certificate) -> NewEntry:
    """Dogtag's own entry for a certificate that it issued."""
    attributes: dict[str, list[Value]] = {
        "objectClass": ["top", "certificateRecord"],
        "subjectName": [name_of(certificate.subject)],
        "certStatus": ["VALID"],
        "userCertificate": [der(certificate)],
    }
    return f"cn={certificate.serial_number},{REPOSITORY}", attributes


def _suffix(shared: Mapping[str, x509.Certificate], authority: x509.Certificate) -> Iterable[NewEntry]:
    yield SUFFIX, {"objectClass": ["top", "domain"]}
    containers = ["cn=etc", "cn=ipa,cn=etc", "cn=ca_renewal,cn=ipa,cn=etc", "cn=masters,cn=ipa,cn=etc"]
    containers += [f"cn={HOST},cn=masters,cn=ipa,cn=etc", "cn=ca", "cn=cas,cn=ca"]
    for container in containers:
        yield f"{container},{SUFFIX}", {"objectClass": ["top", "nsContainer"]}
    yield (
        IPA_CONFIG,
        {
            "objectClass": ["top", "nsContainer", "ipaConfigObject", "ipaGuiConfig"],
            "ipaCertificateSubjectBase": [f"O={REALM}"],
        },
    )
    yield (
        MASTER,
        {
            "objectClass": ["top", "nsContainer", "ipaConfigObject"],
            "ipaConfigString": ["enabledService", "startOrder 50", "caRenewalMaster"],
        },
    )
    name = name_of(authority.subject)
    yield (
        IPA_CA,
        {
            "objectClass": ["top", "ipaCa"],
            "ipaCaId": [AUTHORITY_ID],
            "ipaCaSubjectDN": [name],
            "ipaCaIssuerDN": [name],
        },
    )
    for nickname in (CA_NICKNAME, *SHARED.values()):
        if nickname in shared:
            yield _shared_entry(nickname, shared[nickname])


def _shared_entry(nickname: str, certificate: x509.Certificate) -> NewEntry:
    attributes: dict[str, list[Value]] = {"objectClass": ["top", "pkiUser", "nsContainer"]}
    return ca_renewal_dn(nickname), {**attributes, "userCertificate": [der(certificate)]}


def _ipaca(shared: Mapping[str, x509.Certificate], authority: x509.Certificate) -> Iterable[NewEntry]:
    yield "o=ipaca", {"objectClass": ["top", "organization"]}
    for unit in (PEOPLE, "ou=groups,o=ipaca", "ou=ca,o=ipaca", REPOSITORY, AUTHORITIES):
        yield unit, {"objectClass": ["top", "organizationalUnit"]}
    yield (
        f"cn={AUTHORITY_ID},{AUTHORITIES}",
        {
            "objectClass": ["top", "authority"],
            "authorityID": [AUTHORITY_ID],
            "authorityDN": [name_of(authority.subject)],
            "authoritySerial": [str(authority.serial_number)],
            "authorityKeyNickname": ["caSigningCert cert-pki-ca"],
            "authorityEnabled": ["TRUE"],
            "description": ["Host authority"],
        },
    )
    subsystem, agent = shared.get("subsystemCert cert-pki-ca"), shared.get("ipaCert")
    groups: dict[str, list[str]] = {}
    if subsystem:
        yield person("pkidbuser", subsystem, seeAlso=[name_of(subsystem.subject)])
        yield person(f"CA-{HOST}-8443", subsystem)
        groups["Subsystem Group"] = ["pkidbuser", f"CA-{HOST}-8443"]
        groups["Certificate Manager Agents"] = ["pkidbuser"]
    if agent:
        yield person("ipara", agent)
        for group in ("Certificate Manager Agents", "Registration Manager Agents", "Security Domain Administrators"):
            groups.setdefault(group, []).append("ipara")
    for group, members in groups.items():
        yield (
            f"cn={group},ou=groups,o=ipaca",
            {"objectClass": ["top", "groupOfUniqueNames"], "uniqueMember": [person_dn(uid) for uid in members]},
        )
    for certificate in {authority.serial_number: authority, **{c.serial_number: c for c in shared.values()}}.values():
        yield record_of(certificate)


def person(uid: str, certificate: x509.Certificate, people: str = PEOPLE, **more: list[Value]) -> NewEntry:
    """One of Dogtag's users, below `people`."""
    attributes: dict[str, list[Value]] = {
        "objectClass": ["top", "person", "organizationalPerson", "inetOrgPerson", "cmsuser"],
        "sn": [uid],
        "cn": [uid],
        "usertype": ["agentType"],
        "userstate": ["1"],
        "userCertificate": [der(certificate)],
        "description": [description_of(certificate)],
        **more,
    }
    return f"uid={uid},{people}", attributes

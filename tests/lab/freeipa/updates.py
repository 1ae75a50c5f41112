# SPDX-License-Identifier: MIT
"""FreeIPA's writes to the directory after a renewal (freeipa.md 3.1, 3.6, 3.7), with what they swallow."""

from __future__ import annotations

import time
from typing import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.freeipa.server import Server
from tests.lab.ldapi import LdapError, Ldapi
from tests.lab.settings import REALM, SUFFIX

CA_STORE_ENTRY = f"cn={REALM} IPA CA,cn=certificates,cn=ipa,cn=etc,{SUFFIX}"
LEGACY_CA = f"cn=CAcert,cn=ipa,cn=etc,{SUFFIX}"
ATTEMPTS = 10
UNREACHABLE = 255
UNWILLING = 53

Writer = Callable[[Ldapi, str, list[bytes]], None]


def ca_renewal_dn(nickname: str) -> str:
    """The entry through which a renewed certificate reaches the other CA servers."""
    return f"cn={nickname},cn=ca_renewal,cn=ipa,cn=etc,{SUFFIX}"


def update_ca_renewal_entry(server: Server, ldapi: Ldapi, nickname: str, certificate: x509.Certificate) -> None:
    """Replace userCertificate, or add the entry. Raises LdapError."""
    if server.faults.is_on("ldap-store-lost") or server.faults.take("ldap-store-lost-once"):
        raise LdapError(UNWILLING, "Server is unwilling to perform")
    der = certificate.public_bytes(Encoding.DER)
    dn = ca_renewal_dn(nickname)
    if ldapi.read(dn) is None:
        ldapi.add((dn, {"objectClass": ["top", "pkiuser", "nscontainer"], "userCertificate": [der]}))
    else:
        ldapi.modify(dn, ("replace", "userCertificate", [der]))


def read_ca_renewal_entry(ldapi: Ldapi, nickname: str) -> str | None:
    """The certificate there as PEM, None if there is no entry. Raises KeyError if it has no plain userCertificate."""
    entry = ldapi.read(ca_renewal_dn(nickname))
    if entry is None:
        return None
    certificate = x509.load_der_x509_certificate(entry["usercertificate"][0])
    return certificate.public_bytes(Encoding.PEM).decode()


def update_people_entry(server: Server, certificate: x509.Certificate) -> bool:
    """Append to userCertificate and replace description of every user that `description` says is this subject's.

    No such user is success. False, which FreeIPA's callers ignore, if a write failed.
    """
    issuer, subject = certificate.issuer.rfc4514_string(), certificate.subject.rfc4514_string()
    described = f"2;{certificate.serial_number};{issuer};{subject}"
    criterion = f"(&(objectClass=inetOrgPerson)(description=*;{issuer};{subject}))"
    der = certificate.public_bytes(Encoding.DER)

    def write(ldapi: Ldapi, dn: str, held: list[bytes]) -> None:
        if server.faults.is_on("people-update-fails"):
            raise LdapError(UNWILLING, "Server is unwilling to perform")
        added = [] if der in held else [("add", "userCertificate", [der])]
        ldapi.modify(dn, *added, ("replace", "description", [described]))

    return _update(server, criterion, write)


def update_authority_entry(server: Server, certificate: x509.Certificate) -> bool:
    """Set authoritySerial of the authorities with this subject; failures as in `update_people_entry`."""
    criterion = f"(&(objectClass=authority)(authoritydn={certificate.subject.rfc4514_string()}))"

    def write(ldapi: Ldapi, dn: str, _: list[bytes]) -> None:
        if server.faults.is_on("authority-update-fails"):
            raise LdapError(UNWILLING, "Server is unwilling to perform")
        ldapi.modify(dn, ("replace", "authoritySerial", [str(certificate.serial_number)]))

    return _update(server, criterion, write)


def update_ca_store(server: Server, ldapi: Ldapi, certificate: x509.Certificate) -> None:
    """Append the CA's new certificate to the CA store, and make it the one of cn=CAcert; a plain world has neither.

    Raises LdapError.
    """
    if server.faults.is_on("ca-store-update-fails"):
        raise LdapError(UNWILLING, "Server is unwilling to perform")
    der = certificate.public_bytes(Encoding.DER)
    issuer_and_serial = f"{certificate.issuer.rfc4514_string()};{certificate.serial_number}"
    store = ldapi.read(CA_STORE_ENTRY)
    if store is not None and der not in store.get("cacertificate;binary", []):
        added = ("add", "cACertificate;binary", [der]), ("add", "ipaCertIssuerSerial", [issuer_and_serial])
        ldapi.modify(CA_STORE_ENTRY, *added)
    if ldapi.read(LEGACY_CA) is not None:
        ldapi.modify(LEGACY_CA, ("replace", "cACertificate;binary", [der]))


def _update(server: Server, criterion: str, write: Writer) -> bool:
    """Find and write below o=ipaca: ten tries at an unreachable server; anything else is logged and given up."""
    for _ in range(ATTEMPTS):
        try:
            ldapi = server.connect()
            entries = ldapi.search("o=ipaca", "sub", criterion)
        except LdapError as error:
            if error.code != UNREACHABLE:
                server.log("ERR", f"Caught unhandled exception: {error}")
                break
            server.log("ERR", f"Connection to {server.settings.ldapi_socket} failed, sleeping 30s")
            time.sleep(server.settings.people_delay_s)
            continue
        failed = False
        for dn, entry in entries.items():
            server.log("NOTICE", f"Updating entry {dn}")
            try:
                write(ldapi, dn, entry.get("usercertificate", []))
            except LdapError as error:
                server.log("ERR", f"Updating entry {dn} failed: {error}")
                failed = True
        if not failed:
            return True
        break
    server.log("ERR", "Update failed.")
    return False

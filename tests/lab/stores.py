# SPDX-License-Identifier: MIT
"""Reading what a world's stores hold: NSS, cn=ca_renewal, Dogtag's users, logs, the renewal lock."""

from __future__ import annotations

from cryptography import x509

from tests.lab import entries
from tests.lab.directory import Directory389
from tests.lab.nss import NssDatabase
from tests.lab.settings import Settings


class Stores:
    """The readers of a World, which sets `settings`, `nss` and `directory_server` (None: it has no 389-ds)."""

    settings: Settings
    nss: NssDatabase
    directory_server: Directory389 | None

    def nss_certificate(self, nickname: str) -> x509.Certificate:
        """The certificate in Dogtag's NSS database. Raises LookupError."""
        return _found(self.nss.certificate(nickname), nickname)

    def ca_renewal_certificate(self, nickname: str) -> x509.Certificate:
        """The certificate in cn=ca_renewal. Raises LookupError."""
        entry = self._ldap.ldapi.read(entries.ca_renewal_dn(nickname)) or {}
        values = entry.get("usercertificate", [])
        return _found(x509.load_der_x509_certificate(values[0]) if values else None, nickname)

    def people_certificates(self, uid: str) -> list[x509.Certificate]:
        """The certificates of one of Dogtag's users ("pkidbuser", "ipara", ...), oldest first."""
        entry = self._ldap.ldapi.read(entries.person_dn(uid)) or {}
        return [x509.load_der_x509_certificate(value) for value in entry.get("usercertificate", [])]

    def people_description(self, uid: str) -> str:
        """``2;<serial>;<issuer>;<subject>`` of one of Dogtag's users."""
        return (self._ldap.ldapi.read(entries.person_dn(uid)) or {})["description"][0].decode()

    @property
    def journal(self) -> str:
        """What helper and hooks said to syslog: lines ``ident[pid]: LEVEL message``."""
        return self.settings.journal.read_text() if self.settings.journal.exists() else ""

    @property
    def pki_debug(self) -> str:
        """Dogtag's debug log."""
        return self.settings.pki_debug.read_text() if self.settings.pki_debug.exists() else ""

    @property
    def lock(self) -> str:
        """The renewal lock's file, empty if nobody ever took it."""
        return self.settings.renewal_lock.read_text() if self.settings.renewal_lock.exists() else ""

    @property
    def _ldap(self) -> Directory389:
        if self.directory_server is None:
            raise LookupError("this world has no directory")
        return self.directory_server


def _found(certificate: x509.Certificate | None, nickname: str) -> x509.Certificate:
    if certificate is None:
        raise LookupError(f"no certificate {nickname!r} there")
    return certificate

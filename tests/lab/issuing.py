# SPDX-License-Identifier: MIT
"""Issuing certificates and putting them where Dogtag and FreeIPA have them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509

from tests.lab import entries
from tests.lab.ca import TWO_YEARS, TestCA, certificate_pem, key_of, key_pem, subject
from tests.lab.freeipa.cs_cfg import DIRECTIVES, directive_line
from tests.lab.freeipa.server import CA_NICKNAME, SHARED
from tests.lab.nss import NssDatabase
from tests.lab.settings import HOST
from tests.lab.stores import Stores
from tests.lab.tracked import LIGHTWEIGHT, LIGHTWEIGHT_COMMON_NAME, PKI_SERVER, RA

PIN = "Tomcat.123"
SOON = timedelta(days=28)  # certmonger's first TTL: with less left it renews by itself
INTERNAL_DATABASE = """\
internaldb.ldapauth.authtype=SslClientAuth
internaldb.ldapauth.bindDN=cn=Directory Manager
internaldb.ldapauth.clientCertNickname=subsystemCert cert-pki-ca
internaldb.ldapconn.host=localhost
internaldb.ldapconn.port={port}
internaldb.ldapconn.secureConn=true
authz.instance.DirAclAuthz.ldap.ldapauth.authtype=SslClientAuth
authz.instance.DirAclAuthz.ldap.ldapauth.clientCertNickname=subsystemCert cert-pki-ca
authz.instance.DirAclAuthz.ldap.ldapconn.port={port}
authz.instance.DirAclAuthz.ldap.ldapconn.secureConn=true
"""
# What certutil -t must be given for certutil -L to show FreeIPA's flags; u comes from the key.
TRUST = {
    CA_NICKNAME: "CTu,Cu,Cu",
    "auditSigningCert cert-pki-ca": "u,u,Pu",
    "auditSigningCert cert-pki-kra": "u,u,Pu",
}


class Issuing(Stores):
    """The writers of a World, which sets `ca` and, by nickname, `_shared`; `_filled`: the directory has its entries."""

    ca: TestCA
    _shared: dict[str, x509.Certificate]
    _filled: bool = False

    def issue(self, nickname: str, lifetime: timedelta = TWO_YEARS) -> x509.Certificate:
        """A certificate for one of Dogtag's or the RA's, for the key of its nickname."""
        if nickname == CA_NICKNAME:
            return self.ca.self_sign(lifetime)
        server = nickname == PKI_SERVER
        return self.ca.issue(
            subject(common_name(nickname)),
            key_of(nickname).public_key(),
            lifetime=lifetime,
            server=server,
            dns=[HOST] if server else (),
            authority=nickname == LIGHTWEIGHT,
        )

    def _write_files(self, *nicknames: str, lifetime: timedelta) -> None:
        """ca.crt, PIN, CS.cfg, pki/alias, and the certificates of `nicknames`."""
        for path in (self.settings.ca_certificate, self.settings.cs_cfg):
            path.parent.mkdir(parents=True)
        self.settings.ca_certificate.write_text(certificate_pem(self.ca.certificate))
        self.settings.pin_file.write_text(PIN)
        self.settings.password_conf.touch(mode=0o600)
        self.settings.password_conf.write_text(f"internal={PIN}\nreplicationdb=Replication.123\n")
        self.settings.cs_cfg.write_text(INTERNAL_DATABASE.format(port=self.settings.ldaps_port))
        self.nss = NssDatabase(self.settings.nss_directory, self.settings.pin_file)
        self._import(CA_NICKNAME, self.ca.certificate)
        for nickname in nicknames:
            self._provide(nickname, lifetime)

    def _provide(self, nickname: str, lifetime: timedelta) -> None:
        """Issue the certificate of `nickname` and put it where Dogtag or FreeIPA has it."""
        certificate = self.issue(nickname, lifetime)
        if nickname == RA:
            self.settings.ra_key.touch(mode=0o440)
            self.settings.ra_key.write_bytes(key_pem(key_of(nickname)))
            self.settings.ra_certificate.write_text(certificate_pem(certificate))
            self.settings.ra_certificate.chmod(0o440)
        else:
            self._import(nickname, certificate)
        self._shared[nickname] = certificate
        self._put(nickname, certificate)

    def _put(self, nickname: str, certificate: x509.Certificate) -> None:
        if self._filled and nickname in (CA_NICKNAME, *SHARED.values()):
            entries.put(self._ldap.ldapi, nickname, certificate)

    def _agree(self, nickname: str) -> None:
        """Bring what is held to the directory, or something new to both if that ends soon."""
        if nickname == RA:
            held = x509.load_pem_x509_certificate(self.settings.ra_certificate.read_bytes())
        else:
            held = self.nss_certificate(nickname)
        if held.not_valid_after_utc < datetime.now(timezone.utc) + SOON:
            self._provide(nickname, TWO_YEARS)
        else:
            self._put(nickname, held)

    def _import(self, nickname: str, certificate: x509.Certificate) -> None:
        """Put a certificate, with its role's key, into the NSS database and CS.cfg, in place of older ones."""
        while self.nss.certificate(nickname):
            self.nss.delete(nickname)
        self.nss.import_pair(nickname, key_of(nickname), certificate)
        if nickname in TRUST:
            self.nss.set_trust(nickname, TRUST[nickname])
        if nickname in DIRECTIVES:
            with open(self.settings.cs_cfg, "a", encoding="ascii") as cs_cfg:
                cs_cfg.write(directive_line(nickname, certificate) + "\n")


def common_name(nickname: str) -> str:
    """The CN that belongs to a nickname; a certificate that is not shared bears the host's name."""
    if nickname == LIGHTWEIGHT:
        return LIGHTWEIGHT_COMMON_NAME
    if nickname == CA_NICKNAME:
        return "Certificate Authority"
    return next((name for name, shared in SHARED.items() if shared == nickname), HOST)

# SPDX-License-Identifier: MIT
"""What a full world has besides a plain one: all of Dogtag's and FreeIPA's certificates, their files and entries.

pki/alias with the CA's five, the KRA's three and a lightweight CA's certificate; ipa/ with httpd's; krb5kdc/; both
CS.cfg with every certificate in them (Dogtag before 11.5); server.xml and ipa-pki-proxy.conf with one secret; the
entries of full_entries.py.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.lab import full_entries
from tests.lab.ca import TWO_YEARS, certificate_der, certificate_pem, key_of, key_pem, subject
from tests.lab.directory import NICKNAME
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.settings import DOMAIN, HOST
from tests.lab.tracked import ALL, HTTP, KDC, LDAP, PKI, PKI_SERVER, RA

if TYPE_CHECKING:
    from tests.lab.world import World

SUBSYSTEM = "subsystemCert cert-pki-ca"
HTTPD_PIN = "Httpd.123"
AJP_SECRET = "3vJ9mTq0pXw7"
# Of the KRA's CS.cfg, which FreeIPA never updates.
KRA_DIRECTIVES = {
    "auditSigningCert cert-pki-kra": "kra.audit_signing.cert",
    "transportCert cert-pki-kra": "kra.transport.cert",
    "storageCert cert-pki-kra": "kra.storage.cert",
    SUBSYSTEM: "kra.subsystem.cert",
    PKI_SERVER: "kra.sslserver.cert",
}

SERVER_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<Server port="8005" shutdown="SHUTDOWN">
  <Service name="Catalina">
    <Connector name="Secure" port="8443" protocol="HTTP/1.1" SSLEnabled="true" scheme="https" secure="true"/>
    <Connector port="8009" protocol="AJP/1.3" redirectPort="8443" address="localhost4" secret="{secret}"/>
    <Connector port="8009" protocol="AJP/1.3" redirectPort="8443" address="localhost6" secret="{secret}"/>
  </Service>
</Server>
"""

PROXY_CONF = """\
# Dogtag behind httpd
<LocationMatch "^/ca/ee/ca/checkRequest|^/ca/ee/ca/getCertChain|^/ca/ee/ca/profileSubmit">
    SSLOptions +StdEnvVars +ExportCertData +StrictRequire +OptRenegotiate
    SSLVerifyClient none
    ProxyPassMatch ajp://localhost:8009 secret={secret}
    ProxyPassReverse ajp://localhost:8009
</LocationMatch>
<LocationMatch "^/ca/agent/ca/displayBySerial|^/ca/agent/ca/doRevoke|^/ca/agent/ca/updateDomainXML">
    SSLOptions +StdEnvVars +ExportCertData +StrictRequire +OptRenegotiate
    SSLVerifyClient require
    ProxyPassMatch ajp://localhost:8009 secret={secret}
    ProxyPassReverse ajp://localhost:8009
</LocationMatch>
"""


class FullServer:
    """The part of a World that makes it full; used while the world is being built."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = ThreadPoolExecutor(2)
        for name in (LDAP, *ALL):  # OpenSSL makes them without the interpreter's lock
            self._keys.submit(key_of, name)

    def write_files(self, lifetime: timedelta) -> None:
        """Everything that is in files, NSS databases included."""
        world, settings = self._world, self._world.settings
        world._write_files(*(name for name in PKI if name != CA_NICKNAME), RA, lifetime=lifetime)
        self._keys.shutdown()
        settings.kra_cs_cfg.parent.mkdir()
        settings.kra_cs_cfg.write_text(
            "".join(f"{key}={_base64(world._shared[name])}\n" for name, key in KRA_DIRECTIVES.items())
        )
        # What tells a PKI before 11.5: it keeps the requests there, too.
        for path, tag in ((settings.cs_cfg, "ca.subsystem"), (settings.kra_cs_cfg, "kra.transport")):
            with open(path, "a", encoding="ascii") as cs_cfg:
                cs_cfg.write(f"{tag}.certreq={base64.b64encode(_request(SUBSYSTEM)).decode()}\n")
        _write(settings.server_xml, SERVER_XML.format(secret=AJP_SECRET), 0o660)
        _write(settings.proxy_conf, PROXY_CONF.format(secret=AJP_SECRET), 0o640)
        ssl_conf = settings.proxy_conf.with_name("ssl.conf")
        _write(ssl_conf, f"SSLCertificateFile {settings.httpd_certificate}\n", 0o644)
        _write(settings.httpd_pin_file, HTTPD_PIN, 0o600)
        for name, path, mode in ((HTTP, settings.httpd_certificate, 0o644), (KDC, settings.kdc_certificate, 0o644)):
            world._shared[name] = self.issue(name, lifetime)
            _write(path, certificate_pem(world._shared[name]), mode)
        _write(settings.httpd_key, encrypted_pem(key_of(HTTP), HTTPD_PIN), 0o600)
        _write(settings.kdc_key, key_pem(key_of(KDC)).decode(), 0o600)

    def issue(self, name: str, lifetime: timedelta = TWO_YEARS) -> x509.Certificate:
        """A certificate for httpd or the KDC."""
        dns = [HOST, f"ipa-ca.{DOMAIN}"] if name == HTTP else [HOST]
        key = key_of(name).public_key()
        return self._world.ca.issue(subject(HOST), key, lifetime=lifetime, server=True, dns=dns)

    def fill(self) -> None:
        """The entries."""
        world = self._world
        assert world.directory_server is not None
        own = world.directory_server.nss.certificate(NICKNAME)
        assert own is not None
        known = list(world._shared.values())
        full_entries.fill(world.directory_server.ldapi, world._shared, world.ca.certificate)
        world._shared[LDAP] = own
        world.directory_server.ldapi.add(*full_entries.records(world.ca.issued.values(), known))


def encrypted_pem(key: RSAPrivateKey, pin: str) -> str:
    """The private key as an encrypted PEM, as certmonger writes httpd.key."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(pin.encode())).decode()


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text)


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate_der(certificate)).decode()


def _request(nickname: str) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject("CA Subsystem"))
    return builder.sign(key_of(nickname), hashes.SHA256()).public_bytes(Encoding.DER)

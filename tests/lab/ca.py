# SPDX-License-Identifier: MIT
"""The test CA: ``CN=Certificate Authority,O=IPADOMAIN.COM``, as FreeIPA names it, issuing whatever a test needs.

ca = TestCA()
key = new_key()
certificate = ca.issue(subject("CA Subsystem"), key.public_key(), lifetime=timedelta(days=3))
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.settings import REALM

TWO_YEARS = timedelta(days=720)
TWENTY_YEARS = timedelta(days=7305)


def new_key() -> RSAPrivateKey:
    """A fresh RSA key of 2048 bits (about 60 ms)."""
    return generate_private_key(65537, 2048)


_keys: dict[str, RSAPrivateKey] = {}
_key_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def key_of(role: str) -> RSAPrivateKey:
    """The key of a role ("ipaCert", "Server-Cert", ...): made once a process, as worlds need no secrets.

    Several threads may ask at once: OpenSSL makes keys without the interpreter's lock.
    """
    with _key_locks[role]:
        if role not in _keys:
            _keys[role] = new_key()
        return _keys[role]


def key_pem(key: RSAPrivateKey) -> bytes:
    """The private key as an unencrypted PEM in the traditional form, which libcurl, NSS and GnuTLS all read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def certificate_pem(certificate: x509.Certificate) -> str:
    """The certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def certificate_der(certificate: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def subject(common_name: str, base: str = REALM) -> x509.Name:
    """``CN=<common_name>,O=<base>``, with O encoded first as FreeIPA and Dogtag encode it."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, base),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


class TestCA:
    """A self-signed CA that issues, numbers and remembers certificates (`issued`: by serial number).

    Serial numbers count up from `first_serial`; the CA's own certificate has serial 1. Safe to use from
    several threads.
    """

    __test__ = False  # for pytest: this is no test class

    def __init__(self, first_serial: int = 2) -> None:
        self.key = key_of("caSigningCert cert-pki-ca")
        self.name = subject("Certificate Authority")
        self.issued: dict[int, x509.Certificate] = {}
        self._next = first_serial
        self._lock = threading.Lock()
        self.certificate = self.self_sign()

    def self_sign(self, lifetime: timedelta = TWENTY_YEARS) -> x509.Certificate:
        """Issue the CA a (new) certificate for its own key; the first one has serial 1."""
        serial = 1 if not self.issued else self._take_serial()
        usage = _usage(key_cert_sign=True, crl_sign=True, digital_signature=True, content_commitment=True)
        builder = self._builder(self.name, self.key.public_key(), serial, lifetime, None)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return self._sign(builder.add_extension(usage, critical=True))

    def issue(
        self,
        name: x509.Name,
        public_key: CertificatePublicKeyTypes,
        *,
        lifetime: timedelta = TWO_YEARS,
        not_before: datetime | None = None,
        serial: int | None = None,
        server: bool = False,
        dns: Iterable[str] = (),
        authority: bool = False,
    ) -> x509.Certificate:
        """Issue a certificate that ends `lifetime` after now (negative: it has ended), valid from `not_before`
        (default: an hour ago, or a day before its end). `server` puts localhost, this machine's name and 127.0.0.1
        into the SAN: libldap compares a URL's localhost with the machine's name. `authority`: a CA below this one."""
        serial = self._take_serial() if serial is None else serial
        builder = self._builder(name, public_key, serial, lifetime, not_before)
        if authority:
            usage = _usage(key_cert_sign=True, crl_sign=True, digital_signature=True, content_commitment=True)
            extension: x509.ExtensionType = x509.BasicConstraints(ca=True, path_length=None)
        else:
            usage = _usage(digital_signature=True, key_encipherment=True)
            extension = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=True).add_extension(extension, critical=authority)
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in dns]
        if server:
            names = sorted({"localhost", socket.gethostname(), socket.getfqdn()})
            alternatives += [x509.DNSName(host) for host in names if x509.DNSName(host) not in alternatives]
            alternatives.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return self._sign(builder)

    def issue_for(
        self,
        request: x509.CertificateSigningRequest,
        lifetime: timedelta = TWO_YEARS,
        *,
        authority: bool = False,
        server: bool = False,
    ) -> x509.Certificate:
        """Issue what a signing request asks for: its subject, key and DNS names; a CA if it is the CA's own request,
        or if the profile is one for an `authority`. `server` as in `issue`."""
        if request.subject == self.name:
            return self.self_sign()
        return self.issue(
            request.subject,
            _public_key(request),
            dns=_dns_names(request),
            lifetime=lifetime,
            authority=authority,
            server=server,
        )

    # --- inside

    def _take_serial(self) -> int:
        with self._lock:
            self._next += 1
            return self._next - 1

    def _builder(
        self,
        name: x509.Name,
        public_key: CertificatePublicKeyTypes,
        serial: int,
        lifetime: timedelta,
        not_before: datetime | None,
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        end = now + lifetime
        start = not_before or min(now - timedelta(hours=1), end - timedelta(days=1))
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        certificate = builder.sign(self.key, hashes.SHA256())
        self.issued[certificate.serial_number] = certificate
        return certificate


def _usage(**wanted: bool) -> x509.KeyUsage:
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    names += " crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names.split()})


def _dns_names(request: x509.CertificateSigningRequest) -> list[str]:
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value.get_values_for_type(x509.DNSName))


def _public_key(request: x509.CertificateSigningRequest) -> CertificatePublicKeyTypes:
    key = request.public_key()
    if not isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)):
        raise ValueError(f"the lab's CA signs RSA and EC keys, not {type(key).__name__}")
    return key

# SPDX-License-Identifier: MIT
"""A small test CA, and requests and certificates as the decoders meet them."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOT_BEFORE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
NOT_AFTER = datetime(2028, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

# Written by certmonger 0.79.17: getcert request -f … -I plain -G EC -D plain -N CN=plain -L geheim123
CHALLENGE = "geheim123"
CERTMONGER_SPKI = (
    "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBME+slppZK8YVY2LJ/GRJ9a+/G7moSJPFU9tbL4T3/cTDXEeQC3TFcKu2XsXcf3W3Y63DQe78S1hn"
    "hp+7MTQYt5EBnDrjPl8bY5xc12BcHJAXDfXa2a5JZ9l91yMMZa6y+C4ZF5fz1gwYsNSbZI18/zOBY7/KSWHsv9bgPfEMrH3opqk="
)
CERTMONGER_CSR = """-----BEGIN CERTIFICATE REQUEST-----
MIIB2jCCATsCAQAwEDEOMAwGA1UEAxMFcGxhaW4wgZswEAYHKoZIzj0CAQYFK4EE
ACMDgYYABAEwT6yWmlkrxhVjYsn8ZEn1r78buahIk8VT21svhPf9xMNcR5ALdMVw
q7Zexdx/dbdjrcNB7vxLWGeGn7sxNBi3kQGcOuM+XxtjnFzXYFwckBcN9drZrkln
2X3XIwxlrrL4LhkXl/PWDBiw1JtkjXz/M4Fjv8pJYey/1uA98QysfeimqaCBhTAY
BgkqhkiG9w0BCQcxCxMJZ2VoZWltMTIzMBkGCSqGSIb3DQEJFDEMHgoAcABsAGEA
aQBuME4GCSqGSIb3DQEJDjFBMD8wEAYDVR0RBAkwB4IFcGxhaW4wDAYDVR0TAQH/
BAIwADAdBgNVHQ4EFgQUOoEMOwQPcUeVplF5JaIV2/P/PU4wCgYIKoZIzj0EAwID
gYwAMIGIAkIBwQ4WnYFmqiwbExhrW9M34DNG9cgh8n4mCtOaJc4n5NMxjzlDiTz3
Mt/8q0jk39+j5RNR5DLHvYmOnY6/9RDGSGsCQgCRPaxBzjC4maAtX4e9sfZRqh9E
UsparSGqDqtXbgdr5RdxBlMMzsSvWL35SCuCrU46oif+y7wOb8k0PX/D7F7uCg==
-----END CERTIFICATE REQUEST-----
"""
CERTMONGER_SPKI_SHA256 = "89b4a35dd94ef79110d57cd5654fd8125fd4605ca60d1b2d4d31158ac8de3f1d"

# UPN "host/a.example@EXAMPLE" and the KRB5PrincipalName of the same principal, in DER.
UPN = bytes.fromhex("0c16") + b"host/a.example@EXAMPLE"
KRB5 = (
    bytes.fromhex("302ca0091b07")
    + b"EXAMPLE"
    + bytes.fromhex("a11f301da003020103a11630141b04")
    + b"host"
    + (bytes.fromhex("1b0c") + b"a.example.co")
)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def bundle(*certificates: x509.Certificate) -> bytes:
    """A PKCS#7 bundle in DER: signed data without signatures (cryptography writes none before 37)."""

    def element(tag: int, *contents: bytes) -> bytes:
        inner = b"".join(contents)
        return bytes([tag, 0x84]) + len(inner).to_bytes(4, "big") + inner

    oid = bytes.fromhex("06092a864886f70d0107")
    signed = element(
        0x30,
        b"\x02\x01\x01",
        b"\x31\x00",
        b"\x30\x0b" + oid + b"\x01",
        element(0xA0, *map(der, certificates)),
        b"\x31\x00",
    )
    return element(0x30, oid + b"\x02", element(0xA0, signed))


def pem_block(label: str, data: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(data).decode()}-----END {label}-----\n".encode()


@dataclass(frozen=True)
class Authority:
    """A self-signed CA ``CN=Certificate Authority,O=IPADOMAIN.COM`` that issues to given keys."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls) -> Authority:
        key = new_key()
        return cls(key, _signed(_ca_name(), _ca_name(), key.public_key(), key, ca=True, serial=1))

    def issue(self, name: str, key: ec.EllipticCurvePrivateKey, serial: int = 10, ca: bool = False) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return _signed(subject, _ca_name(), key.public_key(), self.key, ca=ca, serial=serial)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _ca_name() -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "IPADOMAIN.COM"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Certificate Authority"),
        ]
    )


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    serial: int,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if not ca:
        names = [
            x509.DNSName("a.example"),
            x509.RFC822Name("root@a.example"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), UPN),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.2.2"), KRB5),
            x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01x"),
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.create()


@pytest.fixture(scope="session")
def key() -> ec.EllipticCurvePrivateKey:
    """The key of `leaf`."""
    return new_key()


@pytest.fixture(scope="session")
def leaf(authority: Authority, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """CN=a.example, issued by `authority`, serial 10, with names of every kind."""
    return authority.issue("a.example", key)

# SPDX-License-Identifier: MIT
"""One immutable `Certificate`, and what is read from a certificate signing request.

`cryptography` parses; what it refuses or warns about in certificates that NSS and certmonger accept (serial numbers
that are negative or zero, alternative names in odd encodings, BMPString attributes) is read from the DER itself.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import re
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Callable, TypeVar

from cryptography import x509

from certwitness.der import children, decimal, intact_children, oid_text, sequence, value_of
from certwitness.errors import CertificateError

T = TypeVar("T")

# cryptography warns about what NSS and certmonger accept (serial numbers that are not positive, NULL parameters, old
# ciphers). For good and for all threads: `warnings.catch_warnings` changes the filters of every thread.
warnings.filterwarnings("ignore", module=r"certwitness\.")

_FRIENDLY_NAME = "1.2.840.113549.1.9.20"
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 (the attribute's OID)
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_SAN, _BASIC_CONSTRAINTS, _SUBJECT_KEY_ID, _AUTHORITY_KEY_ID = "2.5.29.17", "2.5.29.19", "2.5.29.14", "2.5.29.35"
_UPN = "1.3.6.1.4.1.311.20.2.3"
_KRB5_PRINCIPAL = "1.3.6.1.5.2.2"
_STRINGS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be"}


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate. Two are equal when their DER is. Make one with `from_der` or `from_pem`."""

    der: bytes = field(repr=False)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read a certificate from DER with nothing after it. Raises CertificateError."""
        certificate = cls(bytes(der))
        _refuse("not a certificate", certificate.as_event)
        return certificate

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read the first certificate in PEM text; other text around it is ignored. Raises CertificateError."""
        return cls.from_der(_pem_body(pem, b"CERTIFICATE"))

    @cached_property
    def _x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @cached_property
    def _fields(self) -> list[tuple[int, bytes, bytes]]:
        """Serial number, signature algorithm, issuer, validity, subject, key, [extensions]: tag, contents, DER."""
        fields = list(children(sequence(self.der)[0][1]))
        return fields[1:] if fields[0][0] == 0xA0 else fields  # [0] is the version; 1 is not written

    @cached_property
    def _extensions(self) -> dict[str, bytes]:
        for tag, contents, _der in self._fields[6:]:
            if tag == 0xA3:
                return _extensions(contents)
        return {}

    @property
    def subject(self) -> str:
        """The subject as RFC 4514 text; ``#`` and its DER in hex where it cannot be decoded."""
        return _name(lambda: self._x509.subject, self._fields[4][2])

    @property
    def issuer(self) -> str:
        """The issuer, like `subject`."""
        return _name(lambda: self._x509.issuer, self._fields[2][2])

    @property
    def serial(self) -> int:
        """The serial number, of any size and sign."""
        return int.from_bytes(self._fields[0][1], "big", signed=True)

    @property
    def serial_text(self) -> str:
        """The serial number in decimal, as FreeIPA and Dogtag write it."""
        return decimal(self.serial)

    @property
    def not_before(self) -> datetime:
        """Start of validity, aware, UTC."""
        return _moment(self._x509, "not_valid_before")

    @property
    def not_after(self) -> datetime:
        """End of validity, aware, UTC."""
        return _moment(self._x509, "not_valid_after")

    @property
    def sha256(self) -> str:
        """Fingerprint: SHA-256 of the DER, hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo, hex: the same for every certificate and request of one key."""
        return hashlib.sha256(self._fields[5][2]).hexdigest()

    @property
    def sans(self) -> tuple[str, ...]:
        """Subject alternative names: ``DNS:``, ``EMAIL:``, ``IP:``, ``URI:``, ``UPN:``, ``KRB5:``, ``OTHERNAME:`` …"""
        return _alternative_names(self._extensions.get(_SAN))

    @property
    def is_ca(self) -> bool:
        """Whether basic constraints say that it is a CA's."""
        contents = value_of(self._extensions.get(_BASIC_CONSTRAINTS, b""))
        return bool(contents) and contents[:2] == b"\x01\x01" and contents[2:3] != b"\x00"

    def issued(self, other: Certificate) -> bool:
        """Whether this may have issued `other`, as certmonger judges it (pkcs7.c): by key identifiers or by name."""
        authority = value_of(other._extensions.get(_AUTHORITY_KEY_ID, b""))
        key_id = value_of(self._extensions.get(_SUBJECT_KEY_ID, b""))
        wanted = [contents for tag, contents, _der in intact_children(authority) if tag == 0x80]
        return (bool(key_id) and wanted == [key_id]) or self.subject.casefold() == other.issuer.casefold()

    def as_event(self) -> dict[str, Any]:
        """The certificate as events have it: serials as text (they exceed what JSON readers hold), times to seconds."""
        sign = "-" if self.serial < 0 else ""
        digits = f"{abs(self.serial):x}"
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial_text,
            "serial_hex": f"{sign}0x{'0' * (len(digits) % 2)}{digits}",
            "not_before": _text(self.not_before),
            "not_after": _text(self.not_after),
            "sha256": self.sha256,
            "spki_sha256": self.spki_sha256,
            "sans": list(self.sans),
            "is_ca": self.is_ca,
        }


@dataclass(frozen=True)
class SigningRequest:
    """What a PKCS#10 request asks for. Its challenge password is never kept, only that there is one."""

    subject: str  # RFC 4514
    friendly_name: str | None  # certmonger: the nickname in NSS databases, the request's ID for files
    spki_sha256: str
    key_type: str  # RSA, EC, DSA, or the class of the key; the algorithm's OID where it is unknown
    key_size: int | None  # bits
    sans: tuple[str, ...]
    has_challenge_password: bool

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningRequest:
        """Read the first request in PEM text, ``NEW CERTIFICATE REQUEST`` too. Raises CertificateError."""
        der = _pem_body(pem, rb"(?:NEW )?CERTIFICATE REQUEST")
        return _refuse("not a certificate signing request", lambda: cls._from_der(der))

    @classmethod
    def _from_der(cls, der: bytes) -> SigningRequest:
        request = x509.load_der_x509_csr(der)
        _version, subject, spki, *optional = children(sequence(der)[0][1])
        attributes: dict[str, list[tuple[int, bytes, bytes]]] = {}
        for _tag, contents, _der in [attribute for part in optional for attribute in children(part[1])]:
            oid, values = list(children(contents))[:2]
            attributes.setdefault(oid_text(oid[1]), list(children(values[1])))
        extensions = attributes.get(_EXTENSION_REQUEST)
        key_type, key_size = _key(request, spki[1])
        return cls(
            subject=_name(lambda: request.subject, subject[2]),
            friendly_name=_bmp_string(attributes.get(_FRIENDLY_NAME)),
            spki_sha256=hashlib.sha256(spki[2]).hexdigest(),
            key_type=key_type,
            key_size=key_size,
            sans=_alternative_names(_extensions(extensions[0][2]).get(_SAN)) if extensions else (),
            has_challenge_password=_CHALLENGE_PASSWORD in attributes,
        )


def _refuse(what: str, read: Callable[[], T]) -> T:
    """`read()`, with whatever a parser raises turned into a CertificateError of one line."""
    try:
        return read()
    except Exception as error:  # cryptography raises ValueError, TypeError, UnsupportedAlgorithm and its own
        reason = " ".join(str(error).split())[:200]
        raise CertificateError(f"{what}: {reason}" if reason else what) from error


def _pem_body(pem: bytes, label: bytes) -> bytes:
    found = re.search(rb"-----BEGIN " + label + rb"-----([^-]*)-----END " + label + rb"-----", pem)
    text = label.decode().replace("(?:NEW )?", "")
    if not found:
        raise CertificateError(f"no PEM block {text} in {len(pem)} bytes")
    try:
        return binascii.a2b_base64(found[1])
    except binascii.Error as error:
        raise CertificateError(f"PEM block {text} is not base64: {error}") from error


def _moment(certificate: x509.Certificate, name: str) -> datetime:
    if hasattr(x509.Certificate, name + "_utc"):  # from cryptography 42 on
        aware: datetime = getattr(certificate, name + "_utc")
        return aware
    naive: datetime = getattr(certificate, name)
    return naive.replace(tzinfo=timezone.utc)


def _text(moment: datetime) -> str:
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _name(read: Callable[[], x509.Name], der: bytes) -> str:
    try:
        return read().rfc4514_string()
    except Exception:  # a name that cryptography cannot decode is still a name
        return f"#{der.hex()}"


def _key(request: x509.CertificateSigningRequest, spki: bytes) -> tuple[str, int | None]:
    try:
        key = request.public_key()
    except Exception:  # an algorithm that cryptography does not know
        return oid_text(value_of(next(children(spki))[1])), None
    name = type(key).__name__.replace("PublicKey", "").lstrip("_")
    key_type = {"EllipticCurve": "EC"}.get(name, name.upper() if len(name) == 3 else name)
    return key_type, getattr(key, "key_size", None)


def _bmp_string(values: list[tuple[int, bytes, bytes]] | None) -> str | None:
    """The text of an attribute that is a BMPString; None where it is something else, or damaged."""
    if not values or values[0][0] != 0x1E:
        return None
    try:
        return values[0][1].decode("utf-16-be")
    except UnicodeDecodeError:
        return None


def _extensions(der: bytes) -> dict[str, bytes]:
    """Extensions as OID to DER of the value; the first wins where one is given twice."""
    found: dict[str, bytes] = {}
    for _tag, contents, _der in children(value_of(der)):
        oid, *_critical, value = children(contents)
        found.setdefault(oid_text(oid[1]), value[1])
    return found


def _alternative_names(der: bytes | None) -> tuple[str, ...]:
    return tuple(_general_name(tag, contents) for tag, contents, _der in intact_children(value_of(der or b"")))


def _general_name(tag: int, contents: bytes) -> str:
    if tag == 0xA0:
        return _other_name(contents)
    if tag in (0x81, 0x82, 0x86):
        text = contents.decode("ascii", "backslashreplace")
        return {0x81: "EMAIL:", 0x82: "DNS:", 0x86: "URI:"}[tag] + text
    if tag == 0x87 and len(contents) in (4, 16):
        return f"IP:{ipaddress.ip_address(contents)}"
    return f"{ {0xA4: 'DIRNAME', 0x87: 'IP', 0x88: 'RID'}.get(tag, 'OTHER') }:#{contents.hex()}"


def _other_name(contents: bytes) -> str:
    parts = list(intact_children(contents))
    oid = oid_text(parts[0][1]) if parts else "?"
    try:
        tag, value, _der = next(children(parts[1][1]))
        if oid == _UPN:
            return f"UPN:{value.decode(_STRINGS[tag])}"
        if oid == _KRB5_PRINCIPAL:
            return f"KRB5:{_kerberos_principal(value)}"
    except (IndexError, KeyError, StopIteration, ValueError):
        pass
    return f"OTHERNAME:{oid}"


def _kerberos_principal(contents: bytes) -> str:
    """KRB5PrincipalName (RFC 4556): realm [0], principalName [1] with its type [0] and its parts [1]."""
    realm, principal = (value_of(contents_) for _tag, contents_, _der in children(contents))
    parts = value_of(list(children(principal))[1][1])
    names = [part.decode() for _tag, part, _der in children(parts)]
    return f"{'/'.join(names)}@{realm.decode()}"

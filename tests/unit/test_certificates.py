# SPDX-License-Identifier: MIT
from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from certwitness.certificates import Certificate, SigningRequest
from certwitness.der import children, intact_children
from certwitness.errors import CertificateError
from tests.unit.conftest import CERTMONGER_CSR, CERTMONGER_SPKI_SHA256, CHALLENGE, Authority, der, pem

FRIENDLY_NAME_DER = bytes.fromhex("06092a864886f70d010914310c1e0a") + "plain".encode("utf-16-be")


def csr_with(old: bytes, new: bytes) -> bytes:
    """certmonger's request with bytes of its DER replaced by as many others (the signature is not checked)."""
    request = x509.load_pem_x509_csr(CERTMONGER_CSR.encode()).public_bytes(serialization.Encoding.DER)
    assert old in request
    assert len(old) == len(new)
    changed = request.replace(old, new)
    return x509.load_der_x509_csr(changed).public_bytes(serialization.Encoding.PEM)


def with_serial(leaf: x509.Certificate, contents: bytes) -> bytes:
    """`leaf` (serial 10) with another serial of one byte in its DER."""
    return der(leaf).replace(b"\x02\x01\x0a", b"\x02\x01" + contents, 1)


def test_every_field_of_a_certificate(leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """A certificate gives names, dates, digests and alternative names of every kind."""
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert Certificate.from_pem(pem(leaf)).as_event() == {
        "subject": "CN=a.example",
        "issuer": "CN=Certificate Authority,O=IPADOMAIN.COM",
        "serial": "10",
        "serial_hex": "0x0a",
        "not_before": "2026-01-02T03:04:05Z",
        "not_after": "2028-01-02T03:04:05Z",
        "sha256": hashlib.sha256(der(leaf)).hexdigest(),
        "spki_sha256": hashlib.sha256(spki).hexdigest(),
        "sans": [
            "DNS:a.example",
            "EMAIL:root@a.example",
            "IP:192.0.2.7",
            "UPN:host/a.example@EXAMPLE",
            "KRB5:host/a.example.co@EXAMPLE",
            "OTHERNAME:1.2.3.4",
        ],
        "is_ca": False,
    }


def test_dates_are_aware(leaf: x509.Certificate) -> None:
    """Dates are in UTC and know it."""
    assert Certificate.from_der(der(leaf)).not_after == datetime(2028, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_ca_is_told_from_leaf(authority: Authority, leaf: x509.Certificate) -> None:
    """A CA certificate says so, and is found to have issued what it issued."""
    ca, issued = Certificate.from_der(der(authority.certificate)), Certificate.from_der(der(leaf))
    assert ca.is_ca
    assert ca.issued(issued)
    assert not issued.issued(ca)


@pytest.mark.parametrize(
    ("contents", "serial", "text"),
    [(b"\xff", "-1", "-0x01"), (b"\x00", "0", "0x00"), (b"\x80", "-128", "-0x80"), (b"\x7f", "127", "0x7f")],
)
def test_serials_of_any_sign(leaf: x509.Certificate, contents: bytes, serial: str, text: str) -> None:
    """Serials that are zero or negative are read."""
    event = Certificate.from_der(with_serial(leaf, contents)).as_event()
    assert (event["serial"], event["serial_hex"]) == (serial, text)


def test_no_warning_leaks(leaf: x509.Certificate) -> None:
    """What cryptography thinks of such a serial is not shown to whoever runs a command."""
    program = (
        "import sys; from certwitness.certificates import Certificate;"
        "print(Certificate.from_der(sys.stdin.buffer.read()).as_event()['serial'])"
    )
    command = [sys.executable, "-W", "default", "-c", program]
    done = subprocess.run(command, input=with_serial(leaf, b"\xff"), capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"-1\n", b"")


def test_large_serial(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    """A serial of 159 bits keeps every digit."""
    number = (1 << 159) - 12345
    event = Certificate.from_der(der(authority.issue("big", key, serial=number))).as_event()
    assert event["serial"] == str(number)
    assert int(event["serial_hex"], 16) == number


def test_equality(leaf: x509.Certificate) -> None:
    """Two readings of one certificate are equal, and neither can be changed."""
    one = Certificate.from_der(der(leaf))
    assert one == Certificate.from_pem(b"text\n" + pem(leaf).replace(b"\n", b"\r\n") + b"\n")
    with pytest.raises(AttributeError):
        one.der = b""  # type: ignore[misc]


@pytest.mark.parametrize("data", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_errors_are_one_line(data: bytes) -> None:
    """What is no certificate raises CertificateError with one line."""
    for read in (Certificate.from_pem, Certificate.from_der, SigningRequest.from_pem):
        with pytest.raises(CertificateError) as caught:
            read(data)
        assert str(caught.value)
        assert "\n" not in str(caught.value)


def test_certmonger_request() -> None:
    """A request as certmonger writes it gives friendlyName, key, names, and only the fact of a challenge password."""
    request = SigningRequest.from_pem(CERTMONGER_CSR.encode() + b"\n")
    assert request == SigningRequest(
        subject="CN=plain",
        friendly_name="plain",
        spki_sha256=CERTMONGER_SPKI_SHA256,
        key_type="EC",
        key_size=521,
        sans=("DNS:plain",),
        has_challenge_password=True,
    )
    assert CHALLENGE not in repr(request)


def test_new_certificate_request() -> None:
    """The label NEW CERTIFICATE REQUEST is as good."""
    text = CERTMONGER_CSR.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
    assert SigningRequest.from_pem(text.encode()).friendly_name == "plain"


@pytest.mark.parametrize(
    ("contents", "name"),
    [
        ("1e0a" + "00e9006c00610069006e", "\u00e9lain"),  # BMPString
        ("1e0a" + "d8000061006200630064", None),  # half of a surrogate pair
        ("0c0a" + "6162636465666768696a", None),  # UTF8String: not what certmonger writes
    ],
)
def test_friendly_name_is_a_bmp_string(contents: str, name: str | None) -> None:
    """friendlyName is read from a BMPString; another type or damaged text gives None."""
    changed = FRIENDLY_NAME_DER[:-12] + bytes.fromhex(contents)
    assert SigningRequest.from_pem(csr_with(FRIENDLY_NAME_DER, changed)).friendly_name == name


@given(st.binary(max_size=2000), st.booleans())
def test_random_bytes_raise_nothing_else(data: bytes, wrapped: bool) -> None:
    """Random bytes give CertificateError and nothing else."""
    if wrapped:
        data = b"-----BEGIN CERTIFICATE REQUEST-----\n" + data + b"\n-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(CertificateError):
        SigningRequest.from_pem(data)


@given(st.data())
def test_damaged_certificates(leaf: x509.Certificate, data: st.DataObject) -> None:
    """A certificate with any byte changed is read or refused with CertificateError; what is read is JSON."""
    damaged = bytearray(der(leaf))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        event = Certificate.from_der(bytes(damaged)).as_event()
    except CertificateError:
        return
    json.dumps(event)


@pytest.mark.parametrize("damaged", [b"\x30\x05\x01", b"\x30", b"\x30\x80\x00\x00", b"\x1f\x81\x01\x00", b"\x30\x85"])
def test_damaged_der(damaged: bytes) -> None:
    """A DER element that does not fit its container is an error, or the end of what is intact."""
    with pytest.raises(ValueError):
        list(children(damaged))
    assert intact_children(b"\x05\x00" + damaged) == [(5, b"", b"\x05\x00")]

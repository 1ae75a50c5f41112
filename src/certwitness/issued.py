# SPDX-License-Identifier: MIT
"""Certificates found in the stdout of a helper that exited with 0, as certmonger finds them.

Each rule here was measured on certmonger 0.79.17 with one output per rule and agrees with its pkcs7.c and submit-e.c.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certwitness.certificates import Certificate
from certwitness.der import intact_children, oid_text, sequence
from certwitness.errors import CertificateError

_ENVELOPED = "1.2.840.113549.1.7.3"
_NESTING = 3
MOST_CERTIFICATES = 32  # more in one output is not looked at

NOT_ONE = "no certificate in PEM, DER, PKCS#7 or JSON"


@dataclass
class Found:
    """`leaf` (None: certmonger finds none) and the `others`, the `format` it came in, and why there is no leaf."""

    leaf: Certificate | None = None
    others: list[Certificate] = field(default_factory=list)
    format: str = "PEM"
    problem: str = ""
    only_certmonger_can_tell: bool = False  # enveloped data: the request's private key opens it


def find(stdout: bytes) -> Found:
    """The certificates in `stdout`. Never raises.

    A whole JSON object counts first: its ``certificate``, then ``chain`` and ``roots``. Otherwise: one DER certificate
    or PKCS#7 bundle with nothing after it; or PEM blocks of any label, if every byte of stdout is ASCII (up to a NUL),
    each BEGIN and END at the start of a line and in between nothing but base64 of either.
    """
    value = _json(stdout)
    if value is None:
        return _leaf_among(_in_bytes(stdout))
    if not isinstance(value, dict) or not isinstance(value.get("certificate"), str):
        return Found(format="JSON", problem='JSON without a "certificate" that is a string')
    found = _leaf_among(_in_bytes(value["certificate"].encode("utf-8", "surrogatepass")))
    found.format = "JSON"
    if found.problem:
        found.problem = f'"certificate" in the JSON: {found.problem}'
    for key in ("chain", "roots"):
        entries = value.get(key)
        for entry in entries[:MOST_CERTIFICATES] if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("certificate"), str):
                found.others += _in_bytes(entry["certificate"].encode("utf-8", "surrogatepass")).certificates
    return found


def unterminated(stdout: bytes) -> bool:
    """Whether a PEM block begins and no END follows: certmonger 0.79.17 then never ends looking for it.

    Its child process loops at full load, the request stays SUBMITTING, and nothing is logged.
    """
    value = _json(stdout)
    if value is not None:
        certificate = value.get("certificate") if isinstance(value, dict) else None
        stdout = certificate.encode("utf-8", "surrogatepass") if isinstance(certificate, str) else b""
    if not stdout.isascii():
        return False
    text = stdout.partition(b"\0")[0]
    position = 0
    while True:
        begin = text.find(b"-----BEGIN", position)
        if begin < 0:
            return False
        end = text.find(b"-----END", begin)
        if end < 0:
            return True
        position = _LINE_END.search(text, end).end()  # type: ignore[union-attr]  # it matches at the end, too


@dataclass
class _Collection:
    certificates: list[Certificate] = field(default_factory=list)
    format: str = "PEM"
    problem: str = ""
    enveloped: bool = False


def _json(stdout: bytes) -> Any:
    """stdout as one JSON document; None where it is none (``null`` is none to certmonger, too)."""
    try:
        return json.loads(stdout.decode())
    except (ValueError, RecursionError):
        return None


def _in_bytes(data: bytes, level: int = 0) -> _Collection:
    found = _binary(data)
    if found:
        return found
    found = _Collection()
    if level == _NESTING:
        found.problem = "PEM within PEM within PEM"
    elif not data.isascii():
        found.problem = "text with bytes that are not ASCII: certmonger looks for no PEM in it"
    else:
        _pem(data.partition(b"\0")[0], level, found)
    return found


def _binary(data: bytes) -> _Collection | None:
    """A PKCS#7 bundle or a certificate in DER; None where `data` is neither."""
    try:
        first = sequence(data)[:1]
    except (StopIteration, ValueError, RuntimeError):
        return None
    if first and first[0][0] == 0x06:
        if oid_text(first[0][1]) == _ENVELOPED:
            return _Collection(format="PKCS7", problem="enveloped PKCS#7, only certmonger can open it", enveloped=True)
        if len(intact_children(data)) == 1:
            return _pkcs7(data)
    try:
        return _Collection([Certificate.from_der(data)], "DER")
    except CertificateError:
        return None


def _pkcs7(der: bytes) -> _Collection:
    try:
        bundle = pkcs7.load_der_pkcs7_certificates(der)
        ders = [certificate.public_bytes(Encoding.DER) for certificate in bundle[:MOST_CERTIFICATES]]
        return _Collection([Certificate.from_der(der) for der in ders], "PKCS7")
    except Exception as error:  # ValueError, UnsupportedAlgorithm and, in old versions, errors of OpenSSL
        return _Collection(format="PKCS7", problem=f"PKCS#7 that cannot be read: {' '.join(str(error).split())[:200]}")


def _pem(text: bytes, level: int, found: _Collection) -> None:
    """Collect what the PEM blocks in `text` hold, or say why it is nothing."""
    position, blocks = 0, 0
    while len(found.certificates) < MOST_CERTIFICATES:
        begin = text.find(b"-----BEGIN", position)
        end = text.find(b"-----END", begin)
        if begin < 0 or end < 0:
            break
        blocks += 1
        position = _LINE_END.search(text, end).end()  # type: ignore[union-attr]  # it matches at the end, too
        der = _from_base64(_body(text[begin:position]))
        if der:
            inner = _in_bytes(der, level + 1)
            found.certificates += [one for one in inner.certificates if one not in found.certificates]
            found.enveloped = found.enveloped or inner.enveloped
            if inner.format == "PKCS7":
                found.format = "PKCS7"
                found.problem = inner.problem
    if found.certificates:
        found.problem = ""
    elif begin >= 0:
        found.problem = "a PEM block begins and never ends: certmonger hangs"
    elif blocks:
        found.problem = found.problem or "a PEM block that holds no certificate, or has lost its line breaks"
    elif _from_base64(text.strip()):
        found.problem = "base64 without BEGIN and END lines"
    else:
        found.problem = NOT_ONE


_LINE_END = re.compile(rb"[\r\n]+|\Z")


def _body(block: bytes) -> bytes:
    """What stands between the line of BEGIN and the first line that starts with END; empty where no line does."""
    lines = block.splitlines()[1:]
    for number, line in enumerate(lines):
        if line.startswith(b"-----END"):
            return b"\n".join(lines[:number])
    return b""


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return b""


def _leaf_among(collection: _Collection) -> Found:
    """The certificate that issued none of the others is the leaf, as certmonger has it; the first such."""
    certificates = collection.certificates
    found = Found(format=collection.format, problem=collection.problem, only_certmonger_can_tell=collection.enveloped)
    for one in certificates:
        others = [other for other in certificates if other is not one]
        if not any(one.issued(other) for other in others):
            found.leaf, found.others = one, others
            return found
    if certificates:
        found.problem = "none of the certificates is the leaf: each issued another, or bears its issuer's name"
        found.others = certificates
    return found

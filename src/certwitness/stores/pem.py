# SPDX-License-Identifier: MIT
"""Certificates and private keys in PEM files: what is in them, and who may read them."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from certwitness.certificates import Certificate
from certwitness.errors import CertificateError, StoreError
from certwitness.stores import regular_file
from certwitness.stores.pin import Pin

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, InternalError)
_DEK = re.compile(rb"^DEK-Info: *([A-Z0-9-]+)", re.MULTILINE)
_USUAL = (b"AES-128-CBC", b"AES-192-CBC", b"AES-256-CBC", b"DES-EDE3-CBC")
# aes128-CBC, aes192-CBC, aes256-CBC (2.16.840.1.101.3.4.1), des-EDE3-CBC, pbeWithSHAAnd3-KeyTripleDES-CBC
_USUAL_IDENTIFIERS = tuple(
    bytes.fromhex(f"06{len(text) // 2:02x}{text}")
    for text in ("608648016503040102", "608648016503040116", "60864801650304012a",
                 "2a864886f70d0307", "2a864886f70d010c0103")
)  # fmt: skip
_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class PemFile:
    """The certificates of a file, in its order: a service takes the first as its own.

    `missing`: there is no such file. `problem`: one line about what is no certificate there, "" if nothing; then
    `certificates` are those before it. `mode`: permission bits.
    """

    path: str
    certificates: tuple[Certificate, ...]
    owner: str
    group: str
    mode: int
    missing: bool = False
    problem: str = ""


@dataclass(frozen=True)
class PemKey:
    """A private key's file: `spki_sha256` as Certificate has it, None with `missing` or a `problem` (one line, such as
    ``wrong PIN``). The key itself is not kept."""

    path: str
    spki_sha256: str | None
    owner: str
    group: str
    mode: int
    missing: bool = False
    problem: str = ""


def read(path: str) -> PemFile:
    """Read all certificates in PEM; other text is skipped. Raises StoreError: not permitted, no regular file, too large
    (1 MiB)."""
    file = regular_file.read(path)
    if file is None:
        return PemFile(path, (), "", "", 0, missing=True)
    certificates, problem = _certificates(file.data)
    return PemFile(path, certificates, file.owner, file.group, file.mode, problem=problem)


def read_key(path: str, pin: Pin | None) -> PemKey:
    """Read a private key: PKCS#1, PKCS#8 or SEC 1 (EC), in clear or encrypted with `pin`. Raises as `read` does."""
    file = regular_file.read(path)
    if file is None:
        return PemKey(path, None, "", "", 0, missing=True)
    spki_sha256, problem = _public_part(path, file.data, pin)
    return PemKey(path, spki_sha256, file.owner, file.group, file.mode, problem=problem)


def _certificates(data: bytes) -> tuple[tuple[Certificate, ...], str]:
    found: list[Certificate] = []
    first, *blocks = data.split(_BEGIN)
    if not blocks:
        return (), _no_pem(first)
    for number, block in enumerate(blocks, 1):
        try:
            found.append(Certificate.from_pem(_BEGIN + block))
        except CertificateError as error:
            reason = str(error) if _END in block else "its END line is missing"
            return tuple(found), f"certificate {number} of {len(blocks)} cannot be read: {reason}"
    return tuple(found), ""


def _no_pem(data: bytes) -> str:
    if not data.strip():
        return "the file is empty"
    try:
        Certificate.from_der(data)
    except CertificateError:
        return "there is no PEM certificate in it"
    return "the certificate is DER, not PEM"


def _load(pem: bytes, password: bytes | None) -> Any:
    """The private key. An RSA key proves itself by a signature (1 ms): OpenSSL's own check of its primes, which
    cryptography can leave out from 39 on, takes 90 ms. Raises InvalidSignature, and what the library raises."""
    try:
        key: Any = load_pem_private_key(pem, password, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        if "unsafe_skip_rsa_key_validation" not in str(error):
            raise
        return load_pem_private_key(pem, password)
    if isinstance(key, RSAPrivateKey):
        try:
            key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())
        except ValueError as error:  # OpenSSL would not even sign: no sign of a wrong password
            raise InvalidSignature from error
    return key


def _is_usual(block: bytes) -> bool:
    """Whether a key is encrypted by AES or 3DES in CBC, so that a failure means the wrong PIN: in its header, or as the
    object identifier of the cipher, with PBES2 or PKCS#12's own."""
    header = _DEK.search(block)
    if header:
        return header[1] in _USUAL
    lines = [line for line in block.splitlines() if line and not line.startswith(b"-----")]
    try:
        der = base64.b64decode(b"".join(lines), validate=True)
    except ValueError:
        return True  # damaged: OpenSSL could not read it either
    return any(identifier in der[:200] for identifier in _USUAL_IDENTIFIERS)


def _public_part(path: str, data: bytes, pin: Pin | None) -> tuple[str | None, str]:
    """SHA-256 of the public key, or why there is none. Raises StoreError: whether there is one cannot be known here."""
    block = _KEY.search(data)
    if block is None:
        return None, "there is no PEM private key in it" if data.strip() else "the file is empty"
    encrypted = block[1] == b"ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block[0][:200]
    if encrypted and pin is None:
        return None, "the key is encrypted, and no PIN is given"
    try:
        key = _load(block[0], pin.reveal() if pin and encrypted else None)
    except _UNREADABLE as error:
        if encrypted and not _is_usual(block[0]):
            told = "its key is encrypted in a way that cryptography does not know: openssl pkey -noout -in tells more"
            raise StoreError(path, told) from None
        if encrypted and isinstance(error, (ValueError, TypeError)):
            return None, "wrong PIN"
        # Not the library's own words: they may quote what they tripped over.
        return None, f"the private key cannot be read ({type(error).__name__})"
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest(), ""

# SPDX-License-Identifier: MIT
from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certwitness.errors import StoreError
from certwitness.stores import pem as store
from certwitness.stores.pin import Pin
from tests.unit.conftest import Authority, der, pem, pem_block

PASSWORD = "the pinfile's content"
CLEAR = NoEncryption()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def text_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: str, how: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, getattr(PrivateFormat, form), how)


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_all_certificates_of_a_file(
    tmp_path: Path, authority: Authority, leaf: x509.Certificate, newline: bytes
) -> None:
    """Several certificates with text around them are read in the file's order, with LF or CRLF."""
    file = tmp_path / "bundle.pem"
    content = b"subject: a\n" + pem(leaf) + b"\nissuer - the CA:\n" + pem(authority.certificate) + b"end\n"
    file.write_bytes(content.replace(b"\n", newline))
    file.chmod(0o640)
    found = store.read(str(file))
    assert [certificate.der for certificate in found.certificates] == [der(leaf), der(authority.certificate)]
    assert (found.problem, found.missing, found.mode) == ("", False, 0o640)
    assert found.owner == file.owner()
    assert found.group == file.group()


def test_a_link_is_followed(tmp_path: Path, leaf: x509.Certificate) -> None:
    """A symbolic link gives the file behind it."""
    (tmp_path / "real.pem").write_bytes(pem(leaf))
    (tmp_path / "link.pem").symlink_to("real.pem")
    assert [c.der for c in store.read(str(tmp_path / "link.pem")).certificates] == [der(leaf)]


def test_no_file_is_no_error(tmp_path: Path) -> None:
    """A missing file, and a link to nowhere, are missing: that is a finding, not a failure to look."""
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("absent", "link"):
        found, key = store.read(str(tmp_path / name)), store.read_key(str(tmp_path / name), None)
        assert (found.missing, found.certificates, found.problem) == (True, (), "")
        assert (key.missing, key.spki_sha256, key.problem) == (True, None, "")


def test_what_is_no_certificate_is_a_problem(tmp_path: Path, leaf: x509.Certificate) -> None:
    """DER, an empty file, other text, broken base64 and a missing END line are told apart."""
    good = pem(leaf)
    cases = {
        "the certificate is DER, not PEM": der(leaf),
        "the file is empty": b" \n",
        "there is no PEM certificate in it": b"nothing here\n",
        "certificate 1 of 1 cannot be read: its END line is missing": good.replace(b"-----END", b"-----FIN"),
        "certificate 2 of 2 cannot be read: not a certificate": good + pem_block("CERTIFICATE", b"none"),
    }
    for problem, content in cases.items():
        (tmp_path / "x.pem").write_bytes(content)
        found = store.read(str(tmp_path / "x.pem"))
        assert found.problem.startswith(problem)
        assert "\n" not in found.problem
        assert len(found.certificates) == (1 if " 2 of " in problem else 0)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, a directory, a socket and a device are refused, and nothing hangs."""
    os.mkfifo(tmp_path / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, words in (("fifo", "is a FIFO"), ("", "is a directory"), ("zero", "is a device"), ("socket", "cannot")):
        for read in (store.read, lambda path: store.read_key(path, None)):
            with pytest.raises(StoreError, match=words):
                read(str(tmp_path / name))
    listening.close()


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """More than 1 MiB is not read."""
    (tmp_path / "huge").write_bytes(b"x" * (1 << 20))
    assert store.read(str(tmp_path / "huge")).problem
    (tmp_path / "huge").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(StoreError, match="larger than 1 MiB"):
        store.read(str(tmp_path / "huge"))


def test_a_file_below_a_file_and_a_name_with_nul_are_refused(tmp_path: Path) -> None:
    """Paths that cannot be opened are a StoreError, not a traceback."""
    (tmp_path / "file").write_text("")
    for path in (str(tmp_path / "file" / "x"), str(tmp_path / "a\0b")):
        with pytest.raises(StoreError, match="cannot be read"):
            store.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """No permission is a StoreError: nothing is known about the certificate."""
    (tmp_path / "secret").write_text("")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(StoreError, match="Permission denied"):
        store.read(str(tmp_path / "secret"))


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("encrypted", [True, False])
def test_keys_of_every_form(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey, key: ec.EllipticCurvePrivateKey, form: str, encrypted: bool
) -> None:
    """RSA and EC keys, PKCS#8 or traditional, in clear or encrypted, give their public key's digest."""
    how = BestAvailableEncryption(PASSWORD.encode()) if encrypted else CLEAR
    for one in (rsa_key, key):
        file = tmp_path / "x.key"
        file.write_bytes(b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n")
        with open(file, "ab") as stream:
            stream.write(text_of(one, form, how))
        file.chmod(0o600)
        found = store.read_key(str(file), Pin.from_text(PASSWORD))
        assert (found.spki_sha256, found.problem, found.mode) == (spki(one), "", 0o600)


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_wrong_pin_for_a_key(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, form: str) -> None:
    """A wrong, an empty and no PIN are problems in words; neither the PIN nor the key is in the result."""
    file = tmp_path / "x.key"
    file.write_bytes(text_of(rsa_key, form, BestAvailableEncryption(PASSWORD.encode())))
    for pin, problem in (
        (Pin.from_text("Not.The.PIN"), "wrong PIN"),
        (Pin.from_text(""), "wrong PIN"),
        (None, "the key is encrypted, and no PIN is given"),
    ):
        found = store.read_key(str(file), pin)
        assert (found.spki_sha256, found.problem) == (None, problem)
        assert "Not.The.PIN" not in repr(found)


def test_what_is_no_key_is_a_problem(tmp_path: Path, key: ec.EllipticCurvePrivateKey, leaf: x509.Certificate) -> None:
    """An empty file, a certificate and a damaged key are problems, not errors."""
    damaged = text_of(key, "PKCS8", CLEAR).replace(b"\nM", b"\nQ", 1)
    for content, problem in (
        (b"", "the file is empty"),
        (pem(leaf), "there is no PEM private key in it"),
        (damaged, "the private key cannot be read"),
    ):
        (tmp_path / "x.key").write_bytes(content)
        assert store.read_key(str(tmp_path / "x.key"), None).problem.startswith(problem)


@pytest.mark.parametrize("pin", [None, Pin.from_text("secret")], ids=["clear", "encrypted"])
def test_an_rsa_key_that_cannot_sign_is_a_problem(tmp_path: Path, pin: Pin | None) -> None:
    """Its modulus fits the certificate, its private exponents do not. It is no wrong PIN."""
    right = rsa.generate_private_key(65537, 2048).private_numbers()
    exponents = (right.d - 2, right.dmp1 - 2, right.dmq1 - 2)
    wrong = rsa.RSAPrivateNumbers(right.p, right.q, *exponents, right.iqmp, right.public_numbers)
    try:
        key = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError):
        pytest.skip("this cryptography makes no such key")
    protection = BestAvailableEncryption(pin.reveal()) if pin else NoEncryption()
    file = tmp_path / "x.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    found = store.read_key(str(file), pin)
    assert (found.spki_sha256, found.problem) == (None, "the private key cannot be read (InvalidSignature)")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
@pytest.mark.parametrize(
    "form", ["pkcs8 -topk8 -v2 camellia-256-cbc", "ec -camellia256", "pkcs8 -topk8 -v2 aes-256-cfb"]
)
def test_an_encryption_that_openssl_alone_knows_proves_nothing(tmp_path: Path, form: str) -> None:
    """A service opens it: that is no wrong PIN."""
    key, pin = tmp_path / "key", tmp_path / "pin"
    key.write_bytes(text_of(ec.generate_private_key(ec.SECP256R1()), "TraditionalOpenSSL", CLEAR))
    pin.write_text(PASSWORD)
    command = ["openssl", *form.split(), "-in", str(key), "-out", str(tmp_path / "new"), "-passout", f"file:{pin}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this openssl does not know it either")
    with pytest.raises(StoreError, match="encrypted in a way"):
        store.read_key(str(tmp_path / "new"), Pin.from_file(str(pin)))

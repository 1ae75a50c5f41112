# SPDX-License-Identifier: MIT
"""CS.cfg and password.conf are read as Dogtag does, and no password is shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.stores import cs_cfg
from tests.unit.conftest import der

KEY = "ca.subsystem.cert"


def write(directory: Path, text: str | bytes) -> str:
    """A CS.cfg with this content."""
    path = directory / "CS.cfg"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_only_the_first_equals_sign_separates(tmp_path: Path) -> None:
    """base64 and DNs keep their own."""
    values = cs_cfg.read(write(tmp_path, "a=b=c==\n  internaldb.basedn = o=ipaca \nempty=\n"))
    assert values == {"a": ("b=c==",), "internaldb.basedn": ("o=ipaca",), "empty": ("",)}


def test_all_values_of_a_key_are_kept_in_order(tmp_path: Path) -> None:
    """A key that is there twice keeps both, the last of which counts."""
    assert cs_cfg.read(write(tmp_path, "k=1\nother=x\nk=2\n"))["k"] == ("1", "2")


def test_carriage_returns_comments_and_odd_lines_do_no_harm(tmp_path: Path) -> None:
    """CRLF is taken off, comments and lines without a key are skipped, odd bytes and separators stay in the value."""
    text = b"\xef\xbb\xbf#first\r\n# a=b\r\n!c=d\r\nline\r\n=x\r\nk=v\r\nn=caf\xe9\x0cx\xe2\x80\xa8y=1"
    assert cs_cfg.read(write(tmp_path, text)) == {"k": ("v",), "n": ("caf\ufffd\x0cx\u2028y=1",)}


def test_a_certificate_is_read_from_one_line(leaf: x509.Certificate) -> None:
    """base64 DER, blanks within it ignored; the last value counts."""
    text = base64.b64encode(der(leaf)).decode()
    assert cs_cfg.certificate({KEY: (text,)}, KEY) == Certificate(der(leaf))
    assert cs_cfg.certificate({KEY: ("rubbish", f"{text[:64]} {text[64:]}")}, KEY) == Certificate(der(leaf))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        ("%%%", "is not base64"),
        ("abc", "is not base64"),
        ("größe", "is not base64"),
        ("AAAA", "is not a certificate"),
    ],
)
def test_what_is_no_certificate_is_said_in_words(value: str, words: str) -> None:
    """A damaged value is neither a certificate nor a missing one."""
    found = cs_cfg.certificate({KEY: (value,)}, KEY)
    assert isinstance(found, str)
    assert found.startswith(f"{KEY} {words}")
    assert "\n" not in found


def test_a_key_that_is_not_there_has_no_certificate() -> None:
    """From PKI 11.5 on the keys are gone."""
    assert cs_cfg.certificate({}, KEY) is None


def test_passwords_are_read_and_never_shown(tmp_path: Path) -> None:
    """The mapping gives a password to who asks for it by name; its text shows names only."""
    path = write(tmp_path, "internal=Secret=1\nhardware-HSM one=geheim\ninternaldb=\n")
    passwords = cs_cfg.password_conf(path)
    assert dict(passwords) == {"internal": "Secret=1", "hardware-HSM one": "geheim", "internaldb": ""}
    shown = f"{passwords!r} {passwords} {passwords!s:>90}"
    assert "internal" in shown
    assert "Secret" not in shown
    assert "geheim" not in shown


@pytest.mark.parametrize("read", [cs_cfg.read, cs_cfg.password_conf])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: object) -> None:
    """No file, a directory, and more than 1 MiB each give one line with the path."""
    assert callable(read)
    big = write(tmp_path, b"a=b\n" * (1 << 18) + b"x")
    for path, words in ((str(tmp_path / "none"), "no such file"), (str(tmp_path), "directory"), (big, "1 MiB")):
        with pytest.raises(StoreError, match=words) as raised:
            read(path)
        assert str(raised.value).startswith(f"{path}: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary())
def test_any_bytes_are_read(tmp_path: Path, data: bytes) -> None:
    """No content makes it fail, and every value can be asked for a certificate."""
    values = cs_cfg.read(write(tmp_path, data))
    assert all(not isinstance(cs_cfg.certificate(values, key), Certificate) for key in values)

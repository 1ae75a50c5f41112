# SPDX-License-Identifier: MIT
"""certmap.conf is read as 389-ds reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.errors import StoreError
from certwitness.stores import certmap
from certwitness.stores.certmap import CertMap

FREEIPA = """\
# VERSION 3 - DO NOT REMOVE THIS LINE
certmap default         default
default:DNComps
default:FilterComps     uid
#default:verifycert     on

certmap ipaca           CN=Certificate Authority,O=IPADOMAIN.COM
ipaca:CmapLdapAttr      seeAlso
ipaca:verifycert        on
"""


def write(directory: Path, text: str | bytes) -> str:
    """A certmap.conf with this content."""
    path = directory / "certmap.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_freeipas_mappings(tmp_path: Path) -> None:
    """Names, issuers and properties, in order; comments are none."""
    assert certmap.read(write(tmp_path, FREEIPA)) == (
        CertMap("default", "default", {"dncomps": "", "filtercomps": "uid"}),
        CertMap("ipaca", "CN=Certificate Authority,O=IPADOMAIN.COM", {"cmapldapattr": "seeAlso", "verifycert": "on"}),
    )


def test_the_first_value_of_a_property_counts(tmp_path: Path) -> None:
    """As in 389-ds, which stops looking at the first."""
    text = "certmap ipaca CN=a\nipaca:verifycert off\nipaca:VerifyCert on\n"
    assert certmap.read(write(tmp_path, text))[0].properties == {"verifycert": "off"}


def test_blanks_colons_and_carriage_returns(tmp_path: Path) -> None:
    """389-ds takes tabs, blanks for the colon, and several of them; an issuer keeps its own blanks and colons."""
    text = "certmap\tx \t CN=a: b, O=c\r\nx: \tCmapLdapAttr\tseeAlso\r\nx verifycert on\r\n"
    assert certmap.read(write(tmp_path, text)) == (
        CertMap("x", "CN=a: b, O=c", {"cmapldapattr": "seeAlso", "verifycert": "on"}),
    )


def test_a_mapping_may_be_there_twice(tmp_path: Path) -> None:
    """Both are kept: 389-ds looks for the issuer in both."""
    found = certmap.read(write(tmp_path, "certmap x CN=a\nx:p 1\ncertmap x CN=b\nx:p 2\n"))
    assert [(mapping.issuer, mapping.properties) for mapping in found] == [("CN=a", {"p": "1"}), ("CN=b", {"p": "2"})]


def test_an_empty_file_has_no_mapping(tmp_path: Path) -> None:
    """No mapping is no error."""
    assert certmap.read(write(tmp_path, "\n# nothing\n")) == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ipaca:verifycert on\n", 1),
        ("certmap ipaca CN=a\n\nother:verifycert on\n", 3),
        ("certmap ipaca\n", 1),
        ("certmap\n", 1),
        ("certmap ipaca CN=a\nipaca:\n", 2),
        ("certmap ipaca CN=a\nIPACA:verifycert on\n", 2),
        ("rubbish\n", 1),
    ],
)
def test_what_389_ds_would_refuse_is_named_by_line(tmp_path: Path, text: str, line: int) -> None:
    """The error says which line."""
    with pytest.raises(StoreError, match=f"line {line} "):
        certmap.read(write(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(StoreError, match="no such file"):
        certmap.read(str(tmp_path / "none"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary() | st.text("certmap :\n\tx").map(str.encode))
def test_any_bytes_are_mappings_or_an_error(tmp_path: Path, data: bytes) -> None:
    """No content is a traceback."""
    path = write(tmp_path, data)
    try:
        certmap.read(path)
    except StoreError:
        pass

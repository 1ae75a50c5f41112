# SPDX-License-Identifier: MIT
"""What entries say, without a server: values that are odd, and a machine without python-ldap."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.stores import directory
from certwitness.stores.directory import Directory, Entry
from tests.unit.conftest import der


def entry(**attributes: list[bytes]) -> Entry:
    """An entry of a user."""
    return Entry("uid=x,ou=people,o=ipaca", {name: tuple(values) for name, values in attributes.items()})


def test_values_are_told_apart(leaf: x509.Certificate) -> None:
    """Certificates are those that can be read, the others are counted; any spelling of an attribute's name will do."""
    found = entry(usercertificate=[b"", der(leaf), b"0\x82", der(leaf) + b"more"], uid=[b"x", b"\xff", "ä".encode()])
    assert found.certificates("userCertificate") == (Certificate(der(leaf)),)
    assert found.unreadable("userCertificate") == 3
    assert found.texts("UID") == ("x", "\\xff", "ä")
    assert (found.texts("cn"), found.certificates("cn"), found.unreadable("cn")) == ((), (), 0)


def test_an_option_is_another_attribute(leaf: x509.Certificate) -> None:
    """``userCertificate;binary`` is not ``userCertificate``: their readers differ."""
    found = entry(**{"usercertificate;binary": [der(leaf)]})
    assert found.certificates("userCertificate") == ()
    assert len(found.certificates("userCertificate;binary")) == 1


def test_values_are_not_in_an_entrys_text(leaf: x509.Certificate) -> None:
    """A log gets the DN."""
    assert repr(entry(usercertificate=[der(leaf)])) == "Entry(dn='uid=x,ou=people,o=ipaca')"


def test_a_person_by_uid() -> None:
    """Whatever the case, and whichever of several values."""
    people = (entry(uid=[b"pkidbuser"]), entry(uid=[b"other", b"ipaRA"]), entry())
    none: tuple[Entry, ...] = ()
    found = Directory("dn: x", "dc=x", {}, people, none, none, None, none, None, None, False, {}, {})
    assert found.person("IPAra") is people[1]
    assert found.person("ipakra") is None


@given(st.lists(st.binary()))
def test_any_values_are_read(values: list[bytes]) -> None:
    """No value is a traceback."""
    found = entry(a=values)
    assert found.unreadable("a") + len(found.certificates("a")) == len(found.texts("a")) == len(values)


def test_python_ldap_is_imported_only_to_read() -> None:
    """It costs more than the rest together, and names are compared without it."""
    program = "import sys; from certwitness.stores import directory; print([m for m in sys.modules if 'ldap' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_python_ldap_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, no traceback."""
    monkeypatch.setitem(sys.modules, "ldap", None)
    with pytest.raises(StoreError, match=r"^directory: .*install python-ldap"):
        directory.read("ldapi://%2Fnone", "dc=x", list)

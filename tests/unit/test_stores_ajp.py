# SPDX-License-Identifier: MIT
"""Apache's and Tomcat's AJP secrets are compared and never given away."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness.errors import StoreError
from certwitness.stores.ajp import secrets_agree

SERVER = """<?xml version="1.0" encoding="UTF-8"?>
<Server port="8005" shutdown="SHUTDOWN"><Service name="Catalina">
  <Connector name="Secure" port="8443" protocol="org.dogtagpki.tomcat.Http11NioProtocol" secret="unused"/>
  <!-- <Connector port="8009" protocol="AJP/1.3" secret="old"/> -->
{connectors}
</Service></Server>
"""
CONNECTOR = '<Connector port="8009" protocol="AJP/1.3" redirectPort="8443" address="{address}" {secret}/>'
PROXY = """\
# VERSION 17 - DO NOT REMOVE THIS LINE
ProxyRequests Off
<LocationMatch "^/ca/ee/ca/checkRequest">
    SSLVerifyClient none
    ProxyPassMatch ajp://localhost:8009 {first}
    ProxyPassReverse ajp://localhost:8009
</LocationMatch>
<LocationMatch "^/ca/agent/ca/displayBySerial">
    proxypassmatch ajp://localhost:8009 {second}
    # ProxyPassMatch ajp://localhost:8009 secret=old
</LocationMatch>
"""


class Files:
    """A server.xml and an ipa-pki-proxy.conf."""

    def __init__(self, directory: Path) -> None:
        self.server, self.proxy = directory / "server.xml", directory / "ipa-pki-proxy.conf"

    def agree(self, connectors: list[str], proxied: list[str]) -> bool | None:
        """With these attributes of the connectors, and these words on the two lines of Apache."""
        addresses = ("localhost4", "localhost6")
        lines = (CONNECTOR.format(address=a, secret=s) for a, s in zip(addresses, connectors))
        self.server.write_text(SERVER.format(connectors="\n".join(lines)))
        self.proxy.write_text(PROXY.format(first=proxied[0], second=proxied[1]))
        return self.compare()

    def compare(self) -> bool | None:
        """As they are."""
        return secrets_agree(str(self.server), str(self.proxy))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Both files in a directory of their own."""
    return Files(tmp_path)


A, B, OLD = 'secret="A"', 'secret="B"', 'requiredSecret="A"'
BOTH = ["secret=A", "secret=A"]


@pytest.mark.parametrize(
    ("connectors", "proxied", "agree"),
    [
        ([A, A], BOTH, True),
        ([A], BOTH, True),
        ([OLD, OLD], BOTH, True),
        ([f"{A} {OLD}", A], BOTH, True),
        ([A, A], ['"secret=A"', "retry=0 secret=A timeout=5"], True),
        ([A, A], ["\\\n   secret=A", "secret=A"], True),
        ([A, B], BOTH, False),
        ([B, B], BOTH, False),
        ([f'{A} requiredSecret="B"', A], BOTH, False),
        ([A, A], ["secret=A", "secret=B"], False),
        ([A, A], ["secret=A", ""], False),
        ([A, ""], BOTH, False),
        ([A, A], ["", ""], False),
        (["", ""], BOTH, False),
        ([], BOTH, False),
        ([A, A], ["secret=a", "secret=a"], False),
        (["", 'secret=""'], ["", ""], None),
        ([], ["", ""], None),
    ],
)
def test_agreement(files: Files, connectors: list[str], proxied: list[str], agree: bool | None) -> None:
    """Every connector and every line must have the one secret; neither having any is neither."""
    assert files.agree(connectors, proxied) is agree


def test_escapes_in_xml_are_undone(files: Files) -> None:
    """What counts is the attribute's value."""
    assert files.agree(['secret="a&amp;b"'], ['"secret=a&b"', "secret=a&b"]) is True


def test_connectors_by_class(files: Files) -> None:
    """Tomcat takes a class for the protocol, too."""
    files.agree([], BOTH)
    files.server.write_text('<Server><Connector protocol="org.apache.coyote.ajp.AjpNioProtocol" secret="A"/></Server>')
    assert files.compare() is True


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;">]><Server>&b;</Server>',
        '<!DOCTYPE x SYSTEM "file:///etc/hostname"><Server/>',
    ],
)
def test_a_doctype_is_refused(files: Files, xml: str) -> None:
    """No entity is expanded and no other file is read."""
    files.agree([], BOTH)
    for encoding in ("utf-8", "utf-16"):
        files.server.write_bytes(xml.encode(encoding))
        with pytest.raises(StoreError, match="DOCTYPE"):
            files.compare()


@pytest.mark.parametrize("xml", ["", "no xml", '<Server secret="geheim">', '<Connector protocol="AJP" secret="geheim"'])
def test_what_is_no_xml_is_said_without_its_text(files: Files, xml: str) -> None:
    """The message has the path and the line, and nothing of what is on it."""
    files.agree([], BOTH)
    files.server.write_text(xml)
    with pytest.raises(StoreError, match=r"is no XML: .*, line 1") as raised:
        files.compare()
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_missing_file_is_named(files: Files) -> None:
    """Either of the two."""
    with pytest.raises(StoreError, match=r"server\.xml: there is no such file"):
        files.compare()
    files.agree([A], BOTH)
    files.proxy.unlink()
    with pytest.raises(StoreError, match=r"ipa-pki-proxy\.conf: there is no such file"):
        files.compare()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(), st.binary() | st.text("secret=\"'\\\nProxyPassMatch ajp://").map(str.encode))
def test_any_bytes_are_compared_or_an_error(files: Files, xml: bytes, proxy: bytes) -> None:
    """No content is a traceback."""
    files.server.write_bytes(xml)
    files.proxy.write_bytes(proxy)
    with pytest.raises(StoreError):
        files.compare()
    files.server.write_text("<Server/>")
    assert files.compare() in (True, False, None)

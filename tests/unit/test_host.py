# SPDX-License-Identifier: MIT
"""This host's facts: the configuration first, then FreeIPA's own, then the platform's."""

from __future__ import annotations

from pathlib import Path

import pytest

from certwitness import host
from certwitness.config import Config
from certwitness.errors import ConfigurationError

DEFAULTS = "[global]\nhost = ipa.example.com\nbasedn = dc=example,dc=com\nrealm = EXAMPLE.COM\nra_plugin = dogtag\n"


def test_from_freeipa(tmp_path: Path) -> None:
    """On an IPA server nothing need be configured."""
    path = tmp_path / "default.conf"
    path.write_text(DEFAULTS)
    found = host.load(Config(), str(path))
    assert (found.realm, found.basedn, found.name) == ("EXAMPLE.COM", "dc=example,dc=com", "ipa.example.com")
    assert found.uri == "ldapi://%2Frun%2Fslapd-EXAMPLE-COM.socket"
    assert found.certmap == "/etc/dirsrv/slapd-EXAMPLE-COM/certmap.conf"
    assert found.dirsrv_nssdb == "/etc/dirsrv/slapd-EXAMPLE-COM"
    assert (found.https, found.pki) == ("ipa.example.com:443", "ipa.example.com:8443")
    assert found.ldaps_address == ("ipa.example.com", 636)
    assert found.kra_cs_cfg == "/etc/pki/pki-tomcat/kra/CS.cfg"
    assert (found.bus, found.bind) == ("system", True)


def test_configuration_wins(tmp_path: Path) -> None:
    """What the configuration says goes before FreeIPA's own, and the suffix follows from the realm."""
    path = tmp_path / "default.conf"
    path.write_text("[global]\nrealm = OTHER\n")
    values = {
        "ipa": {"realm": "A.B", "host": "h", "cs_cfg": "/x/ca/CS.cfg"},
        "directory": {"ldaps_uri": "ldaps://localhost:1636"},
        "services": {"pki": "localhost:1"},
        "certmonger": {"bus": "session"},
        "checks": {"bind": "no"},
    }
    found = host.load(Config("", values), str(path))
    assert (found.realm, found.basedn, found.name) == ("A.B", "dc=a,dc=b", "h")
    assert (found.kra_cs_cfg, found.pki, found.bus) == ("/x/kra/CS.cfg", "localhost:1", "session")
    assert found.ldaps_address == ("localhost", 1636)
    assert not found.bind


def test_no_ipa_server(tmp_path: Path) -> None:
    """Without a realm anywhere it is one line that asks whether this is an IPA server."""
    with pytest.raises(ConfigurationError, match=r"default\.conf: no realm there.*no IPA server\?"):
        host.load(Config(), str(tmp_path / "default.conf"))


@pytest.mark.parametrize("text", ["realm = X\n", "[global\n", "[global]\n  lost\nrealm\n", "\0"])
def test_damaged(tmp_path: Path, text: str) -> None:
    """A damaged file of FreeIPA's is named in one line."""
    path = tmp_path / "default.conf"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        host.load(Config(), str(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)

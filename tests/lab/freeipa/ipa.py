# SPDX-License-Identifier: MIT
"""Stands in for `ipa config-show` and `ipa config-mod --ca-renewal-master-server=HOST`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.ldapi import Ldapi
from tests.lab.settings import SUFFIX

MASTERS = f"cn=masters,cn=ipa,cn=etc,{SUFFIX}"
OPTION = "--ca-renewal-master-server"
ROLE = "caRenewalMaster"


def main(server: Server, arguments: Sequence[str]) -> int:
    """0, or 1 with ipa's own words on stderr."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith(OPTION) else [word])]
    ldapi = server.connect()
    if words[:2] == ["config-mod", OPTION] and len(words) == 3:
        error = _move(ldapi, words[2])
        if error:
            print(f"ipa: ERROR: {error}", file=sys.stderr)
            return 1
    elif words != ["config-show"]:
        print(f"usage: ipa config-show | ipa config-mod {OPTION}=HOST", file=sys.stderr)
        return 1
    for host, values in _cas(ldapi).items():
        print(f"  IPA CA servers: {host}")
        if ROLE.lower() in values:
            print(f"  IPA CA renewal master: {host}")
    return 0


def _cas(ldapi: Ldapi) -> dict[str, list[str]]:
    """Host -> the configuration strings, in lower case, of its cn=CA."""
    found = ldapi.search(MASTERS, "sub", "(cn=CA)")
    values = {dn: [v.decode().lower() for v in entry.get("ipaconfigstring", [])] for dn, entry in found.items()}
    return {dn.split(",")[1].partition("=")[2]: strings for dn, strings in values.items()}


def _move(ldapi: Ldapi, wanted: str) -> str:
    """Give the role to `wanted` and take it from everybody else. Returns what is wrong, or nothing."""
    cas = _cas(ldapi)
    if "enabledservice" not in cas.get(wanted, []):
        return f"{wanted}: CA server not found"
    for host, values in cas.items():
        dn = f"cn=CA,cn={host},{MASTERS}"
        held = [v for v in ldapi.search(dn, "base")[dn]["ipaconfigstring"] if v.decode().lower() == ROLE.lower()]
        if host == wanted and not held:
            ldapi.modify(dn, ("add", "ipaConfigString", [ROLE]))
        elif host != wanted and ROLE.lower() in values:
            ldapi.modify(dn, ("delete", "ipaConfigString", held))
    return ""

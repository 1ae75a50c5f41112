# SPDX-License-Identifier: MIT
"""The real ipa-healthcheck's IPACertTracking against a world's certmonger, which is on the bus in
DBUS_SYSTEM_BUS_ADDRESS. Run by the interpreter that the package is installed for:

    /usr/bin/python3 -I ipa_healthcheck.py <expected.json     # [{"cert-nickname": …}, …] -> [[result, key], …]

Stood in for: the modules of ipaserver, which Debian does not have, and with them the list of what a server is expected
to track, which comes on stdin.
"""

from __future__ import annotations

import json
import sys
import types

_SERVER = (
    "", ".install", ".install.bindinstance", ".install.cainstance", ".install.certs", ".install.dsinstance",
    ".install.httpinstance", ".install.installutils", ".install.krainstance", ".install.krbinstance", ".plugins",
    ".plugins.ldap2",
)  # fmt: skip


def main() -> int:
    """3 where ipa-healthcheck is not installed."""
    for part in _SERVER:
        module = types.ModuleType(f"ipaserver{part}")
        sys.modules[module.__name__] = module
        parent, _, name = module.__name__.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)
    try:
        from ipahealthcheck.ipa import certs
    except ImportError as error:
        print(error, file=sys.stderr)
        return 3
    certs.get_expected_requests = lambda *_: json.load(sys.stdin)
    check = certs.IPACertTracking.__new__(certs.IPACertTracking)
    check.ca = check.ds = check.serverid = check.conn = None
    names = {0: "SUCCESS", 10: "WARNING", 20: "ERROR", 30: "CRITICAL"}
    found = [[names[result.result], str(result.kw["key"])] for result in check.check()]
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

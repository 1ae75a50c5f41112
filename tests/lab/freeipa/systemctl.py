# SPDX-License-Identifier: MIT
"""Stands in for systemctl: start, stop, restart, try-restart and is-active of the world's own units."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.services import ServiceError
from tests.lab.settings import INSTANCE

UNITS = {
    "pki-tomcatd@pki-tomcat": "pki-tomcatd",
    "httpd": "httpd",
    f"dirsrv@{INSTANCE}": "dirsrv",
    "krb5kdc": "krb5kdc",
    "certmonger": "certmonger",
}
VERBS = ("start", "stop", "restart", "try-restart", "is-active")
NOT_ACTIVE = 3
UNKNOWN = 5


def main(server: Server, arguments: Sequence[str]) -> int:
    """systemctl's own exit statuses."""
    words = [word for word in arguments if not word.startswith("-")]
    if len(words) < 2 or words[0] not in VERBS:
        print(f"usage: systemctl {'|'.join(VERBS)} UNIT...", file=sys.stderr)
        return 1
    return max(_act(server, words[0], unit) for unit in words[1:])


def _act(server: Server, verb: str, unit: str) -> int:
    name = UNITS.get(unit[: -len(".service")] if unit.endswith(".service") else unit)
    if name is None:
        print(f"Unit {unit} not found.", file=sys.stderr)
        return UNKNOWN
    running = server.service("status", name) == "running"
    if verb == "is-active":
        print("active" if running else "inactive")
        return 0 if running else NOT_ACTIVE
    if (verb == "start" and running) or (verb in ("stop", "try-restart") and not running):
        return 0
    wanted = "restart" if verb == "try-restart" else verb
    try:
        server.service(wanted if running or wanted != "restart" else "start", name)
    except ServiceError as error:
        # What FreeIPA makes of a systemctl that failed is not what that says itself.
        own = "the control process exited with error code." if "CalledProcessError" in str(error) else error
        print(f"Job for {unit} failed because {own}", file=sys.stderr)
        return 1
    return 0

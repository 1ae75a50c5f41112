# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's post-save hook restart_httpd."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.services import ServiceError


def main(server: Server, _: Sequence[str]) -> int:
    """Announce, then restart if it runs; a failure is only logged."""
    try:
        with server.lock():
            server.log("NOTICE", "certmonger restarted httpd")
            server.may_die()
            try:
                if server.service("status", "httpd") == "running":
                    server.service("restart", "httpd")
            except ServiceError as error:
                server.log("ERR", f"Cannot restart httpd: {error}")
    except Exception:
        server.log_traceback()
    return 0

# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's post-save hook restart_dirsrv SID."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.services import ServiceError


def main(server: Server, arguments: Sequence[str]) -> int:
    """Announce, then restart if it runs; a failure is only logged."""
    instance = arguments[0] if arguments else ""
    try:
        with server.lock():
            server.log("NOTICE", f"certmonger restarted dirsrv instance '{instance}'")
            server.may_die()
            try:
                if server.service("status", "dirsrv") == "running":
                    server.service("restart", "dirsrv")
            except ServiceError as error:
                server.log("ERR", f"Cannot restart dirsrv (instance: '{instance}'): {error}")
    except Exception:
        server.log_traceback()
    return 0

# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's post-save hook renew_kdc_cert."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.services import ServiceError


def main(server: Server, _: Sequence[str]) -> int:
    """Restart krb5kdc if it runs; a failure is only logged."""
    try:
        with server.lock():
            server.log("NOTICE", "certmonger restarted krb5kdc")
            server.may_die()
            try:
                if server.service("status", "krb5kdc") == "running":
                    server.service("restart", "krb5kdc")
            except ServiceError as error:
                server.log("ERR", f"cannot restart krb5kdc: {error}")
    except Exception:
        server.log_traceback()
    return 0

# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's pre-save hook stop_pkicad: takes the renewal lock as renew_ca_cert, stops pki-tomcatd."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server


def main(server: Server, _: Sequence[str]) -> int:
    """The lock stays held for renew_ca_cert; whatever goes wrong, the exit status is 0."""
    try:
        server.lock("renew_ca_cert").acquire()
        server.may_die()
        server.stop_pki()
    except Exception:
        server.log_traceback()
    return 0

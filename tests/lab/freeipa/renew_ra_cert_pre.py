# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's pre-save hook renew_ra_cert_pre: takes the renewal lock as renew_ra_cert."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server


def main(server: Server, _: Sequence[str]) -> int:
    """The lock stays held for renew_ra_cert."""
    try:
        server.lock("renew_ra_cert").acquire()
        server.may_die()
    except Exception:
        server.log_traceback()
    return 0

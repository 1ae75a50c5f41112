# SPDX-License-Identifier: MIT
"""Stands in for certmonger's ipa-submit: there is no IPA API in a world, so the certificates of HTTP, LDAP and KDC are
never renewed by it.

The words are those of the real helper when the API refuses (certmonger.md 10).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.settings import HOST

REJECTED = 2
NOT_SUPPORTED = 6


def main(_: Server, __: Sequence[str]) -> int:
    """2 for SUBMIT and POLL, 6 for the rest."""
    if os.environ.get("CERTMONGER_OPERATION") not in ("SUBMIT", "POLL"):
        return NOT_SUPPORTED
    url = f"https://{HOST}/ipa/json"
    print(f'Server at "{url}" denied our request, giving up: 2100 (Insufficient access: no IPA API in the lab).')
    return REJECTED

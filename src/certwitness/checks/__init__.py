# SPDX-License-Identifier: MIT
"""What must agree with what. `CHECKS` has all checks in the order in which they run; `BY_NAME` finds one."""

from __future__ import annotations

from certwitness.checks import authority, pki, renewal, requests, saved, users
from certwitness.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *saved.CHECKS,
    *users.CHECKS,
    *renewal.CHECKS,
    *authority.CHECKS,
    *pki.CHECKS,
    *requests.CHECKS,
)
BY_NAME = {check.name: check for check in CHECKS}

# SPDX-License-Identifier: MIT
"""No break of the lab without somebody who expects its findings, and no check without a break."""

from __future__ import annotations

from certwitness.checks import CHECKS
from tests.integration import test_checks_directory, test_checks_host
from tests.lab.breaks import BREAKS

TABLES = (
    test_checks_directory.EXPECTED,
    test_checks_host.EXPECTED,
    test_checks_host.BLINDING,
    test_checks_host.NOT_HERE,
)
# A fresh installation has no entries in cn=ca_renewal: test_checks_directory makes this break after a renewal instead.
ELSEWHERE = {"ca-renewal-missing"}


def test_every_break_is_expected() -> None:
    """Each break stands in one of the tables, and in one alone."""
    names = [name for table in TABLES for name in table]
    assert sorted({*names, *ELSEWHERE}) == sorted(BREAKS)
    assert len(names) == len(set(names))


def test_every_check_is_seen_to_fail() -> None:
    """Each check is among what some break is expected to give."""
    found = {check for table in TABLES for findings in table.values() for check, _, _ in findings}
    assert {check.name for check in CHECKS} == found

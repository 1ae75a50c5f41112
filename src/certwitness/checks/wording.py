# SPDX-License-Identifier: MIT
"""How the checks name certificates and moments in their findings."""

from __future__ import annotations

from collections.abc import Iterable

from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.tracked import Tracked


def told(certificate: Certificate) -> str:
    """A certificate in short: its serial in decimal and the day from which it is valid."""
    return f"serial {certificate.serial_text}, valid from {certificate.not_before:%Y-%m-%d}"


def newest(certificates: Iterable[Certificate], unreadable: int = 0) -> str:
    """The newest of several in short, or that there is none; `unreadable` values are no certificate."""
    known = sorted(certificates, key=lambda one: one.not_before)
    words = told(known[-1]) if known else "no certificate"
    if len(known) > 1:
        words += f" (the newest of {len(known)})"
    return f"{words}, and {unreadable} that cannot be read" if unreadable else words


def since(evidence: Evidence, tracked: Tracked, certificate: Certificate) -> str:
    """Since when `certificate` has had to be everywhere: when the log saw it issued, else its first day."""
    try:
        renewal = evidence.renewal(tracked)
    except StoreError:
        renewal = None
    if renewal and renewal.state == "issued" and renewal.new and renewal.new.get("sha256") == certificate.sha256:
        return renewal.last
    return str(certificate.as_event()["not_before"])

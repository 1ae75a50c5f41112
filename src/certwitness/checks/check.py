# SPDX-License-Identifier: MIT
"""What a check is: a generator of findings with a name, and with the text that explains it.

    @certificate_check(
        "ca-renewal", ERROR, rows=(5, 7), found_by="none",
        compares="the certificate in cn=ca_renewal with the one that certmonger saved",
        failure="other CA servers take their copy from there: they get an old one, or none",
        applies=lambda tracked: CA_RENEWAL in tracked.role.stores,
    )
    def ca_renewal(evidence, tracked):
        yield Finding("", ERROR, where=..., expected=..., found=..., breaks=..., remedy=..., commands=(...))

The runner fills in check and certificate. A StoreError that a check lets through becomes UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import UNKNOWN, Finding
from certwitness.tracked import Tracked

HostChecker = Callable[[Evidence], Iterator[Finding]]
CertificateChecker = Callable[[Evidence, Tracked], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A check's own description.

    `name` is stable; `level` the worst that it can find; `compares` and `failure` are said in `certwitness checks` and
    the README; `rows` are those of the catalogue of inconsistencies (reference: freeipa.md, 6), none for what is
    generic; `found_by` is the other tool that finds it today, or "none". `waits`: while a renewal is between its steps
    its findings are not judged. `replicates`: what it compares reaches this host by replication, so it gets time.
    Either `of_host` or `of_certificate` is set; `applies` tells to which certificates.
    """

    name: str
    level: str
    compares: str
    failure: str
    rows: tuple[int, ...]
    found_by: str
    waits: bool
    replicates: bool
    of_host: HostChecker | None = None
    of_certificate: CertificateChecker | None = None
    applies: Callable[[Tracked], bool] = lambda _: True

    def find(self, evidence: Evidence, tracked: Tracked | None) -> list[Finding]:
        """Run it, on the host where `tracked` is None. What it found before a store could not be read is kept."""
        looking = self.of_certificate(evidence, tracked) if self.of_certificate and tracked else iter(())
        if self.of_host:
            looking = self.of_host(evidence)
        found: list[Finding] = []
        try:
            for finding in looking:
                found.append(finding)
        except StoreError as error:
            found.append(Finding("", UNKNOWN, where=error.store, found=f"could not look: {error.reason}"))
        return found


def host_check(
    name: str,
    level: str,
    *,
    compares: str,
    failure: str,
    rows: tuple[int, ...] = (),
    found_by: str = "none",
    waits: bool = True,
) -> Callable[[HostChecker], Check]:
    """Make a check of the host out of a generator function of the evidence."""
    return lambda function: Check(
        name, level, compares, failure, rows, found_by, waits, replicates=False, of_host=function
    )


def certificate_check(
    name: str,
    level: str,
    *,
    compares: str,
    failure: str,
    rows: tuple[int, ...] = (),
    found_by: str = "none",
    waits: bool = True,
    replicates: bool = False,
    applies: Callable[[Tracked], bool] = lambda _: True,
) -> Callable[[CertificateChecker], Check]:
    """Make a check of each tracked certificate that `applies` out of a generator function of evidence and it."""
    return lambda function: Check(
        name, level, compares, failure, rows, found_by, waits, replicates, of_certificate=function, applies=applies
    )

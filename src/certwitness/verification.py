# SPDX-License-Identifier: MIT
"""Run the checks over the evidence, and write into the event log whether a renewal landed."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from certwitness import kept, landing
from certwitness.checks.check import Check
from certwitness.errors import StoreError
from certwitness.events import log, outcomes
from certwitness.events.fields import seconds_between
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, PENDING, UNKNOWN, Finding, worst
from certwitness.tracked import Tracked

if TYPE_CHECKING:
    from certwitness.certificates import Certificate
    from certwitness.events.renewals import Renewal

# On a CA server that is not the renewal master a change made elsewhere gets this long to arrive.
REPLICATION_S = 600


@dataclass(frozen=True)
class Result:
    """One check that was run: on one certificate (`certificate` is its name) or on the host (""). No findings: all is
    well. `when` is a timestamp, `duration_s` what it took beyond reading the stores."""

    check: Check
    certificate: str
    findings: tuple[Finding, ...]
    when: str
    duration_s: float

    @property
    def level(self) -> str:
        """The worst level of its findings, "" where all is well."""
        return worst(self.findings)

    def as_healthcheck(self) -> list[dict[str, Any]]:
        """In ipa-healthcheck's shape: a dict a finding, one with SUCCESS where there is none. UNKNOWN and PENDING,
        which it does not have, are WARNING and SUCCESS, with the real level in `kw`."""
        if not self.findings:
            return [self._entry("SUCCESS", {"certificate": self.certificate} if self.certificate else {})]
        return [
            self._entry({UNKNOWN: "WARNING", PENDING: "SUCCESS"}.get(finding.level, finding.level), _keywords(finding))
            for finding in self.findings
        ]

    def _entry(self, result: str, keywords: dict[str, Any]) -> dict[str, Any]:
        # "20261123192600Z", as ipa-healthcheck writes it.
        when = re.sub(r"[-:T]|\.\d+", "", self.when)
        return {"source": "certwitness", "check": self.check.name, "result": result, "uuid": str(uuid.uuid4()),
                "when": when, "duration": f"{self.duration_s:.6f}", "kw": keywords}  # fmt: skip


def _keywords(finding: Finding) -> dict[str, Any]:
    """`kw` of an entry. ipa-healthcheck reads it as keywords beside `check`, which must not be there twice, and formats
    `msg` with them."""
    fields = {name: value for name, value in finding.as_event().items() if name != "check"}
    msg = finding.found.replace("{", "{{").replace("}", "}}")
    return {"key": finding.certificate or finding.check, "msg": msg, **fields}


def run(evidence: Evidence, checks: Iterable[Check], certificates: Sequence[str] = ()) -> Iterator[Result]:
    """Run `checks`; with `certificates` (names as certmonger has them) only those of certificates, on these alone."""
    for check in checks:
        if check.of_host is not None:
            if not certificates:
                yield _run(evidence, check, None)
            continue
        try:
            tracked = evidence.tracked
        except StoreError as error:
            yield _unknown(check, str(error))
            continue
        for one in tracked:
            if check.applies(one) and (not certificates or one.name in certificates):
                yield _run(evidence, check, one)


def _run(evidence: Evidence, check: Check, tracked: Tracked | None) -> Result:
    started = time.monotonic()
    name = tracked.name if tracked else ""
    try:
        found = check.find(evidence, tracked)
    except Exception as error:  # a bug of ours accuses nobody, and hides no other check's result
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        found = [Finding("", UNKNOWN, where="certwitness", found=f"this check failed by itself: {words}")]
    reason = _too_early(evidence, check, tracked) if any(_accuses(finding) for finding in found) else ""
    findings = tuple(
        replace(
            finding.pending(reason) if reason and _accuses(finding) else finding, check=check.name, certificate=name
        )
        for finding in found
    )
    return Result(check, name, findings, log.timestamp(time.time()), time.monotonic() - started)


def _accuses(finding: Finding) -> bool:
    return finding.level not in (UNKNOWN, PENDING)


def _unknown(check: Check, reason: str) -> Result:
    finding = Finding(check.name, UNKNOWN, found=f"could not look: {reason}")
    return Result(check, "", (finding,), log.timestamp(time.time()), 0.0)


def _too_early(evidence: Evidence, check: Check, tracked: Tracked | None) -> str:
    """Why a difference is normal at this moment; "" where it is not."""
    if not check.waits:
        return ""
    try:
        if tracked is None:
            reasons = (evidence.in_flight(one) for one in evidence.tracked)
            return next((reason for reason in reasons if reason), "")
        reason = evidence.in_flight(tracked)
        if reason or not check.replicates or evidence.is_renewal_master:
            return reason
        renewal = evidence.renewal(tracked)
    except StoreError:
        return ""
    if renewal and seconds_between(renewal.last, evidence.stamp) < REPLICATION_S:
        return "it was renewed less than ten minutes ago, and replication from the renewal master may still bring it"
    return ""


# --- the outcome


def record(
    evidence: Evidence, results: Sequence[Result], certificates: Sequence[str] = (), *, by: str = "verify"
) -> list[dict[str, Any]]:
    """Write for each renewal that the log knows as issued whether it landed, where that is not already the log's last
    word. Returns the events written. Raises LogError; StoreError where the log cannot be read.

    A renewal that is still between its steps (or may be: where certmonger cannot be asked), and one whose stores could
    not be looked at, are left for the next time. Of a certificate that is newer than the log's last renewal (somebody
    renewed it past the helper), and of an expected one that is not the log's, nothing is said.
    """
    if not evidence.log:
        return []
    events = []
    for tracked in evidence.tracked:
        if certificates and tracked.name not in certificates:
            continue
        renewal, outcome = outcome_of(evidence, tracked, results)
        if renewal is None or not outcome or outcome["outcome"] == renewal.outcome:
            continue
        mine = [finding for result in results for finding in result.findings if finding.certificate == tracked.name]
        level = "critical" if worst(mine) == CRITICAL else "error"
        if outcome["outcome"] == outcomes.LANDED and "findings" not in outcome:
            level = "info"
        event = log.event("verified", level, renewal.trace_id, log.new_span_id(), nickname=renewal.nickname,
                          key=renewal.key, ca=renewal.ca, by=by, **outcome)  # fmt: skip
        log.append(evidence.host.config.events_file, event)
        events.append(event)
    return events


def outcome_of(
    evidence: Evidence, tracked: Tracked, results: Sequence[Result]
) -> tuple[Renewal | None, dict[str, Any]]:
    """The newest renewal of a certificate and how it ended: `outcome`, `stores` and `findings` as in the event; {}
    where nothing can be said."""
    try:
        renewal, wanted = evidence.renewal(tracked), evidence.wanted(tracked)
        if renewal is None or renewal.state != "issued" or tracked.request is None or evidence.in_flight(tracked):
            return renewal, {}
    except StoreError:  # of this certificate alone; the check `saved` says so
        return None, {}
    if not _is_its_outcome(renewal, wanted, expected=wanted is not None and wanted == evidence.expect):
        return renewal, {}
    mine = [finding for result in results for finding in result.findings if finding.certificate == tracked.name]
    return renewal, _outcome(evidence, tracked, mine)


def _is_its_outcome(renewal: Renewal, wanted: Certificate | None, *, expected: bool) -> bool:
    """Whether what the stores are compared with is what the renewal issued; or older, where that is what is saved (not
    what is `expected`): then the new one never was."""
    issued = renewal.new or {}
    facts = wanted.as_event() if wanted else issued
    if not issued or facts["sha256"] == issued.get("sha256"):
        return bool(issued)
    return not expected and facts["not_before"] < str(issued.get("not_before"))


def _outcome(evidence: Evidence, tracked: Tracked, findings: list[Finding]) -> dict[str, Any]:
    """See outcome_of."""
    held = landing.holdings(evidence, tracked)
    if any(finding.level == PENDING for finding in findings):
        return {}
    # FreeIPA never writes the KRA's CS.cfg: the check cs-cfg tells it, and it is no part of the renewal.
    held = tuple(one for one in held if not one.where.startswith(f"{evidence.host.kra_cs_cfg}:"))
    wrong = [holding for holding in held if holding.mark not in (landing.LANDED, landing.UNKNOWN)]
    # What is down shows nothing: with a proof that something fails it has not landed, without one nobody knows.
    unseen = any(holding.mark == landing.UNKNOWN for holding in held)
    if not wrong and unseen and worst(findings) != CRITICAL:
        return {}
    stores = [
        {
            "store": one.store,
            "where": one.where,
            "mark": one.mark,
            **({"reason": kept.text(one.reason)} if one.reason else {}),
        }
        for one in held
    ]
    accusing = [kept.finding(finding) for finding in findings if finding.level in (CRITICAL, ERROR)]
    outcome: dict[str, Any] = {"outcome": outcomes.ASTRAY if wrong or unseen else outcomes.LANDED, "stores": stores}
    return {**outcome, "findings": accusing} if accusing else outcome

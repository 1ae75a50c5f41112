# SPDX-License-Identifier: MIT
"""From evidence to verdicts: what start-gate and `certwitness gate` have in common."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from certwitness import gate, holds, kept, start_facts
from certwitness.checks import BY_NAME
from certwitness.evidence import Evidence

if TYPE_CHECKING:
    from certwitness.config import Config
    from certwitness.gate import Service, Verdict
    from certwitness.holds import Hold

# Reading the log must not hold up a verdict that is there.
_TRACE_S = 0.2


def verdicts(
    evidence: Evidence, services: Sequence[Service], held: Mapping[str, Hold], limit_s: float
) -> list[Verdict]:
    """One for each service, from one look at the stores that lasts `limit_s` seconds at most. Nothing is waited for,
    neither the next step of a renewal nor replication: what a service reads at its start is what is there now.

    Several stores that are read one after the other are no snapshot. So where a renewal is under way of what blocks, it
    must block in a second look, too: the first may have fallen into a save.
    """
    deadline = time.monotonic() + limit_s
    found = _look(evidence, services, held, limit_s)
    doubtful = [service for service, verdict in zip(services, found) if verdict.under_way]
    if not doubtful:
        return found
    again = Evidence(evidence.host, now=evidence.now, everything=False)
    anew = {verdict.service: verdict for verdict in _look(again, doubtful, held, deadline - time.monotonic())}
    return [anew.get(verdict.service, verdict) for verdict in found]


def _look(evidence: Evidence, services: Sequence[Service], held: Mapping[str, Hold], limit_s: float) -> list[Verdict]:
    checks = {service.name: [replace(BY_NAME[name], waits=False) for name in service.checks] for service in services}
    found = start_facts.look(evidence, checks, {service.name: service.roles for service in services}, limit_s)
    return [gate.judge(service, *found[service.name], held.get(service.name), evidence.now) for service in services]


def end_if_gone(config: Config, verdict: Verdict, hold: Hold | None) -> bool:
    """End a hold whose cause is gone: nothing blocks any more, and all that it stood on was looked at.

    Raises CertwitnessError.
    """
    unseen = {finding.check for finding in verdict.unseen}
    # A release without a block stands on nothing: then all must have been seen.
    if hold is None or verdict.reasons or (hold.checks & unseen if hold.findings else unseen):
        return False
    # What it stood on is still found, and only what makes a proof of it was not seen.
    if unseen and any((one.check, one.certificate) in hold.subjects for one in verdict.warnings):
        return False
    return holds.end(config, hold, "the cause is gone")


def trace_of(evidence: Evidence, verdict: Verdict) -> str:
    """The renewal that the reasons belong to: that of the first one's certificate; "" where none is known in time."""
    name = next((finding.certificate for finding in verdict.reasons if finding.certificate), "")
    if not name:
        return ""
    return str(start_facts.within(_TRACE_S, lambda: _trace(evidence, name)) or "")


def as_event(verdict: Verdict) -> dict[str, Any]:
    """The fields of the event gate.judged."""
    fields: dict[str, Any] = {"service": verdict.service, "verdict": "allow" if verdict.allow else "block"}
    for name, found in (("findings", verdict.reasons), ("warnings", verdict.warnings), ("unseen", verdict.unseen)):
        if found:
            fields[name] = [kept.finding(finding) for finding in found]
    if verdict.release:
        fields["release"] = {name: value for name, value in verdict.release.as_json().items() if value}
    return fields


def _trace(evidence: Evidence, name: str) -> str:
    tracked = next((one for one in evidence.tracked if one.name == name), None)
    renewal = evidence.renewal(tracked) if tracked else None
    return renewal.trace_id if renewal else ""

# SPDX-License-Identifier: MIT
"""The end of a renewal's save, whoever saw it (the post-save hook, or `certwitness watch`): did the certificate land?

The answer goes into the event log under the renewal's trace, into the system journal in one sentence, and where it is
proven that a service that reads the certificate cannot start any more, into a hold.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from certwitness import gate, holds, journal, judging, verification
from certwitness.catalogue import PKI
from certwitness.checks import CHECKS
from certwitness.checks.pki import ca_running
from certwitness.errors import CertwitnessError
from certwitness.events import outcomes
from certwitness.events.fields import mappings, text
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL
from certwitness.render.text import shorten

if TYPE_CHECKING:
    from certwitness.findings import Finding
    from certwitness.host import Host
    from certwitness.tracked import Tracked
    from certwitness.verification import Result

# Between two looks at stores that do not agree yet, seconds: doubled each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
LONGEST_FOUND = 300  # of what a check found, in the journal
# A verdict that is not there then is left to start-gate.
VERDICT_S = 5.0

Report = Callable[..., None]


def conclude(
    host: Host,
    name: str,
    *,
    by: str,
    limit_s: float,
    report: Report = journal.report,
    pause: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """Look at the stores of the certificate `name`, as certmonger names it, until they agree or `limit_s` seconds are
    over; nothing is waited for on certmonger's account. Returns the last look's findings. `by` is "post-save" or
    "watch".

    Raises CertwitnessError: certmonger does not track it, or something cannot be read or written. What the gate looks
    with is not waited for: the caller ends by os._exit.
    """
    deadline, wait_s = time.monotonic() + limit_s, FIRST_PAUSE_S
    while True:
        with Evidence(host, waits=False) as evidence:
            tracked = next((one for one in evidence.tracked if one.name == name), None)
            if tracked is None:
                raise CertwitnessError(f"certmonger tracks no certificate {name}")
            results = _look(evidence, tracked)
            outcome = verification.outcome_of(evidence, tracked, results)[1]
            if outcome.get("outcome") != outcomes.ASTRAY or time.monotonic() + wait_s > deadline:
                findings = [finding for result in results for finding in result.findings]
                for event in verification.record(evidence, results, (name,), by=by):
                    report(sentence(name, event), level=_PRIORITY[event["level"]])
                _hold(evidence, tracked, by)
                return findings
        pause(wait_s)
        wait_s = min(2 * wait_s, LONGEST_PAUSE_S)


def _look(evidence: Evidence, tracked: Tracked) -> list[Result]:
    """The checks of this certificate. FreeIPA's hooks stop the CA for one of Dogtag's, and start it again: whether it
    runs belongs to the save, too."""
    results = list(verification.run(evidence, CHECKS, (tracked.name,)))
    for result in verification.run(evidence, (ca_running,)) if tracked.role.unit == PKI else ():
        findings = tuple(replace(finding, certificate=tracked.name) for finding in result.findings)
        results.append(replace(result, certificate=tracked.name, findings=findings))
    return results


_PRIORITY = {"info": "info", "error": "err", "critical": "crit"}


def sentence(name: str, event: dict[str, Any]) -> str:
    """What the journal is told of a `verified` event: the certificate, the store, the next step."""
    landed = text(event.get("outcome")) == outcomes.LANDED
    findings = mappings(event.get("findings"))
    if landed and not findings:
        return f"{name}: the renewed certificate landed everywhere it must be"
    places = [f"{place['store']} ({place['where']})" for place in outcomes.places_astray(event)]
    told = f"{name}: the renewed certificate {'landed' if landed else ' in '.join(('did not land', *places[:1]))}"
    told += "".join(f", {place}" for place in places[1:])
    worst = min(findings, key=lambda finding: finding.get("level") != CRITICAL, default={})
    if worst:
        told += f"; {worst['check']}: {shorten(worst['found'], LONGEST_FOUND)}; {worst['breaks']}".rstrip("; ")
    return f"{told}; next: certwitness verify {shlex.quote(name)}"


def _hold(evidence: Evidence, tracked: Tracked, by: str) -> None:
    """Hold the services that are proven not to start with what is there now; end the holds whose cause is gone."""
    config = evidence.host.config
    concerned = [service for service in gate.SERVICES.values() if tracked.role.key in service.roles]
    held = {hold.service: hold for hold in holds.every(config, [service.name for service in concerned])[0]}
    for verdict in judging.verdicts(evidence, concerned, held, VERDICT_S):
        if verdict.allow:
            judging.end_if_gone(config, verdict, held.get(verdict.service))
        else:
            holds.place(config, verdict.service, verdict.reasons, by, judging.trace_of(evidence, verdict), evidence.now)

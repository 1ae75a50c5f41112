# SPDX-License-Identifier: MIT
"""The end of a renewal's save, whoever saw it (the post-save hook, or `certwitness watch`): did the certificate land?

The answer goes into the event log under the renewal's trace, into the system journal in one sentence, and where it is
proven that a service that reads the certificate cannot start any more, into a hold.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from certwitness import gate, holds, journal, judging, verification
from certwitness.checks import CHECKS
from certwitness.errors import CertwitnessError
from certwitness.events import outcomes
from certwitness.evidence import Evidence
from certwitness.findings import worst

if TYPE_CHECKING:
    from certwitness.findings import Finding
    from certwitness.host import Host
    from certwitness.tracked import Tracked

# Between two looks at stores that do not agree yet, seconds: doubled each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
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
        with Evidence(host, settled=(name,)) as evidence:
            tracked = next((one for one in evidence.tracked if one.name == name), None)
            if tracked is None:
                raise CertwitnessError(f"certmonger tracks no certificate {name}")
            results = list(verification.run(evidence, CHECKS, (name,)))
            outcome = verification.outcome_of(evidence, tracked, results)[1]
            if outcome.get("outcome") != outcomes.ASTRAY or time.monotonic() + wait_s > deadline:
                findings = [finding for result in results for finding in result.findings]
                for event in verification.record(evidence, results, (name,), by=by):
                    report(sentence(name, event, findings), level=_PRIORITY[event["level"]])
                _hold(evidence, tracked, by)
                return findings
        pause(wait_s)
        wait_s = min(2 * wait_s, LONGEST_PAUSE_S)


_PRIORITY = {"info": "info", "error": "err", "critical": "crit"}


def sentence(name: str, event: dict[str, Any], findings: Sequence[Finding]) -> str:
    """What the journal is told of a `verified` event: the certificate, the store, the next step."""
    outcome = outcomes.of_event(event)
    if outcome.outcome == outcomes.LANDED:
        return f"{name}: the renewed certificate landed everywhere it must be"
    astray = outcomes.places_astray(event)
    where = "; ".join(f"{one['store']} ({one['where']}): {one.get('reason') or one['mark']}" for one in astray)
    breaks = next((finding.breaks for finding in findings if finding.level == worst(findings) and finding.breaks), "")
    told = [f"{name}: the renewed certificate did not land in {where}", f"{breaks[:1].upper()}{breaks[1:]}"]
    return ". ".join(filter(None, (*told, f"Next: certwitness verify {shlex.quote(name)}")))


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

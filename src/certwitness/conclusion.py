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

from certwitness import catalogue, gate, holds, journal, judging, landing, verification
from certwitness.checks import CHECKS
from certwitness.checks.pki import ca_running
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.events import outcomes
from certwitness.events.fields import mappings, text
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL
from certwitness.landing import Holding
from certwitness.render.text import shorten
from certwitness.save import POST_SAVE

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
# Files that only certmonger and the post-save command write: what they left there is there to stay.
_WRITTEN = (catalogue.SAVED, catalogue.CS_CFG)

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
    """Look at the stores of the certificate `name`, as certmonger names it, until they agree, or waiting cannot help,
    or `limit_s` seconds are over: certmonger may hold up all other saves meanwhile. Returns the last look's findings.
    `by` is "post-save" or "watch".

    Raises CertwitnessError: certmonger does not track it, or something cannot be read or written; where that is the log
    alone, services are held all the same. What the gate looks with is not waited for: the caller ends by os._exit.
    """
    deadline, wait_s = time.monotonic() + limit_s, FIRST_PAUSE_S
    while True:
        with Evidence(host, waits=False) as evidence:
            tracked = next((one for one in evidence.tracked if one.name == name), None)
            if tracked is None:
                raise CertwitnessError(f"certmonger tracks no certificate {name}")
            results = _look(evidence, tracked, by)
            if not _may_come(evidence, tracked) or time.monotonic() + wait_s > deadline:
                try:
                    _tell(evidence, tracked, results, by, report)
                finally:
                    _hold(evidence, tracked, by)
                return [finding for result in results for finding in result.findings]
        pause(wait_s)
        wait_s = min(2 * wait_s, LONGEST_PAUSE_S)


def _look(evidence: Evidence, tracked: Tracked, by: str) -> list[Result]:
    """The checks of this certificate. FreeIPA's hooks stop the CA for one of Dogtag's, and start it again: whether it
    runs belongs to the save, too; to the last one where certmonger goes on with another (it does not while a hook
    runs)."""
    results = list(verification.run(evidence, CHECKS, (tracked.name,)))
    dogtags = [one for one in evidence.tracked if one.role.unit == catalogue.PKI]
    if tracked not in dogtags or (by != POST_SAVE and not all(one.resting for one in dogtags if one != tracked)):
        return results
    for result in verification.run(evidence, (ca_running,)):
        findings = tuple(replace(finding, certificate=tracked.name) for finding in result.findings)
        results.append(replace(result, certificate=tracked.name, findings=findings))
    return results


def _may_come(evidence: Evidence, tracked: Tracked) -> bool:
    """Whether a store may get the certificate without anybody's help. What writes files has ended; what it wrote into
    LDAP on the renewal master is all that will be there, and is on its way to the others; /etc/ipa/ca.crt waits for
    ipa-certupdate. A service takes its time to start, and what could not be looked at may have been starting."""
    try:
        replicates = not evidence.is_renewal_master
    except StoreError:
        replicates = True

    def may_come(place: Holding) -> bool:
        if place.mark == landing.UNKNOWN or place.store == catalogue.SERVED:
            return True
        return replicates and place.store not in _WRITTEN and place.where != evidence.host.ca_certificate

    held = landing.holdings(evidence, tracked)
    return any(may_come(place) for place in held if place.mark != landing.LANDED)


def _tell(evidence: Evidence, tracked: Tracked, results: list[Result], by: str, report: Report) -> None:
    """The log and the journal, what is news to the log; the journal alone where the log cannot be written. Raises
    StoreError where it cannot be read."""
    name = tracked.name
    try:
        for event in verification.record(evidence, results, (name,), by=by):
            report(sentence(name, event), level=_priority(event))
    except LogError as error:
        outcome = verification.outcome_of(evidence, tracked, results)[1]
        report(f"{sentence(name, outcome)} (not in the event log: {error})", level=_priority(outcome))


def _priority(event: dict[str, Any]) -> str:
    """That of a `verified` event's sentence, one of journal.LEVELS."""
    findings = mappings(event.get("findings"))
    if any(finding.get("level") == CRITICAL for finding in findings):
        return "crit"
    return "info" if text(event.get("outcome")) == outcomes.LANDED and not findings else "err"


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

# SPDX-License-Identifier: MIT
"""What certmonger says of its requests, what it believes to be saved, and FreeIPA's renewal lock."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime

from certwitness.certmonger import Request
from certwitness.checks import saved, services, tracking, wording
from certwitness.checks.check import certificate_check, host_check
from certwitness.diagnosis import messages
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, PENDING, WARNING, Finding
from certwitness.schedule import duration
from certwitness.tracked import LONGEST_STEP_S, Tracked

# Statuses at which a request waits for somebody, what that means and what to do (certmonger.md, 4). Those that begin
# like a key are meant, too.
_WAITS = {
    "NEED_GUIDANCE": ("the helper gave an answer that certmonger cannot use", "See certwitness show for its output."),
    "NEWLY_ADDED_NEED_KEYINFO_READ": ("certmonger cannot read the key", "Mend PIN, PIN file or token."),
    "NEED_KEYINFO_READ": ("certmonger cannot read the key", "Mend PIN, PIN file or token."),
    "NEED_KEY_GEN": ("certmonger cannot save a new key", "Mend PIN, token or permissions of the key's place."),
    "NEED_CSR_GEN": ("certmonger cannot use the key to sign a request", "Mend PIN, PIN file or token."),
    "NEED_CERTSAVE": ("the CA issued a certificate, and certmonger cannot save it", "Mend permissions, PIN or token."),
    "NEED_CA_CERT_SAVE": ("certmonger cannot save the CA's certificates", "Mend the permissions of that place."),
    "NEED_ONLY_CA_CERT_SAVE": ("certmonger cannot save the CA's certificates", "Mend the permissions of that place."),
    "NEED_SCEP": ("SCEP needs certificates or keys that certmonger does not have", "See getcert list-cas -v."),
    "NEED_CA": ("its CA was not defined when it was asked", "The CA is there again."),
    "CA_REJECTED": ("the CA refused the request", "Do what its message asks for."),
    "CA_UNCONFIGURED": ("the helper lacks something that it needs", "Do what its message asks for."),
    "CA_UNREACHABLE": ("the CA could not be reached", "Do what its message asks for."),
    "INVALID": ("certmonger does not know what to do with the request", "Track the certificate anew."),
}
_SAVING = ("PRE_SAVE", "START_SAVING", "SAVING", "SAVED", "NEED_TO_SAVE", "READING_CERT", "NEED_TO_READ", "POST_SAVED")


@certificate_check(
    "request-state",
    CRITICAL,
    compares="the state of certmonger's request, and its ca-error, with what a healthy request has",
    failure="the renewal fails or is parked; MONITORING with a ca-error looks like health in every list",
    found_by="IPACertmongerExpirationCheck (only near the end)",
)
def request_state(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """WARNING where certmonger tries again by itself and there is time; CRITICAL where it waits for somebody."""
    request = tracked.request
    if request is None or not request.ca:
        return  # without a CA: ca-definition
    ends = request.certificate.not_after if request.certificate else None
    soon = ends is None or (ends - evidence.now).total_seconds() < saved.RENEWED_BEFORE_S
    if request.status == "MONITORING":
        if request.ca_error:
            found = f"MONITORING, and ca-error: {request.ca_error}"
            yield _finding(
                evidence, tracked, request, ERROR if soon else WARNING, found, "its last renewal was refused"
            )
        return
    waits = next((words for start, words in _WAITS.items() if request.status.startswith(start)), None)
    if waits:
        parked = request.stuck and not request.status.startswith("CA_")
        level = CRITICAL if parked else ERROR if soon else WARNING
        error = f", ca-error: {request.ca_error}" if request.ca_error else ""
        breaks = "it waits for you, and is not renewed before" if request.stuck else "it is not renewed"
        yield _finding(evidence, tracked, request, level, f"{request.status}: {waits[0]}{error}", breaks, waits[1])
    elif not tracked.resting and (since := hangs(evidence, tracked)):
        found = f"{request.status} for {since}"
        yield _finding(
            evidence, tracked, request, ERROR, found, "nothing moves: a helper or a hook hangs, or waits for the lock"
        )


def _finding(
    evidence: Evidence, tracked: Tracked, request: Request, level: str, found: str, breaks: str, next_step: str = ""
) -> Finding:
    known = messages.find(request.ca_error)[:1] if request.ca_error else []
    told = " ".join(message.next_step for message in known) or next_step or "See certwitness show and the journal."
    submitted = request.submitted.strftime("%Y-%m-%dT%H:%M:%SZ") if request.submitted and request.ca_error else ""
    return Finding(
        "",
        level,
        where=f"certmonger's request {request.id}",
        expected="MONITORING, without a ca-error",
        found=found,
        breaks=f"{breaks}{_end(request)}",
        remedy=f"{told} Then let certmonger try again {services.where_to_renew(tracked, evidence)}.",
        # A new CA certificate is no remedy for a PIN or a permission that is missing.
        commands=services.renew(tracked, evidence) if tracked.role.key != "ca" else (),
        since=submitted,
    )


def _end(request: Request) -> str:
    held = request.certificate
    return f"; what is saved ends on {held.not_after:%Y-%m-%d %H:%M} UTC" if held else "; nothing is saved yet"


def hangs(evidence: Evidence, tracked: Tracked) -> str:
    """How long the helper has been running according to the log, if that is too long; "" if it is not, or unknown."""
    renewal = evidence.renewal(tracked)
    begun = renewal.running_since or renewal.last if renewal else ""
    if not begun:
        return ""
    seconds = (evidence.now - datetime.fromisoformat(begun[:19] + "+00:00")).total_seconds()
    return duration(seconds) if seconds > LONGEST_STEP_S else ""


@certificate_check(
    "certmonger-view",
    ERROR,
    rows=(16,),
    compares="the certificate that certmonger believes to be saved with the one that is",
    failure="certmonger renews by the dates of a certificate that is not there: twice, or too late",
    found_by="IPACertfileExpirationCheck beside IPACertmongerExpirationCheck",
)
def certmonger_view(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """certmonger reads what is saved only when a request is started anew."""
    request, held = tracked.request, evidence.held(tracked)
    if request is None or held is None or request.certificate == held:
        return
    believed = request.certificate
    late = believed is not None and believed.not_after > held.not_after
    if request.status.startswith(("NEED_KEYINFO_READ", "NEWLY_ADDED")):
        return  # it has not been able to look: request-state
    yield Finding(
        "",
        ERROR if late else WARNING,
        where=f"certmonger's request {request.id}",
        expected=wording.told(held),
        found=wording.told(believed) if believed else "no certificate",
        breaks=f"certmonger renews too late: what is saved ends on {held.not_after:%Y-%m-%d}"
        if late
        else "certmonger shows old dates, and renews once more than needed",
        remedy="Have certmonger read it anew: start-tracking without a change does that, and keeps all settings.",
        commands=(shlex.join(["getcert", "start-tracking", "-i", request.id]),),
        since=wording.since(evidence, tracked, held),
    )


@host_check(
    "renewal-lock",
    ERROR,
    rows=(19,),
    compares="FreeIPA's renewal lock with the process that holds it and with the clock",
    failure="every renewal on this host waits for it, for an hour at the most",
    waits=False,
)
def renewal_lock(evidence: Evidence) -> Iterator[Finding]:
    """Held across a save it names no process: then certmonger's requests tell whether there is a save."""
    lock = evidence.lock
    if not lock.locked or lock.alive:
        return
    over = lock.expires is not None and lock.expires <= evidence.now
    saving = [one.id for one in evidence.requests if one.status.startswith(_SAVING)] if lock.alive is None else []
    if saving and not over:
        return
    holder = f"{lock.owner or 'nobody'}, which is dead" if lock.alive is False else lock.owner or "nobody"
    until = f"{lock.expires:%Y-%m-%d %H:%M:%S} UTC" if lock.expires else "an unknown time"
    level = PENDING if saving else WARNING if over else ERROR
    yield Finding(
        "",
        level,
        where=evidence.host.renewal_lock,
        expected="not locked, or held by a process that runs",
        found=f"locked by {holder}, until {until}{'; no certificate is being saved' if lock.alive is None else ''}",
        breaks="a save takes over an hour: another renewal may take the lock from it"
        if saving
        else "something was killed while it renewed; who comes next takes the lock over"
        if over
        else f"every renewal on this host waits until {until}",
        remedy="Empty the file, or wait; and see what was killed: pki-tomcatd may be stopped.",
        commands=() if saving else (f": > {shlex.quote(evidence.host.renewal_lock)}",),
    )


CHECKS = (
    request_state,
    tracking.request_ca,
    tracking.ca_definition,
    tracking.tracking,
    tracking.auto_renew,
    certmonger_view,
    renewal_lock,
)

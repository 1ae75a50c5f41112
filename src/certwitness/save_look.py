# SPDX-License-Identifier: MIT
"""What a hook looks at before its command runs. Runs beside the hook (beside.py), as some store may not answer.

Before a save: the certificate that is about to be replaced, and what is wrong with the stores already. After it: is
what was saved what the CA issued, can it be used, and can the command do its part. In both: which renewal it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

from certwitness import gate, holds, host, judging, kept, verification
from certwitness.checks import BY_NAME, CHECKS, services
from certwitness.conclusion import VERDICT_S
from certwitness.errors import CertwitnessError, StoreError
from certwitness.events import log
from certwitness.events.fields import text
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, PENDING, UNKNOWN, WARNING, Finding
from certwitness.redaction import redact_line
from certwitness.save import PRE_SAVE, STATUSES

if TYPE_CHECKING:
    from certwitness.certificates import Certificate
    from certwitness.events.renewals import Renewal
    from certwitness.save import Save
    from certwitness.tracked import Tracked

# After a save, of the certificate: usable or not. What the other stores hold is the command's to change.
AFTER_SAVE = tuple(BY_NAME[name] for name in ("saved", "key", "expiry", "chain"))
# FreeIPA's commands that only restart a service, which they may be kept from.
RESTARTS = {"restart_httpd": "httpd", "restart_dirsrv": "dirsrv", "renew_kdc_cert": "krb5kdc"}
# Those that bring the certificate into LDAP, and cannot if it does not answer (freeipa.md, 5.7).
UPDATES = ("renew_ca_cert", "renew_ra_cert")
UNEXPLAINED, UPDATE = "unexplained-save", "store-update"


def look(save: Save, send: Callable[[dict[str, Any]], None]) -> None:
    """Send what is known so far, and again with more: first whose save it is, then what the stores say.

    request, nickname, key, ca as in hook.started, name (as the checks call the certificate), trace_id, trace_found,
    replaced; then findings, unseen, lock; and where the command must not run, service and reasons, the findings that
    prove it. Raises CertwitnessError where it is not even known which certificate it is.
    """
    there = host.load(save.config)
    evidence = Evidence(there, everything=save.phase == PRE_SAVE, waits=False)
    tracked = find(evidence.tracked, save.certificate or "", save.phase)
    if tracked is None:
        raise CertwitnessError(f"certmonger tracks no certificate {save.certificate}")
    findings: list[Finding] = []
    found = _whose(evidence, tracked, save.phase, findings)
    send(found)
    checks = CHECKS if save.phase == PRE_SAVE else AFTER_SAVE
    for result in verification.run(evidence, checks, [tracked.name]):
        findings += [
            one
            for one in result.findings
            if save.phase != PRE_SAVE or not is_this_save(one, tracked, found.get("replaced"))
        ]
    program = save.program
    if program in UPDATES:
        findings += update_ahead(evidence, tracked, program)
    found["findings"] = [kept.finding(one) for one in findings if one.level in (CRITICAL, ERROR, WARNING)]
    found["unseen"] = [
        kept.text(f"{one.check}: {one.found or one.breaks}") for one in findings if one.level in (UNKNOWN, PENDING)
    ]
    try:
        owner = evidence.lock.owner
        if owner not in ("", program):
            found["lock"] = owner
    except StoreError as error:
        found["unseen"].append(str(error))
    send(found)
    if save.phase != PRE_SAVE and program in RESTARTS:
        found.update(_verdict(evidence, RESTARTS[program], save.command[1:]))
        send(found)


def find(tracked: tuple[Tracked, ...], name: str, phase: str) -> Tracked | None:
    """The certificate that NAME means. Where several bear the nickname: the one whose save waits for this hook."""
    named = [one for one in tracked if name in (one.name, one.nickname)]
    waiting = [one for one in named if one.request and one.request.status == STATUSES[phase]]
    return next(iter(waiting or named), None)


def is_this_save(finding: Finding, tracked: Tracked, replaced: dict[str, Any] | None) -> bool:
    """Whether what is wrong before a save is this renewal itself, and no fault: that there is no certificate yet, or
    the one that it replaces ends soon; or that a store has the new one already: the CA's repository, cn=ca_renewal and
    certmonger have it before (freeipa.md, 5.5)."""
    new = tracked.request.certificate if tracked.request else None
    if new is None or finding.level in (UNKNOWN, PENDING):
        return False
    if replaced is None:
        return finding.check == "saved"
    if replaced["sha256"] == new.sha256:
        return False
    return finding.check == "expiry" or re.search(rf"\bserial {new.serial_text}\b", finding.found) is not None


def issued_by(renewals: tuple[Renewal, ...], tracked: Tracked, keys: set[str], sha256: str) -> tuple[str, str]:
    """The trace of the renewal that issued the certificate with this fingerprint, and ""; or "" and why there is none:
    only the newest one of this certificate explains a save. `keys` are those of the old certificate and of the new."""
    request = tracked.request
    names = {tracked.nickname, request.id if request else ""} - {""}
    ca = request.ca if request else ""
    mine = [
        one
        for one in renewals
        if one.nickname in names
        and (text((one.new or {}).get("sha256")) == sha256 or (one.key in keys and ca in ("", one.ca)))
    ]
    if not mine:
        return "", "no run of a helper for it is known"
    new = mine[-1].new or {}
    if new.get("sha256") == sha256:
        return mine[-1].trace_id, ""
    serial = text(new.get("serial"))
    return "", f"its last renewal {f'issued serial {serial}' if serial else 'issued nothing'}"


def _whose(evidence: Evidence, tracked: Tracked, phase: str, findings: list[Finding]) -> dict[str, Any]:
    """Which certificate and renewal. A save that the log does not explain is a finding."""
    request = tracked.request
    found: dict[str, Any] = {
        "request": request.id if request else None,
        "nickname": tracked.nickname or (request.id if request else None),
        "key": None,
        "ca": request.ca if request else "",
        "name": tracked.name,
        "trace_id": log.new_trace_id(),
        "trace_found": False,
    }
    try:
        held = evidence.held(tracked)
    except StoreError:  # the check `saved` says so
        held = None
    if phase == PRE_SAVE:
        found["replaced"] = {**held.as_event(), "pem": services.pem(held)} if held else None
    # certmonger has the new certificate before it is saved, and has read it back after that.
    new = request.certificate if request and phase == PRE_SAVE else held
    if new is None:
        return found
    found.update(key=new.spki_sha256, trace_id=new.sha256[:32])  # both hooks of one save share a trace in any case
    try:
        keys = {one.spki_sha256 for one in (new, held) if one}
        trace_id, why = issued_by(evidence.log, tracked, keys, new.sha256)
    except StoreError as error:
        findings.append(Finding(UNEXPLAINED, UNKNOWN, tracked.name, found=str(error)))
        return found
    if trace_id:
        found.update(trace_id=trace_id, trace_found=True)
    else:
        findings.append(_unexplained(tracked, new, why))
    return found


def _unexplained(tracked: Tracked, new: Certificate, why: str) -> Finding:
    return Finding(
        UNEXPLAINED,
        WARNING,
        certificate=tracked.name,
        where=tracked.location,
        expected=f"a run of the CA's helper that issued serial {new.serial_text}",
        found=why,
        breaks="where this certificate comes from cannot be told",
        remedy="See whether certwitness is registered for the CA (certwitness registration), and what certmonger did "
        "(journalctl -u certmonger).",
    )


def update_ahead(evidence: Evidence, tracked: Tracked, program: str) -> Iterator[Finding]:
    """Will the command reach the entries? FreeIPA searches o=ipaca for `(&(objectClass=inetOrgPerson)
    (description=*;ISSUER;SUBJECT))`, and takes no hit for success (freeipa.md, 3.6). Only the renewal master does."""
    try:
        ldap, new = evidence.directory, evidence.held(tracked)
        if new is None or not evidence.is_renewal_master:
            return
    except StoreError as error:
        yield Finding(
            UPDATE,
            ERROR,
            certificate=tracked.name,
            where=error.store,
            expected=f"389-ds answers, for {program} to update its entries",
            found=error.reason,
            breaks=f"{program} ends without an error, updates nothing" + _stays_stopped(program),
            remedy=f"Start 389-ds, then run the post-save command again: {_again(tracked)}",
        )
        return
    ending = f";{new.issuer};{new.subject}".casefold()
    for uid in tracked.role.users:
        person = ldap.person(uid)
        if person is None and uid == "ipakra" and not ldap.has_kra:
            continue
        texts = person.texts("description") if person else ()
        if not any(one.casefold().endswith(ending) for one in texts):
            yield Finding(
                UPDATE,
                CRITICAL,
                certificate=tracked.name,
                where=person.dn if person else f"uid={uid}",
                expected=f"a description that ends with {ending[1:]}",
                found=f"description {texts[0]!r}" if texts else "no description" if person else "no such entry",
                breaks=f"{program} does not find the entry, and does not say so: it does not get the certificate",
                remedy=f"Once the command has run: certwitness verify {tracked.name!r} tells what to write.",
            )


def _stays_stopped(program: str) -> str:
    return ", and leaves pki-tomcatd stopped" if program == "renew_ca_cert" else ""


def _again(tracked: Tracked) -> str:
    return redact_line(tracked.request.post_save) if tracked.request else "see getcert list"


def _verdict(evidence: Evidence, name: str, arguments: list[str]) -> dict[str, Any]:
    """Whether it is proven that the service does not start any more: `service` and `reasons`, {} if not. `arguments`
    are the command's: the instance of 389-ds."""
    there = evidence.host
    service = gate.named("@".join([name, *arguments[:1]]) if name == "dirsrv" else name, there)
    if service is None:
        return {}
    hold = holds.read(there.config, name)[0]
    (verdict,) = judging.verdicts(evidence, [service], {name: hold} if hold else {}, VERDICT_S)
    if verdict.allow:
        return {}
    return {"service": name, "reasons": [kept.finding(finding) for finding in verdict.reasons]}

# SPDX-License-Identifier: MIT
"""What certmonger saved: is it there, is it valid, does NSS trust it as it must."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import datetime

from certwitness import catalogue, landing, schedule
from certwitness.certificates import Certificate
from certwitness.checks import chain, keys, pins, remedies, services
from certwitness.checks.check import certificate_check
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.tracked import Tracked

# certmonger begins to renew this long before the end (enroll_ttls), and what is still there a week before is late.
RENEWED_BEFORE_S, LATE_S = schedule.DEFAULT_TTLS[0], schedule.DEFAULT_TTLS[1]


@certificate_check(
    "saved",
    CRITICAL,
    rows=(6,),
    compares="the place where certmonger saves the certificate with what the CA issued, or with --expect",
    failure="a certificate was issued, and the service never gets it",
)
def saved(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """What LDAP holds and this host does not is the business of ca-renewal."""
    if tracked.storage == "FILE" and evidence.pem(tracked.location).problem:
        problem = evidence.pem(tracked.location).problem
        yield _not_there(evidence, tracked, CRITICAL if evidence.held(tracked) is None else ERROR, problem)
        return
    held = evidence.held(tracked)
    if held is None:
        yield _not_there(evidence, tracked, CRITICAL, f"no certificate {tracked.name}")
        return
    for holding in landing.holdings(evidence, tracked, catalogue.SAVED):
        if holding.mark in (landing.LANDED, landing.UNKNOWN) or _others_say_it(evidence, tracked):
            continue
        expected = evidence.wanted(tracked)
        yield Finding(
            "",
            ERROR,
            where=holding.where,
            expected=f"serial {expected.serial_text}"
            if expected and expected != held
            else "the newest certificate of the CA",
            found=f"serial {held.serial_text}{f': {holding.reason}' if holding.reason else ''}",
            breaks=f"what is saved ends on {_date(held.not_after)}, and what was issued is not used",
            remedy=f"Let certmonger renew it once more {services.where_to_renew(tracked, evidence)}.",
            commands=services.renew(tracked, evidence),
        )


def _others_say_it(evidence: Evidence, tracked: Tracked) -> bool:
    """Whether cn=ca_renewal holds a newer certificate: that is its own finding."""
    found = landing.holdings(evidence, tracked, catalogue.CA_RENEWAL)
    return evidence.wanted(tracked) == evidence.held(tracked) and landing.worst(found) == landing.NEWER


def _not_there(evidence: Evidence, tracked: Tracked, level: str, found: str) -> Finding:
    """certmonger keeps a copy of what it saved: as long as that is valid, it only has to be put back."""
    kept = tracked.request.certificate if tracked.request else None
    if kept is not None and kept.not_after > evidence.now and level == CRITICAL:
        commands = _put_back(evidence, tracked, kept)
        remedy = f"Put back the certificate that certmonger saved there (serial {kept.serial_text})."
    else:
        commands = services.renew(tracked, evidence)
        remedy = f"Restore it from a backup, or have it issued again {services.where_to_renew(tracked, evidence)}."
    return Finding(
        "",
        level,
        where=tracked.location,
        expected=f"the certificate {tracked.name}",
        found=found,
        breaks=services.unusable(tracked.role),
        remedy=remedy,
        commands=commands,
    )


def _put_back(evidence: Evidence, tracked: Tracked, kept: Certificate) -> tuple[str, ...]:
    text = services.pem(kept)
    if tracked.storage == "FILE":
        return (f"cat > {shlex.quote(tracked.location)} <<'EOF'\n{text}\nEOF",)
    trust = tracked.role.trust or "u,u,u"
    return (services.certutil(evidence, tracked.location, "-A", "-n", tracked.nickname, "-t", trust, text=text),)


@certificate_check(
    "expiry",
    CRITICAL,
    compares="the certificate's validity with the clock and with certmonger's first look at renewal, 28 days before",
    failure="it is refused from that moment on",
    found_by="IPACertmongerExpirationCheck, IPACertfileExpirationCheck, CASystemCertExpiryCheck",
)
def expiry(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """WARNING once certmonger should have renewed it; ERROR a week before the end, or if nothing is being done."""
    held = evidence.held(tracked)
    if held is None:
        return
    left = (held.not_after - evidence.now).total_seconds()
    if held.not_before > evidence.now:
        yield _invalid(evidence, tracked, held, f"valid only from {_date(held.not_before)}")
    elif left <= 0:
        yield _invalid(evidence, tracked, held, f"expired on {_date(held.not_after)}")
    elif left < RENEWED_BEFORE_S:
        idle = idle_because(tracked)
        why = f", and {idle}" if idle else ""
        yield Finding(
            "",
            ERROR if idle or left < LATE_S else WARNING,
            where=tracked.location,
            expected="renewed four weeks before its end",
            found=f"serial {held.serial_text} ends in {schedule.duration(left)}, on {_date(held.not_after)}{why}",
            breaks=f"from then on {services.refused(tracked.role)}",
            remedy=f"See what certmonger says (getcert list); renew it {services.where_to_renew(tracked, evidence)}.",
            commands=services.renew(tracked, evidence),
        )


def idle_because(tracked: Tracked) -> str:
    """Why certmonger does nothing for the certificate now, or does it in vain; "" if it is busy with it."""
    request = tracked.request
    if request is None:
        return ""
    if not request.monitoring or not request.autorenew:
        return "certmonger is told not to renew it"
    if request.stuck:
        return f"its request is stuck at {request.status}"
    if request.ca_error:
        return f"the last attempt failed: {request.ca_error}"
    return ""


def _invalid(evidence: Evidence, tracked: Tracked, held: Certificate, found: str) -> Finding:
    if held.not_before > evidence.now:
        remedy = "Check this host's clock (chronyc tracking); renew it if the clock is right."
        since = ""
    else:
        remedy = (
            f"Renew it {services.where_to_renew(tracked, evidence)}. If the CA itself no longer runs because of it:"
            " ipa-cert-fix, on the server that is to be the renewal master."
        )
        since = held.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Finding(
        "",
        CRITICAL,
        where=tracked.location,
        expected=f"valid on {_date(evidence.now)}",
        found=f"serial {held.serial_text} {found}",
        breaks=services.refused(tracked.role),
        remedy=remedy,
        commands=services.renew(tracked, evidence),
        since=since,
    )


@certificate_check(
    "trust-flags",
    CRITICAL,
    rows=(15,),
    compares="the trust flags in the NSS database with those that Dogtag needs (audit u,u,Pu, CA CTu,Cu,Cu)",
    failure="Dogtag trusts nobody (the CA's C); its self-test fails (before PKI 10.6.8), or says so with every look",
    found_by="IPACertNSSTrust, CASystemCertTrustFlagCheck",
    applies=lambda tracked: tracked.storage == "NSSDB" and bool(tracked.role.trust),
)
def trust_flags(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """`u` is not asked for: NSS shows it where a key is (or was), which the check key looks at."""
    entry = evidence.entry(tracked)
    wanted = tracked.role.trust
    if entry is None or (faults := untrusted(entry.trust, wanted)) == "":
        return
    audit = tracked.role.key in ("audit", "kra-audit")
    # Without C for SSL Dogtag refuses 389-ds's certificate. The rest stopped the CA before PKI 10.6.8, when the
    # self-test looked at more than dates (PKI c7b8771119).
    nobody = tracked.role.key == "ca" and "C" not in entry.trust.split(",")[0]
    unit = services.unit(evidence.host, tracked.role)
    yield Finding(
        "",
        CRITICAL if nobody else ERROR,
        where=tracked.location,
        expected=f"trust {wanted}",
        found=f"trust {entry.trust}: {faults}",
        breaks="pki-tomcatd will not start: it refuses 389-ds's certificate"
        if nobody
        else "Dogtag's self-test fails: before PKI 10.6.8 pki-tomcatd does not start",
        remedy=f"Set the flags{' (certutil -h TOKEN)' if tracked.on_hardware else ''} and restart Dogtag."
        + (" FreeIPA 4.13.0 to 4.13.3 loses them at each renewal of this certificate." if audit else ""),
        commands=()
        if tracked.on_hardware
        else (
            services.certutil(evidence, tracked.location, "-M", "-n", tracked.nickname, "-t", wanted),
            remedies.restart(unit),
        ),
    )


def untrusted(found: str, wanted: str) -> str:
    """What is wrong with trust flags (``SSL,S/MIME,signing``), "" if nothing is: a flag that is wanted and not there,
    or a `p`, which forbids. Where several certificates of a nickname differ (``u,u,u or u,u,Pu``) one that has them is
    enough."""
    faults = [_untrusted(one, wanted) for one in found.split(" or ")]
    return "" if "" in faults else faults[0]


def _untrusted(found: str, wanted: str) -> str:
    fields = zip(("SSL", "S/MIME", "code signing"), re.split(",", found + ",,"), wanted.split(","))
    missing = [f"{''.join(lost)} for {name}" for name, has, must in fields if (lost := _lost(has, must))]
    if "p" in found.replace("u", ""):
        return "p forbids its use"
    return f"without {', '.join(missing)}" if missing else ""


def _lost(has: str, must: str) -> list[str]:
    return [flag for flag in must if flag != "u" and flag not in has]


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


CHECKS = (pins.pin, keys.key, saved, expiry, chain.chain, trust_flags, keys.file_mode)

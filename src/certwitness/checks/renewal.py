# SPDX-License-Identifier: MIT
"""How a shared certificate gets from the renewal master to all other CA servers: cn=ca_renewal.

The renewal master's helper writes what it was issued into cn=<nickname>,cn=ca_renewal; everybody else's waits there for
a certificate that is another one than its own, older or newer (freeipa.md, sections 3.1 to 3.7 and 5.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from certwitness import landing
from certwitness.catalogue import CA_RENEWAL
from certwitness.certificates import Certificate
from certwitness.checks import remedies, services, topology
from certwitness.checks.check import certificate_check
from certwitness.checks.wording import newest, since, told
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.stores.directory import Directory
from certwitness.tracked import Tracked

PLAIN, BINARY = "usercertificate", "usercertificate;binary"
# certmonger's first reminder: until then it has not begun to renew by itself (certmonger 0.79.17, default TTLs).
SOON = timedelta(days=28)
_NEVER = "the other CA servers never get it: they keep the old one until it expires"


def _is_shared(tracked: Tracked) -> bool:
    return CA_RENEWAL in tracked.role.stores


@certificate_check(
    "ca-renewal",
    CRITICAL,
    rows=(5, 6, 7),
    replicates=True,
    applies=_is_shared,
    compares="the certificate in cn=<nickname>,cn=ca_renewal with the one that certmonger saved",
    failure="other CA servers never get the new certificate, or fetch one that Dogtag's users do not have; or this one "
    "has not fetched it yet",
)
def ca_renewal(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """The entry must hold one certificate, the one that is saved."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    ldap, name = evidence.directory, tracked.role.ca_renewal
    entry = ldap.ca_renewal.get(name)
    dn = entry.dn if entry else f"cn={name},cn=ca_renewal,cn=ipa,cn=etc,{ldap.suffix}"
    stored = entry.certificates(PLAIN) if entry else ()
    if entry and not stored and entry.attributes.get(BINARY):
        return  # ca-renewal-binary
    if not entry and not landing.was_renewed(evidence, tracked, wanted):
        return  # a fresh installation has no entries: the first renewal makes them
    how, other = landing.mark(wanted, stored)
    values = len(entry.attributes.get(PLAIN, ())) if entry else 0
    if how == landing.LANDED and values == 1:
        return
    found = newest(stored, values - len(stored)) if entry else "there is no such entry"
    replace = remedies.renewal_entry(evidence.host, dn, name, wanted, exists=entry is not None)
    expected = f"{told(wanted)}, as in {tracked.location}"
    began = since(evidence, tracked, wanted)
    if how == landing.LANDED:
        yield Finding(
            "",
            ERROR,
            where=dn,
            expected=f"one value: {expected}",
            found=f"{values} values",
            breaks="FreeIPA's helper reads one value: with several it ends with an Internal error on other CA servers",
            remedy="Leave this one alone in the entry.",
            commands=(replace,) if _is_newest(ldap, wanted) else (),
        )
    elif how == landing.NEWER and other:
        yield _ahead(evidence, tracked, dn, wanted, other)
    elif evidence.is_renewal_master:
        yield Finding(
            "",
            ERROR,
            where=dn,
            expected=expected,
            found=found,
            breaks=_NEVER,
            remedy="Put the saved certificate there. FreeIPA's helper gives up silently when it cannot (journal: "
            "'Giving up. To retry storing the certificate').",
            commands=(replace,),
            since=began,
        )
    else:
        masters = " and ".join(evidence.directory.renewal_masters) or "the renewal master"
        fresh = _is_newest(ldap, wanted)
        yield Finding(
            "",
            ERROR,
            where=dn,
            expected=expected,
            found=found,
            breaks="at its next renewal this server takes what is there, and so loses the newer certificate"
            if stored
            else "the other CA servers cannot get it from there",
            remedy=f"On {masters}, put the newest certificate there; "
            + (
                "it is the one saved here, and the entry replicates."
                if fresh
                else "`certwitness verify` there says how."
            ),
            commands=(replace,) if fresh else (),
            since=began,
        )


def _ahead(evidence: Evidence, tracked: Tracked, dn: str, wanted: Certificate, other: Certificate) -> Finding:
    """cn=ca_renewal holds a newer certificate than this server."""
    if evidence.is_renewal_master:
        lacking = [
            uid
            for uid in tracked.role.users
            for entry in [evidence.directory.person(uid)]
            if entry and other not in (*entry.certificates(PLAIN), *entry.certificates(BINARY))
        ]
        breaks = "other CA servers fetch a certificate that was never saved on the renewal master"
        if lacking:
            breaks += f" and that {' and '.join(lacking)} does not have: it is refused there (error 49, or no agent)"
        return Finding(
            "",
            CRITICAL if lacking else ERROR,
            where=dn,
            expected=f"{told(wanted)}, as in {tracked.location}",
            found=told(other),
            breaks=breaks,
            remedy="The renewal ended between storing and saving. "
            + (
                "`ipa-certupdate` takes the CA's certificate from LDAP."
                if tracked.role.key == "ca"
                else "Renew once more on this server: all stores get the new one."
            ),
            commands=("ipa-certupdate",) if tracked.role.key == "ca" else services.renew(tracked, evidence),
            since=str(other.as_event()["not_before"]),
        )
    left = wanted.not_after - evidence.now
    waiting = tracked.request is not None and tracked.request.status == "CA_WORKING"
    if tracked.role.key == "ca":  # resubmit would clear its request's CA flag
        commands: tuple[str, ...] = ("ipa-certupdate",)
    elif waiting:
        commands = (remedies.getcert(tracked, "refresh"),)
    else:  # it is there, so there is something to wait for
        commands = (remedies.getcert(tracked, "resubmit", "-w"),) if tracked.request else ()
    return Finding(
        "",
        WARNING if left > SOON else ERROR,
        where=tracked.location,
        expected=f"{told(other)}, as in {dn}",
        found=f"{told(wanted)}, until {wanted.not_after:%Y-%m-%d}",
        breaks="this server goes on with the old certificate"
        + (f" for {left.days} days more" if left.days > 0 else ", which has expired"),
        remedy="Fetch it: certmonger looks by itself every eight hours while it waits, and otherwise only when its own "
        "certificate nears its end.",
        commands=commands,
        since=str(other.as_event()["not_before"]),
    )


@certificate_check(
    "ca-renewal-binary",
    ERROR,
    rows=(4,),
    replicates=True,
    applies=_is_shared,
    compares="the attribute's name in cn=<nickname>,cn=ca_renewal",
    failure="FreeIPA's helper knows plain userCertificate only, and ends with an Internal error",
)
def ca_renewal_binary(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """The certificate must be in plain userCertificate; one under ;binary alone is not seen."""
    wanted, ldap = evidence.wanted(tracked), evidence.directory
    entry = ldap.ca_renewal.get(tracked.role.ca_renewal)
    if wanted is None or entry is None or entry.attributes.get(PLAIN) or not entry.attributes.get(BINARY):
        return
    held = entry.certificates(BINARY)
    best = max((wanted, *held), key=lambda one: one.not_before)
    yield Finding(
        "",
        ERROR,
        where=entry.dn,
        expected="plain userCertificate",
        found=f"only userCertificate;binary: {newest(held, entry.unreadable(BINARY))}",
        breaks="FreeIPA's helper ends with an Internal error on the CA servers that fetch it from here",
        remedy="Move it to the plain attribute.",
        commands=(
            remedies.modify(
                evidence.host,
                entry.dn,
                ("delete", "userCertificate;binary", []),
                ("replace", "userCertificate", [best.der]),
            ),
        ),
    )


def _is_newest(ldap: Directory, wanted: Certificate) -> bool:
    """Whether the CA issued nothing for this name after the wanted certificate."""
    return all(one.not_before <= wanted.not_before for one in ldap.issued.get(wanted.subject, ()))


CHECKS = (ca_renewal, ca_renewal_binary, *topology.CHECKS)

# SPDX-License-Identifier: MIT
"""Dogtag's users in LDAP: do they hold the certificates that pki-tomcatd and FreeIPA's agent show to be taken for them?

Two look at them, each in its own way (freeipa.md, section 4): 389-ds, when pki-tomcatd binds, compares with
`userCertificate;binary` and only where that has no value with plain `userCertificate`; Dogtag itself finds an agent by
`description` and compares with plain `userCertificate` alone. And FreeIPA, after a renewal on the renewal master, adds
the new certificate to the plain values of those entries whose `description` ends with its issuer and subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from certwitness.catalogue import USERS
from certwitness.certificates import Certificate
from certwitness.checks import mapping, remedies
from certwitness.checks.check import certificate_check
from certwitness.checks.wording import newest, since, told
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, Finding
from certwitness.stores.directory import Directory, Entry, parse_description, same_dn
from certwitness.tracked import Tracked

PLAIN, BINARY = "usercertificate", "usercertificate;binary"
PKIDBUSER, IPAKRA = "pkidbuser", "ipakra"
# What fails where the user lacks the certificate, and where Dogtag does not find it though 389-ds may.
_NO_START = "pki-tomcatd will not start: 389-ds maps its certificate to nobody (error 49)"
_NO_AGENT = "Dogtag does not know FreeIPA's agent (Invalid Credential.): no certificate can be issued or renewed"
_NO_VAULT = "the KRA does not know FreeIPA's agent: vaults do not work"
_LACKS = {PKIDBUSER: (CRITICAL, _NO_START), "ipara": (CRITICAL, _NO_AGENT), IPAKRA: (ERROR, _NO_VAULT)}
_UNKNOWN_TO_DOGTAG = {
    **_LACKS,
    PKIDBUSER: (ERROR, "389-ds still knows pki-tomcatd, but Dogtag does not: the CA cannot reach the KRA as its user"),
}
_NEVER_FOUND = "the next renewal will not reach this entry, as FreeIPA looks for it by these names, and then "


class _User(NamedTuple):
    """A user that must hold `wanted`, and what it has."""

    uid: str
    entry: Entry
    wanted: Certificate
    plain: tuple[Certificate, ...]
    binary: tuple[Certificate, ...]

    @property
    def there(self) -> bool:
        """Whether it has the certificate at all."""
        return self.wanted in self.plain or self.wanted in self.binary


def _has_users(tracked: Tracked) -> bool:
    return USERS in tracked.role.stores


@certificate_check(
    "user-certificate",
    CRITICAL,
    rows=(1, 8, 11),
    found_by="ipa-healthcheck (IPADogtagCertsMatchCheck, IPARAAgent, IPAKRAAgent)",
    replicates=True,
    applies=_has_users,
    compares="the saved certificate with userCertificate of pkidbuser, or of ipara and ipakra",
    failure="pki-tomcatd does not start (error 49), or Dogtag refuses FreeIPA's agent",
)
def user_certificate(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """The user does not hold the certificate under any form of the attribute."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    for uid, user in _users(evidence, tracked, wanted):
        level, breaks = _LACKS[uid]
        if user is None:
            yield _no_entry(uid, level, breaks)
            continue
        if user.there:
            continue
        found = newest((*user.plain, *user.binary), user.entry.unreadable(PLAIN) + user.entry.unreadable(BINARY))
        stale = _description_fault(evidence, tracked, user)
        changes: list[remedies.Change] = [("add", "userCertificate", [wanted.der])]
        if stale:
            changes.append(("replace", "description", [remedies.description(wanted, user.entry)]))
        yield Finding(
            "",
            level,
            where=user.entry.dn,
            expected=f"userCertificate with {told(wanted)}, as in {tracked.location}",
            found=f"{found}; {stale}" if stale else found,
            breaks=breaks,
            remedy=_replication(evidence, tracked, wanted)
            + "Add the certificate (the old values stay: other servers may still use them)"
            + (" and set description." if stale else "."),
            commands=(remedies.modify(evidence.host, user.entry.dn, *changes),),
            since=since(evidence, tracked, wanted),
        )


@certificate_check(
    "user-description",
    CRITICAL,
    rows=(2, 11),
    found_by="ipa-healthcheck (IPARAAgent, IPAKRAAgent; none for pkidbuser)",
    replicates=True,
    applies=_has_users,
    compares="serial, issuer and subject of the saved certificate with description of the user that holds it",
    failure="Dogtag finds no user for the certificate; with wrong names the next renewal does not find the entry",
)
def user_description(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """The user holds the certificate, and its description is of another one. Without: user-certificate tells both."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    for uid, user in _users(evidence, tracked, wanted):
        fault = _description_fault(evidence, tracked, user) if user and user.there else ""
        if user is None or not fault:
            continue
        level, breaks = _UNKNOWN_TO_DOGTAG[uid]
        if uid == PKIDBUSER and not _names_fit(user):
            level, breaks = CRITICAL, _NEVER_FOUND + _NO_START
        description = remedies.description(wanted, user.entry)
        yield Finding(
            "",
            level,
            where=user.entry.dn,
            expected=f"description: {description}",
            found=fault,
            breaks=breaks,
            remedy="Set description to that of the certificate.",
            commands=(remedies.modify(evidence.host, user.entry.dn, ("replace", "description", [description])),),
            since=since(evidence, tracked, wanted),
        )


@certificate_check(
    "user-binary",
    CRITICAL,
    rows=(4,),
    replicates=True,
    applies=_has_users,
    compares="userCertificate;binary of the user with its plain userCertificate",
    failure="a ;binary value hides all plain ones from 389-ds, and is itself hidden from Dogtag and FreeIPA",
)
def user_binary(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """There are ;binary values that hide others, or the certificate is in them alone."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    for uid, user in _users(evidence, tracked, wanted):
        values = user.entry.attributes.get(BINARY, ()) if user else ()
        if user is None or not values or (uid != PKIDBUSER and (wanted not in user.binary or wanted in user.plain)):
            continue  # Dogtag does not look at ;binary: beside a plain value it is harmless
        if wanted in user.binary and wanted in user.plain:
            level, state = ERROR, "the certificate is in both"
            breaks = "the next renewal adds its certificate to the plain values, where 389-ds does not look"
        elif wanted in user.binary:
            (level, breaks), state = _UNKNOWN_TO_DOGTAG[uid], "the certificate is in ;binary alone"
        elif wanted in user.plain:
            level, breaks, state = CRITICAL, _NO_START, f"the certificate is in plain, but ;binary has {_other(user)}"
        else:
            level, state = ERROR, f";binary has {_other(user)}"
            breaks = "389-ds sees no plain value, whatever is added there"
        moved = [one.der for one in user.binary if one not in user.plain]
        changes: list[remedies.Change] = [("add", "userCertificate", moved)] if moved else []
        yield Finding(
            "",
            level,
            where=user.entry.dn,
            expected="plain userCertificate only",
            found=f"{len(values)} userCertificate;binary beside {len(user.entry.attributes.get(PLAIN, ()))} plain: "
            + state,
            breaks=breaks,
            remedy="Move the ;binary values to the plain attribute." if moved else "Delete the ;binary values.",
            commands=(
                remedies.modify(evidence.host, user.entry.dn, *changes, ("delete", "userCertificate;binary", [])),
            ),
        )


def _users(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[tuple[str, _User | None]]:
    """The users that must hold the certificate; None for one that is not there. None at all on a server without CA."""
    ldap = evidence.directory
    if not ldap.has_ca:
        return
    for uid in tracked.role.users:
        entry = ldap.person(uid)
        if entry is not None:
            yield uid, _User(uid, entry, wanted, entry.certificates(PLAIN), entry.certificates(BINARY))
        elif uid != IPAKRA or ldap.has_kra:
            yield uid, None


def _no_entry(uid: str, level: str, breaks: str) -> Finding:
    tree = "ou=people,o=kra,o=ipaca" if uid == IPAKRA else "ou=people,o=ipaca"
    return Finding(
        "",
        level,
        where=f"uid={uid},{tree}",
        expected="an entry with the certificate",
        found="there is no such entry",
        breaks=breaks,
        remedy="Restore the entry and its groups' memberships from another CA server or a backup of o=ipaca; where "
        "another CA server has it, replication of o=ipaca is broken.",
    )


def _other(user: _User) -> str:
    return newest(user.binary, user.entry.unreadable(BINARY))


def _description_fault(evidence: Evidence, tracked: Tracked, user: _User) -> str:
    """What is wrong with description, "" if nothing is. It may be ahead of this server, of a newer certificate that is
    not saved here yet: then not the entry is wrong."""
    wanted, texts = user.wanted, user.entry.texts("description")
    fitting = [wanted, *_newer(evidence.directory, tracked, user)]
    fault = "there is no description"
    for text in texts:
        description = parse_description(text)
        if description is None:
            fault = f"description is {text!r}"
        elif not same_dn(description.issuer, wanted.issuer):
            fault = f"description has the issuer {description.issuer}"
        elif not same_dn(description.subject, wanted.subject):
            fault = f"description has the subject {description.subject}"
        elif all(description.serial != one.serial for one in fitting):
            fault = f"description has the serial {description.serial}"
        else:
            return ""
    return fault


def _newer(ldap: Directory, tracked: Tracked, user: _User) -> Iterator[Certificate]:
    """Certificates that came after the wanted one, wherever the directory has them."""
    wanted, shared = user.wanted, ldap.ca_renewal.get(tracked.role.ca_renewal)
    known = (*user.plain, *user.binary, *(shared.certificates(PLAIN) if shared else ()))
    for one in (*known, *ldap.issued.get(wanted.subject, ())):
        if same_dn(one.subject, wanted.subject) and one.not_before > wanted.not_before:
            yield one


def _names_fit(user: _User) -> bool:
    """Whether FreeIPA's search for entries to update finds this one."""
    descriptions = [parse_description(text) for text in user.entry.texts("description")]
    return any(
        one and same_dn(one.issuer, user.wanted.issuer) and same_dn(one.subject, user.wanted.subject)
        for one in descriptions
    )


def _replication(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> str:
    """What to look at first where all of o=ipaca lacks what FreeIPA's own suffix has; "" elsewhere."""
    ldap, host = evidence.directory, evidence.host
    shared = ldap.ca_renewal.get(tracked.role.ca_renewal)
    ours = ldap.ca_subject is not None and same_dn(wanted.issuer, ldap.ca_subject)
    if shared is None or wanted not in shared.certificates(PLAIN) or not ours:
        return ""
    if wanted in ldap.issued.get(wanted.subject, ()):
        return ""
    return (
        "cn=ca_renewal has this certificate, but the CA's own records in o=ipaca lack it too: replication of o=ipaca "
        f"to this server may be broken. See `dsconf {host.instance} repl-agmt list --suffix o=ipaca` and "
        f"`dsconf {host.instance} repl-agmt status --suffix o=ipaca AGREEMENT` here and on the renewal master "
        "(`ipa-replica-manage list` names the servers), and mend that first. "
    )


CHECKS = (user_certificate, user_description, user_binary, *mapping.CHECKS)

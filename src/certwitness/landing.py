# SPDX-License-Identifier: MIT
"""Did it land? For each tracked certificate: the stores that must hold it, and what is there.

The certificate that all are compared with is the one that certmonger saved (or the expected one). Certificates are
compared by their DER; "older" and "newer" go by the beginning of validity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from certwitness import catalogue
from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.stores import cs_cfg
from certwitness.stores.directory import Entry
from certwitness.stores.names import parse_description, same_dn, serial
from certwitness.tracked import Tracked

LANDED, OLDER, NEWER, OTHER, MISSING, UNKNOWN = "landed", "older", "newer", "other", "missing", "unknown"
# The worst first: what a cell of several places shows.
MARKS = (MISSING, OTHER, OLDER, NEWER, UNKNOWN, LANDED)


@dataclass(frozen=True)
class Holding:
    """What one place of a store holds for one certificate.

    `store` is one of catalogue.STORES; `where` names the place: a DN, a file, a database, an address; `mark` is one of
    MARKS; `found` is the certificate that is there instead, if that is known; `reason` is one line on what is wrong, or
    why nobody could look.
    """

    store: str
    where: str
    mark: str
    found: Certificate | None = None
    reason: str = ""


def holdings(evidence: Evidence, tracked: Tracked, *stores: str) -> tuple[Holding, ...]:
    """The places of `stores` (all without any) that must hold `tracked`, in the order in which a renewal reaches them.

    Places that do not apply are left out: most of CS.cfg from PKI 11.5 on, the repository of a CA that did not issue
    it. Where nothing is saved at all, there is nothing to compare with, and only that is told.
    """
    try:
        wanted = evidence.wanted(tracked)
    except StoreError as error:
        return (Holding(catalogue.SAVED, tracked.location, UNKNOWN, reason=str(error)),)
    if wanted is None:
        return (Holding(catalogue.SAVED, tracked.location, MISSING, reason=f"no certificate {tracked.name} there"),)
    found: list[Holding] = []
    for store in catalogue.STORES:
        if (stores and store not in stores) or store not in tracked.role.stores:
            continue
        try:
            found += _READERS[store](evidence, tracked, wanted)
        except StoreError as error:
            found.append(Holding(store, error.store, UNKNOWN, reason=str(error)))
    return tuple(found)


def mark(wanted: Certificate, found: Sequence[Certificate]) -> tuple[str, Certificate | None]:
    """How what is found compares with what is wanted, and the newest of it where that is another one."""
    if wanted in found:
        return LANDED, None
    if not found:
        return MISSING, None
    newest = max(found, key=lambda one: one.not_before)
    if newest.not_before == wanted.not_before:
        return OTHER, newest
    return (NEWER if newest.not_before > wanted.not_before else OLDER), newest


def was_renewed(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> bool:
    """Whether the saved certificate is not the first one of its name."""
    issued = evidence.directory.issued.get(wanted.subject, ())
    if any(one.not_before < wanted.not_before for one in issued):
        return True
    renewal = evidence.renewal(tracked)
    return renewal is not None and renewal.state == "issued"


def worst(found: Iterable[Holding]) -> str:
    """The worst mark among them, "" without any."""
    return min((holding.mark for holding in found), key=MARKS.index, default="")


def _hold(store: str, where: str, wanted: Certificate, found: Sequence[Certificate], reason: str = "") -> Holding:
    how, other = mark(wanted, found)
    return Holding(store, where, how, other, "" if how == LANDED else reason)


def _repository(evidence: Evidence, _: Tracked, wanted: Certificate) -> Iterator[Holding]:
    ldap = evidence.directory
    if not ldap.has_ca or ldap.ca_subject is None or not same_dn(wanted.issuer, ldap.ca_subject):
        return  # another CA issued it
    there = wanted in ldap.issued.get(wanted.subject, ())
    yield Holding(catalogue.REPOSITORY, "ou=certificateRepository,ou=ca,o=ipaca", LANDED if there else MISSING)


def _ca_renewal(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    name, ldap = tracked.role.ca_renewal, evidence.directory
    where = f"cn={name},cn=ca_renewal,cn=ipa,cn=etc,{ldap.suffix}"
    entry = ldap.ca_renewal.get(name)
    if entry is None and not was_renewed(evidence, tracked, wanted):
        return  # a fresh installation has no entries: the first renewal makes them
    if entry is None:
        yield Holding(catalogue.CA_RENEWAL, where, MISSING, reason="there is no such entry")
        return
    # FreeIPA reads the plain attribute alone.
    found = entry.certificates("usercertificate")
    reason = "" if found else _why_none(entry)
    yield _hold(catalogue.CA_RENEWAL, entry.dn, wanted, found, reason)


def _saved(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    held = evidence.held(tracked)
    if held != wanted:
        yield _hold(catalogue.SAVED, tracked.location, wanted, [held] if held else [])
        return
    reason = _issued_since(evidence, tracked, wanted)
    if reason:
        yield Holding(catalogue.SAVED, tracked.location, OLDER, wanted, f"{reason}, which was never saved here")
    else:
        yield Holding(catalogue.SAVED, tracked.location, LANDED)


def _issued_since(evidence: Evidence, tracked: Tracked, held: Certificate) -> str:
    """What was issued after the certificate held for the same subject and key, by the log or by the CA's repository:
    one line, "" where that is nothing."""
    renewal = evidence.renewal(tracked)
    new = (renewal.new if renewal and renewal.state == "issued" else None) or {}
    facts = held.as_event()
    if new.get("spki_sha256") == facts["spki_sha256"] and str(new.get("not_before")) > facts["not_before"]:
        return f"the helper was given serial {new.get('serial')}"
    try:
        issued = evidence.directory.issued.get(held.subject, ())
    except StoreError:
        return ""  # the repository's own cell says so
    newer = [
        one
        for one in issued
        if one.spki_sha256 == held.spki_sha256 and same_dn(one.issuer, held.issuer) and one.not_before > held.not_before
    ]
    newest = max(newer, key=lambda one: one.not_before, default=None)
    return f"the CA has issued serial {newest.serial_text} since" if newest else ""


def _cs_cfg(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    for subsystem, key in tracked.role.directives:
        path = evidence.host.kra_cs_cfg if subsystem == "kra" else evidence.host.cs_cfg
        values = evidence.cs_cfg(subsystem)
        # PKI 11.5 and newer reads its own certificates from NSS alone and dropped these keys, the requests' among them;
        # FreeIPA goes on writing the certificates', which nobody reads. The connector's is read by all versions.
        if ".connector." not in key and not any(name.endswith(".certreq") for name in values):
            continue
        if key not in values and ".connector." in key:
            continue  # no KRA is connected
        found = cs_cfg.certificate(values, key)
        if isinstance(found, str):
            yield Holding(catalogue.CS_CFG, f"{path}: {key}", OTHER, reason=found)
        else:
            yield _hold(catalogue.CS_CFG, f"{path}: {key}", wanted, [found] if found else [])


def _users(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    ldap = evidence.directory
    for uid in tracked.role.users if ldap.has_ca else ():
        entry = ldap.person(uid)
        if entry is None:
            if uid == "ipakra" and not ldap.has_kra:
                continue
            yield Holding(catalogue.USERS, f"uid={uid}", MISSING, reason="there is no such entry")
            continue
        found = accepted(entry, uid)
        yield _hold(catalogue.USERS, entry.dn, wanted, found, "" if found else _why_none(entry))
        yield replace(_description(entry, wanted), where=f"{entry.dn}: description")


def accepted(entry: Entry, uid: str) -> tuple[Certificate, ...]:
    """The certificates of a user that whoever asks will compare with.

    389-ds maps pkidbuser, and looks at `userCertificate;binary` alone where that has a value (ldaputil/certmap.c);
    Dogtag authenticates the agents, and looks at the plain attribute alone (PKILDAPRealm).
    """
    if uid == "pkidbuser" and entry.attributes.get("usercertificate;binary"):
        return entry.certificates("usercertificate;binary")
    return entry.certificates("usercertificate")


def _description(entry: Entry, wanted: Certificate) -> Holding:
    texts = entry.texts("description")
    if not texts:
        return Holding(catalogue.USERS, entry.dn, MISSING, reason="there is no description")
    reason, described = "", None
    for text in texts:
        description = parse_description(text)
        if description is None:
            reason = f"description is {text!r}"
        elif description.serial != wanted.serial:
            reason = f"description names serial {description.serial}"
            held = entry.certificates("usercertificate")
            described = next((one for one in held if one.serial == description.serial), None)
        elif not same_dn(description.issuer, wanted.issuer):
            reason = f"description names the issuer {description.issuer}"
        elif not same_dn(description.subject, wanted.subject):
            reason = f"description names the subject {description.subject}"
        else:
            return Holding(catalogue.USERS, entry.dn, LANDED)
    how, other = mark(wanted, [described]) if described else (OTHER, None)
    return Holding(catalogue.USERS, entry.dn, how, other, reason)


def _authority(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    """Dogtag makes the host authority's entry without a serial; FreeIPA's hook puts one in at the first renewal."""
    ldap = evidence.directory
    shared = ldap.ca_renewal.get(tracked.role.ca_renewal)
    known = [*ldap.issued.get(wanted.subject, ()), *(shared.certificates("usercertificate") if shared else ())]
    known += [one for entry in ldap.ca_store for one in entry.certificates("cacertificate;binary")]
    for entry in ldap.authorities:
        if any(same_dn(name, wanted.subject) for name in entry.texts("authoritydn")):
            texts = entry.texts("authorityserial")
            if not texts and tracked.role.key == "ca":
                continue
            serials = {serial(text) for text in texts}
            if wanted.serial in serials:
                yield Holding(catalogue.AUTHORITY, entry.dn, LANDED)
                continue
            found = [one for one in known if one.serial in serials and same_dn(one.subject, wanted.subject)]
            how, other = mark(wanted, found) if found else (OTHER, None)
            reason = f"authoritySerial is {', '.join(texts) or 'not set'}"
            yield Holding(catalogue.AUTHORITY, entry.dn, how, other, reason)


def _ca_store(evidence: Evidence, _: Tracked, wanted: Certificate) -> Iterator[Holding]:
    ldap = evidence.directory
    container = f"cn=certificates,cn=ipa,cn=etc,{ldap.suffix}"
    ours = [
        entry
        for entry in ldap.ca_store
        if any(same_dn(subject, wanted.subject) for subject in entry.texts("ipacertsubject"))
        or any(same_dn(one.subject, wanted.subject) for one in entry.certificates("cacertificate;binary"))
    ]
    found = [one for entry in ours for one in entry.certificates("cacertificate;binary")]
    yield _hold(catalogue.CA_STORE, ours[0].dn if ours else container, wanted, found)
    if ldap.legacy_ca is not None:
        found = list(ldap.legacy_ca.certificates("cacertificate;binary"))
        yield _hold(catalogue.CA_STORE, ldap.legacy_ca.dn, wanted, found)
    path = evidence.host.ca_certificate
    found = [one for one in evidence.pem(path).certificates if same_dn(one.subject, wanted.subject)]
    yield _hold(catalogue.CA_STORE, path, wanted, found)


def _served(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Holding]:
    address: str = getattr(evidence.host, tracked.role.served)
    yield _hold(catalogue.SERVED, address, wanted, [evidence.served(tracked.role.served)])


def _why_none(entry: Entry) -> str:
    if entry.unreadable("usercertificate"):
        return "what userCertificate holds is no certificate"
    if entry.attributes.get("usercertificate;binary"):
        return "there is only userCertificate;binary"
    return "there is no userCertificate"


_READERS: dict[str, Callable[[Evidence, Tracked, Certificate], Iterator[Holding]]] = {
    catalogue.REPOSITORY: _repository,
    catalogue.CA_RENEWAL: _ca_renewal,
    catalogue.SAVED: _saved,
    catalogue.CS_CFG: _cs_cfg,
    catalogue.USERS: _users,
    catalogue.AUTHORITY: _authority,
    catalogue.CA_STORE: _ca_store,
    catalogue.SERVED: _served,
}

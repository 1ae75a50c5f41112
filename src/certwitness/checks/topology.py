# SPDX-License-Identifier: MIT
"""What FreeIPA's helper decides by whether to renew a shared certificate, to fetch it, or to take it for this server's
own: who the renewal master is, and the certificate's subject (freeipa.md, sections 3.2, 3.7 and 5.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from certwitness.catalogue import CA_RENEWAL
from certwitness.checks import remedies
from certwitness.checks.check import host_check
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, Finding
from certwitness.stores.directory import Directory, Entry, host_of, same_dn

ENABLED = ("enabledservice", "hiddenservice")
_MASTER_OPTION = "ipa config-mod --ca-renewal-master-server="


@host_check(
    "renewal-master",
    CRITICAL,
    rows=(17,),
    found_by="ipa-healthcheck (IPARenewalMasterHasKRACheck; none counts them)",
    waits=False,
    compares="which CA servers have ipaConfigString caRenewalMaster",
    failure="without one nobody renews the shared certificates; with two, each renews them for itself",
)
def renewal_master(evidence: Evidence) -> Iterator[Finding]:
    """Exactly one CA server must be it, one with a KRA where there is a KRA."""
    ldap, masters = evidence.directory, evidence.directory.renewal_masters
    servers, kras = _servers(ldap, "ca"), _servers(ldap, "kra")
    if not servers and not masters:
        return  # no CA anywhere
    if len(masters) == 1 and (not kras or masters[0] in kras):
        return
    able = [name for name in servers if name in kras] or list(servers)
    candidates = [name for name in able if name in masters] or able
    here = evidence.host.name.lower()
    best = here if here in candidates else next(iter(sorted(candidates)), "")
    if not masters:
        level, found = CRITICAL, "nobody is"
        breaks = "each CA server waits for another one, and no shared certificate is ever renewed"
    elif len(masters) > 1:
        level, found = ERROR, f"several are: {', '.join(sorted(masters))}"
        breaks = "each of them renews the shared certificates for itself, and overwrites the other's"
    else:
        level, found = CRITICAL, f"{masters[0]} is, without a KRA"
        breaks = f"it does not track the KRA's certificates, and {', '.join(sorted(kras))} waits for them for ever"
    yield Finding(
        "",
        level,
        where=f"cn=masters,cn=ipa,cn=etc,{ldap.suffix}",
        expected="one renewal master" + (f", and it has a KRA: {' or '.join(sorted(kras))}" if kras else ""),
        found=found,
        breaks=breaks,
        remedy="Name one, with the ticket of an administrator (kinit admin).",
        commands=(f"{_MASTER_OPTION}{best}",) if best else (),
    )


@host_check(
    "subject-base",
    ERROR,
    rows=(21,),
    waits=False,
    compares="the subjects of the shared certificates with FreeIPA's certificate subject base and CA subject",
    failure="FreeIPA's helper takes a shared certificate for this server's own: each CA server renews its own copy",
)
def subject_base(evidence: Evidence) -> Iterator[Finding]:
    """Each shared certificate must be called what FreeIPA looks for."""
    ldap = evidence.directory
    wrong: dict[str, str] = {}  # the certificate's name -> its subject
    bases: set[str] = set()
    authority = ""
    for tracked in (one for one in evidence.tracked if CA_RENEWAL in one.role.stores):
        try:
            held = evidence.held(tracked)
        except StoreError:
            continue  # its own checks say so
        if held is None:
            continue
        common_name, is_ca = tracked.role.common_name, tracked.role.key == "ca"
        if is_ca and not same_dn(held.subject, ldap.ca_subject or ""):
            authority = held.subject
        elif not is_ca and not same_dn(held.subject, f"CN={common_name},{ldap.subject_base or ''}"):
            wrong[tracked.name] = held.subject
            base = held.subject.partition(",")[2]
            bases.add(base if same_dn(held.subject, f"CN={common_name},{base}") else "")
    if authority:
        dn = f"cn=ipa,cn=cas,cn=ca,{ldap.suffix}"
        yield Finding(
            "",
            ERROR,
            where=dn,
            expected=f"ipaCaSubjectDN: {authority}, the CA's own",
            found=f"ipaCaSubjectDN: {ldap.ca_subject}" if ldap.ca_subject else "no ipaCaSubjectDN",
            breaks="FreeIPA does not know its own CA's certificate: it is not renewed as one, and never shared",
            remedy="Set the CA's subject.",
            commands=(remedies.modify(evidence.host, dn, ("replace", "ipaCaSubjectDN", [authority])),)
            if ldap.ca_subject is not None
            else (),
        )
    if wrong:
        dn = f"cn=ipaConfig,cn=etc,{ldap.suffix}"
        base = bases.pop() if len(bases) == 1 else ""
        yield Finding(
            "",
            ERROR,
            where=dn,
            expected=f"ipaCertificateSubjectBase: {base}, as in the certificates"
            if base
            else "one subject base for all",
            found=f"ipaCertificateSubjectBase: {ldap.subject_base or 'not set'}, and " + "; ".join(wrong.values()),
            breaks=f"FreeIPA's helper takes {', '.join(wrong)} for this server's own: each CA server renews its copy",
            remedy="Correct the subject base; where subject_base of [certmap.conf] in "
            "/var/lib/ipa/sysupgrade/sysupgrade.state is set, FreeIPA takes that one: correct it too.",
            commands=(remedies.modify(evidence.host, dn, ("replace", "ipaCertificateSubjectBase", [base])),)
            if base
            else (),
        )


def _servers(ldap: Directory, service: str) -> tuple[str, ...]:
    """The servers on which a service, "ca" or "kra", is enabled."""
    return tuple(host_of(entry) for entry in ldap.masters if _is(entry, service))


def _is(entry: Entry, service: str) -> bool:
    enabled = any(value.lower() in ENABLED for value in entry.texts("ipaconfigstring"))
    return enabled and service in (value.lower() for value in entry.texts("cn"))


CHECKS = (renewal_master, subject_base)

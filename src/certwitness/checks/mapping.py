# SPDX-License-Identifier: MIT
"""How 389-ds gets from pki-tomcatd's certificate to its user: certmap.conf, seeAlso, and a real bind.

389-ds takes the mapping for the certificate's issuer from certmap.conf, searches every suffix for the one entry whose
`seeAlso` is the certificate's subject, and compares certificates (389-ds, lib/ldaputil; freeipa.md, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator

from certwitness.checks import remedies
from certwitness.checks.check import certificate_check, host_check
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.stores.certmap import CertMap
from certwitness.stores.directory import same_dn
from certwitness.stores.external_bind import REFUSED_IN_TLS
from certwitness.tracked import SUBSYSTEM, Tracked

PKIDBUSER = "uid=pkidbuser,ou=people,o=ipaca"
_NO_START = "pki-tomcatd will not start: 389-ds maps its certificate to "
# LDAP results that say nothing about the certificate: timeLimitExceeded, busy, unavailable, other (RFC 4511).
_NO_VERDICT = (3, 51, 52, 80)
_RESULTS = {48: "inappropriate authentication", 49: "invalid credentials", 53: "unwilling to perform"}


def _is_subsystem(tracked: Tracked) -> bool:
    return tracked.role.key == SUBSYSTEM


@certificate_check(
    "pkidbuser-seealso",
    CRITICAL,
    rows=(3,),
    replicates=True,
    applies=_is_subsystem,
    compares="the subject of the subsystem certificate with seeAlso of all entries in all suffixes",
    failure="pki-tomcatd does not start (error 49): 389-ds finds no entry, several, or another one",
)
def pkidbuser_seealso(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """Exactly one entry must have the subject as seeAlso, and it must be pkidbuser."""
    wanted, ldap = evidence.wanted(tracked), evidence.directory
    user = ldap.person("pkidbuser")
    if wanted is None or user is None:
        return  # other checks tell that
    found = next((dns for subject, dns in ldap.see_also.items() if same_dn(subject, wanted.subject)), None)
    if found is None:
        raise StoreError("directory", f"nobody asked it for seeAlso={wanted.subject}")
    own = user.texts("seealso")
    # The search is by one spelling of the name; what pkidbuser has was read as it is.
    if not any(same_dn(dn, user.dn) for dn in found) and any(same_dn(text, wanted.subject) for text in own):
        found = (user.dn, *found)
    strangers = [dn for dn in found if not same_dn(dn, user.dn)]
    if len(found) == 1 and not strangers:
        return
    value = wanted.subject
    commands = [remedies.modify(evidence.host, dn, ("delete", "seeAlso", [value])) for dn in strangers]
    if len(found) == len(strangers):
        commands.append(remedies.modify(evidence.host, user.dn, ("replace", "seeAlso", [value])))
        told = f"seeAlso: {', '.join(own)}" if own else "no seeAlso"
    else:
        told = f"seeAlso: {value}"
    if strangers:
        told += f"; the same seeAlso is on {'; '.join(strangers)}"
    if len(found) > 1:
        # 389-ds 2.3 takes the first that holds the certificate; which one that is depends on its indexes.
        level, breaks = ERROR, "389-ds may take pki-tomcatd for another user, which cannot do what pkidbuser can"
    else:
        level, breaks = CRITICAL, f"{_NO_START}{strangers[0] if strangers else 'nobody'} (error 49)"
    yield Finding(
        "",
        level,
        where=user.dn,
        expected=f"seeAlso: {value} here, and on no other entry of any suffix",
        found=told,
        breaks=breaks,
        remedy="Leave this seeAlso on pkidbuser alone.",
        commands=tuple(commands),
    )


@host_check(
    "certmap",
    CRITICAL,
    rows=(25,),
    waits=False,
    compares="the mappings of 389-ds's certmap.conf with the issuer of the subsystem certificate",
    failure="389-ds maps the certificates of this CA to nobody (error 49), or does not compare them",
)
def certmap(evidence: Evidence) -> Iterator[Finding]:
    """The issuer must have a mapping by seeAlso, with the certificate compared."""
    subsystem = evidence.by_role(SUBSYSTEM)
    wanted = evidence.wanted(subsystem) if subsystem else None
    if wanted is None:
        return  # nobody binds by certificate here
    maps = evidence.certmap
    ours = next((one for one in maps if same_dn(one.issuer, wanted.issuer)), None)
    if ours is None:
        found = "; ".join(f"{one.name} for {one.issuer or 'all others'}" for one in maps) or "no mapping"
        # A mapping that looks for seeAlso is FreeIPA's, with another issuer.
        ours = next((one for one in maps if _attribute(one) == "seealso" and one.name != "default"), None)
        level, breaks = CRITICAL, f"{_NO_START}nobody (error 49), from 389-ds's next start on"
    elif _attribute(ours) != "seealso":
        found = f"{ours.name}:CmapLdapAttr {ours.properties.get('cmapldapattr', 'is not set')}"
        level, breaks = CRITICAL, f"{_NO_START}nobody (error 49), from 389-ds's next start on"
    elif ours.properties.get("verifycert", "").lower() != "on":
        found = f"{ours.name}:verifycert {ours.properties.get('verifycert', 'is not set')}"
        level, breaks = WARNING, "any certificate of this CA with the right subject is pkidbuser's, a revoked one too"
    else:
        return
    name = ours.name if ours else ""
    host = evidence.host
    yield Finding(
        "",
        level,
        where=host.certmap,
        expected=f"a mapping for {wanted.issuer} with CmapLdapAttr seeAlso and verifycert on",
        found=found,
        breaks=breaks,
        remedy="Correct the mapping and restart 389-ds, which reads it at its start only.",
        commands=(remedies.certmap(host.certmap, name, wanted.issuer), remedies.restart(f"dirsrv@{host.instance}")),
    )


def _attribute(mapping: CertMap) -> str:
    return mapping.properties.get("cmapldapattr", "").lower()


@certificate_check(
    "pkidbuser-bind",
    CRITICAL,
    rows=(1, 3, 4, 25),
    replicates=True,
    applies=_is_subsystem,
    compares="who 389-ds says we are with pkidbuser, after a bind with the certificate and key that pki-tomcatd uses",
    failure="pki-tomcatd does not start: its own bind gets the same answer",
)
def pkidbuser_bind(evidence: Evidence, _: Tracked) -> Iterator[Finding]:
    """The real thing: SASL EXTERNAL over LDAPS. What the other checks compare, 389-ds judges here itself."""
    bound = evidence.bound
    if bound.code in _NO_VERDICT:
        raise StoreError("bind", f"389-ds answers {bound.code}: {bound.message or 'without a word'}")
    identity = bound.identity.partition(":")[2].strip() if bound.identity.lower().startswith("dn:") else bound.identity
    if bound.code == 0 and same_dn(identity, PKIDBUSER):
        return
    taken = identity if bound.code == 0 and identity else "nobody"
    if bound.code == REFUSED_IN_TLS:
        found = f"389-ds refuses the certificate before any LDAP: {bound.message}"
    elif bound.code == 0:
        found = f"389-ds takes the certificate for {taken}"
    else:
        words = ": ".join(filter(None, (_RESULTS.get(bound.code, ""), bound.message))) or "without a word"
        found = f"389-ds answers {bound.code} ({words}) and takes the certificate for {taken}"
    yield Finding(
        "",
        CRITICAL,
        where=evidence.host.ldaps_uri,
        expected=f"dn: {PKIDBUSER}",
        found=f"{found}{_led_to(evidence)}",
        breaks="pki-tomcatd will not start: this is its own bind",
        remedy="Mend what certmap and the other checks of this certificate find. If they find nothing, 389-ds's access "
        f"log tells its reason: grep 'client certificate' /var/log/dirsrv/slapd-{evidence.host.instance}/access",
    )


def _led_to(evidence: Evidence) -> str:
    """Where seeAlso leads, as far as that is known."""
    subsystem = evidence.by_role(SUBSYSTEM)
    try:
        wanted = evidence.held(subsystem) if subsystem else None
        found = evidence.directory.see_also.get(wanted.subject, ()) if wanted else ()
    except StoreError:
        return ""
    return f"; seeAlso leads to {' and '.join(found)}" if found else "; seeAlso leads to no entry"


CHECKS = (pkidbuser_seealso, certmap, pkidbuser_bind)

# SPDX-License-Identifier: MIT
"""Whether certmonger looks after what FreeIPA has: CAs that are defined, certificates that are tracked."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from certwitness import catalogue
from certwitness.catalogue import BY_KEY, Role
from certwitness.certmonger import CA, Request
from certwitness.checks import services
from certwitness.checks.check import certificate_check, host_check
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.stores.names import same_dn
from certwitness.tracked import Tracked

RENEW_AGENT, IPA = "dogtag-ipa-ca-renew-agent", "IPA"
# The CAs that FreeIPA makes for itself, and what their helper is told (freeipa.md, 2.1). The first two variants were
# new in 4.6.
VARIANTS = {
    RENEW_AGENT: "",
    f"{RENEW_AGENT}-reuse": "--reuse-existing",
    f"{RENEW_AGENT}-selfsigned": "--force-self-signed",
}
# FreeIPA's profiles (freeipa.md, 1.1).
PROFILES = {
    "ca": "caCACert",
    "audit": "caSignedLogCert",
    "ocsp": "caOCSPCert",
    "subsystem": "caSubsystemCert",
    "kra-audit": "caAuditSigningCert",
    "kra-transport": "caTransportCert",
    "kra-storage": "caStorageCert",
    "pki-server": "caServerCert",
    "ra": "caSubsystemCert",
    "lightweight-ca": "caCACert",
}


@host_check(
    "ca-definition",
    CRITICAL,
    rows=(18,),
    compares="the CAs that certmonger knows with those that requests name and those that FreeIPA makes",
    failure="requests of that CA park in NEED_CA, and ipa-cacert-manage and ipa-certupdate fail",
    found_by="IPACertmongerCA",
)
def ca_definition(evidence: Evidence) -> Iterator[Finding]:
    """One finding for each CA that is missing; certmonger does not tell the name of one that a request has lost."""
    known = {ca.name: ca for ca in evidence.cas}
    wanted: dict[str, list[Request]] = {}
    if any(one.role.key == "ra" or one.role.unit == catalogue.PKI for one in evidence.tracked):
        wanted = {name: [] for name in (RENEW_AGENT, *_variants(known))}
    for one in evidence.tracked:
        if one.request and not one.request.ca:
            wanted.setdefault(_usual_ca(one.role), []).append(one.request)
    for name, requests in wanted.items():
        if name in known:
            continue
        ids = ", ".join(request.id for request in requests)
        yield Finding(
            "",
            CRITICAL if requests or name == RENEW_AGENT else ERROR,
            where="certmonger",
            expected=f"a CA {name or 'of its own'} for {ids or 'FreeIPA'}",
            found="not defined",
            breaks=f"{ids} will not be renewed: NEED_CA" if ids else "ipa-cacert-manage renew and ipa-certupdate fail",
            remedy="Define it again as it was; ipa-server-upgrade does that for FreeIPA's, too.",
            commands=(*_define(name, known), *_again(requests)),
        )


def _variants(known: dict[str, CA]) -> list[str]:
    """The two further CAs; FreeIPA before 4.6 had neither."""
    variants = [name for name in VARIANTS if name != RENEW_AGENT]
    return variants if any(name in known for name in variants) else []


def _usual_ca(role: Role) -> str:
    if role.key in ("https", "ldaps", "kdc"):
        return IPA
    return RENEW_AGENT if role.key else ""


def _define(name: str, known: dict[str, CA]) -> tuple[str, ...]:
    helper = _helper(name, known)
    if helper:
        return (shlex.join(["getcert", "add-ca", "-c", name, "-e", helper]),)
    if name == IPA:  # certmonger's own, which it makes at its start; FreeIPA puts its guard before the helper
        return ("systemctl restart certmonger", "ipa-server-upgrade")
    return ("ipa-server-upgrade",) if name else ()


def _again(requests: list[Request]) -> list[str]:
    """certmonger takes a request out of NEED_CA only at its start, or when told to."""
    return [
        shlex.join(["getcert", "resubmit", "-i", request.id, "-w"])
        for request in requests
        if request.status == "NEED_CA"
    ]


def _helper(name: str, known: dict[str, CA]) -> str:
    """The command of the missing CA as its sisters have it, with its own option; "" where there is no sister."""
    if name not in VARIANTS:
        return ""
    for sister, option in VARIANTS.items():
        if sister in known and known[sister].helper:
            command = known[sister].helper
            plain = re.sub(rf"\s+{re.escape(option)}(?=\s|$)", "", command) if option else command
            return f"{plain} {VARIANTS[name]}".strip()
    return ""


@certificate_check(
    "request-ca",
    ERROR,
    rows=(18,),
    compares="the CA of the request with the one that FreeIPA gives it",
    failure="the renewal returns the same certificate, or a self-signed one, until it expires",
    found_by="IPACertTracking (as missing tracking)",
    applies=lambda tracked: bool(tracked.role.key),
)
def request_ca(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """Certificates of other CAs, and the KDC's without PKINIT, are nobody's business."""
    request = tracked.request
    if request is None or not request.ca:
        return  # without a CA: ca-definition
    usual = _usual_ca(tracked.role)
    older = {"pki-server": "dogtag-ipa-renew-agent"}.get(tracked.role.key)  # up to FreeIPA 4.4
    if request.ca in (usual, older):
        return
    if usual == IPA and not services.is_ipa_issued(evidence, tracked):
        return
    again = {"-reuse": "the same certificate again", "-selfsigned": "a self-signed certificate"}
    result = next((words for end, words in again.items() if request.ca == RENEW_AGENT + end), "")
    yield Finding(
        "",
        ERROR,
        where=f"certmonger's request {request.id}",
        expected=f"CA {usual}",
        found=f"CA {request.ca}",
        breaks=f"its next renewal returns {result}" if result else f"its next renewal asks {request.ca}, not IPA's CA",
        remedy="Give the request its CA back (ipa-cacert-manage or ipa-certupdate may have been interrupted).",
        commands=(shlex.join(["getcert", "start-tracking", "-i", request.id, "-c", usual]),),
    )


class Place(NamedTuple):
    """A certificate of FreeIPA's that is there, and where."""

    location: str
    nickname: str
    role: Role

    @property
    def name(self) -> str:
        return self.nickname or self.location


@host_check(
    "tracking",
    CRITICAL,
    rows=(18,),
    compares="FreeIPA's certificates in NSS databases and files with certmonger's requests",
    failure="nobody renews it",
    found_by="IPACertTracking",
)
def tracking(evidence: Evidence) -> Iterator[Finding]:
    """One finding for each certificate. What another CA issued for httpd or 389-ds, FreeIPA does not track either."""
    tracked = {(os.path.realpath(one.location), one.nickname.rpartition(":")[2]) for one in evidence.requests}
    for place in _places(evidence):
        if (os.path.realpath(place.location), place.nickname.rpartition(":")[2]) in tracked:
            continue
        yield Finding(
            "",
            ERROR if place.role.key == "lightweight-ca" else CRITICAL,
            where=place.location,
            expected=f"certmonger tracks {place.name}",
            found="no request for it",
            breaks=f"nobody renews it, and when it has expired {services.refused(place.role)}",
            remedy="Track it as FreeIPA does (so does ipa-server-upgrade, which drops all changes to tracking).",
            commands=_start_tracking(evidence, place) or ("ipa-server-upgrade",),
        )


def _places(evidence: Evidence) -> Iterator[Place]:
    host = evidence.host
    # A CA of whose certificates not one is tracked any more still has its configuration.
    if services.has_ca(evidence) or os.path.lexists(host.cs_cfg):
        for nickname in evidence.nss(host.pki_nssdb).entries:
            role = catalogue.role_of(nickname=nickname, location=host.pki_nssdb, post_save="")
            if role.key:
                yield Place(host.pki_nssdb, nickname, role)
    if evidence.pem(host.ra_certificate).certificates:
        yield Place(host.ra_certificate, "", BY_KEY["ra"])
    subject = services.ca_subject(evidence)
    httpd = os.path.join(os.path.dirname(host.ra_certificate), "certs", "httpd.crt")  # FreeIPA 4.7 and later
    found = evidence.pem(httpd).certificates
    if found and same_dn(found[0].issuer, subject):
        yield Place(httpd, "", BY_KEY["https"])
    own = evidence.nss(host.dirsrv_nssdb).get("Server-Cert")
    if own and same_dn(own.certificates[0].issuer, subject):
        yield Place(host.dirsrv_nssdb, "Server-Cert", BY_KEY["ldaps"])


def _start_tracking(evidence: Evidence, place: Place) -> tuple[str, ...]:
    """FreeIPA's own tracking of a certificate of Dogtag, after the pattern of another one's request; () where there is
    no pattern, or the PIN is in no file of its own (it must not be an argument)."""
    pattern = next(
        (
            one.request
            for one in evidence.tracked
            if one.request and one.role.unit == catalogue.PKI and one.location == place.location
        ),
        None,
    )
    hook = re.match(r"(\S*/)renew_ca_cert\s", catalogue.behind_our_hook(pattern.post_save)) if pattern else None
    pin_file = services.bare_pin_file(evidence, place.location)
    if pattern is None or hook is None or not pin_file:
        return ()
    after = f'{hook[1]}renew_ca_cert "{place.nickname}"'
    words = ["-d", place.location, "-n", place.nickname, "-p", pin_file, "-c", RENEW_AGENT]
    words += ["-T", PROFILES[place.role.key], "-B", catalogue.behind_our_hook(pattern.pre_save), "-C", after]
    return (shlex.join(["getcert", "start-tracking", *words]),)


@certificate_check(
    "auto-renew",
    WARNING,
    rows=(18,),
    compares="certmonger's switches of the request: track and auto-renew",
    failure="nobody renews it",
    waits=False,
)
def auto_renew(_: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """ERROR for FreeIPA's own."""
    request = tracked.request
    if request is None or (request.monitoring and request.autorenew):
        return
    off = "auto-renew: no" if request.monitoring else "track: no"
    yield Finding(
        "",
        ERROR if tracked.role.key else WARNING,
        where=f"certmonger's request {request.id}",
        expected="track: yes, auto-renew: yes",
        found=off,
        breaks=f"nobody renews it, and when it has expired {services.refused(tracked.role)}",
        remedy="Switch it on.",
        commands=(shlex.join(["getcert", "start-tracking", "-i", request.id, "-r"]),),
    )

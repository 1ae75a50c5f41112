# SPDX-License-Identifier: MIT
"""What, besides the checks, tells whether a finding stops a start: the self-tests of CS.cfg, what 389-ds and httpd are
told to read, and the verdict of the real bind. And one look at all of it within a time limit.

Each fact is None where it is not known (or not read in time), and then proves nothing.
"""

from __future__ import annotations

import concurrent.futures
import glob
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from certwitness import verification
from certwitness.catalogue import ROLES
from certwitness.errors import StoreError
from certwitness.findings import UNKNOWN, Finding
from certwitness.tracked import SUBSYSTEM, Tracked

if TYPE_CHECKING:
    from certwitness.checks.check import Check
    from certwitness.evidence import Evidence
    from certwitness.host import Host
    from certwitness.stores.external_bind import BindResult
    from certwitness.verification import Result

CA_PRESENCE, CERTIFICATES = "CAPresence", "SystemCertsVerification"
_REQUESTS, _CS_CFG = "certmonger's requests", "CS.cfg"
_ORDER = "selftests.container.order.startup"
_AUDITOR = "log.instance.SignedAudit.signedAuditCertNickname"
# The largest configuration file that is looked at: dse.ldif has some 200 KiB.
_LARGEST = 8 << 20


@dataclass(frozen=True)
class SelfTests:
    """Dogtag's at the start of the CA (CS.cfg): `critical` are those that stop the CA if they fail, `roles` the keys of
    the roles whose certificates SystemCertsVerification looks at: from PKI 10.6.8 on at their dates alone (unless
    FullCAandOCSPVerify says otherwise, which is not looked at)."""

    critical: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Facts:
    """What `gate.judge` must know. `roles`: name of each tracked certificate to the key of its role; None where that
    did not come in time. `asked`: certmonger answered, so what is not there is not tracked. `bind`: the verdict of the
    real bind. `binds_by_certificate`: CS.cfg tells the CA to log in with the very certificate of that bind.
    `mapped_by_ipa`: certmap.conf is as FreeIPA writes it, so 389-ds goes by seeAlso, and compares certificates.
    `nss_of_tls`: the nicknames of which 389-ds needs one for TLS, none where TLS is off. `of_httpd`: the certificate
    files that httpd's configuration names, none where that is not where FreeIPA has it. `ldaps_by_ipa`: IPA's CA issued
    389-ds's. `under_way`: name of each certificate whose renewal is between its steps to certmonger's status.
    `unread`: what of all that could not be read, or not in time, in words."""

    host: Host
    roles: Mapping[str, str] | None = None
    asked: bool | None = None
    self_tests: SelfTests | None = None
    bind: BindResult | None = None
    binds_by_certificate: bool | None = None
    mapped_by_ipa: bool | None = None
    nss_of_tls: frozenset[str] | None = None
    of_httpd: frozenset[str] | None = None
    ldaps_by_ipa: bool | None = None
    under_way: Mapping[str, str] | None = None
    unread: tuple[str, ...] = ()
    late: tuple[Finding, ...] = field(default=(), compare=False)


def self_tests(values: Mapping[str, Sequence[str]]) -> SelfTests:
    """From the CA's CS.cfg. Without the directive Dogtag runs none (PKI 11.x, SelfTestSubsystem)."""
    last = {key: found[-1] for key, found in values.items() if found}
    order = [name.partition(":") for name in last.get(_ORDER, "").split(",")]
    critical = frozenset(name.strip() for name, _, how in order if how.strip().lower() == "critical")
    tags = {tag.strip() for tag in last.get("ca.cert.list", "").split(",")}
    tested = {tag for tag in tags if last.get(f"ca.cert.{tag}.nickname")}
    if not last.get(_AUDITOR):
        tested.discard("audit_signing")
    of_tag = {key.split(".")[1]: role.key for role in ROLES for name, key in role.directives if name == "ca"}
    roles = frozenset(of_tag[tag] for tag in tested if tag in of_tag) if CERTIFICATES in critical else frozenset()
    return SelfTests(critical, roles)


def binds_by_certificate(values: Mapping[str, Sequence[str]], nickname: str) -> bool:
    """Whether CS.cfg has the CA log in to 389-ds with the certificate of this nickname."""
    last = {key: found[-1] for key, found in values.items() if found}
    named = last.get("internaldb.ldapauth.clientCertNickname", nickname)
    same = nickname in (named, named.rpartition(":")[2])
    return same and last.get("internaldb.ldapauth.authtype") == "SslClientAuth"


def nss_of_tls(text: str) -> frozenset[str]:
    """The nicknames that dse.ldif names for TLS; none where it is off. 389-ds needs one of them that it can use."""
    entries = [_attributes(entry) for entry in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\n ", ""))]
    if not any(one.get("nsslapd-security", "").lower() == "on" for one in entries if one.get("dn") == "cn=config"):
        return frozenset()
    families = [one for one in entries if one.get("dn", "").lower().endswith(",cn=encryption,cn=config")]
    active = [one for one in families if one.get("nssslactivation", "off").lower() != "off"]
    return frozenset(one["nssslpersonalityssl"] for one in active if one.get("nssslpersonalityssl"))


def of_httpd(texts: Iterable[str]) -> frozenset[str]:
    """The files that SSLCertificateFile names."""
    pattern = re.compile(r"^[ \t]*SSLCertificateFile[ \t]+[\"']?([^\s\"']+)", re.IGNORECASE | re.MULTILINE)
    return frozenset(os.path.normpath(name) for text in texts for name in pattern.findall(text))


def look(
    evidence: Evidence, checks: Mapping[str, Sequence[Check]], roles: Mapping[str, frozenset[str]], limit_s: float
) -> dict[str, tuple[list[Result], Facts]]:
    """Run each service's `checks` on its certificates (`roles`: the keys of their roles), all at the same time, and
    gather the facts. What has not come after `limit_s` seconds is a finding of level UNKNOWN in `late`."""
    deadline = time.monotonic() + limit_s
    # Not shut down: what hangs must not be waited for. Whoever calls this ends by os._exit.
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=64, thread_name_prefix="gate")
    known = {name: pool.submit(read, evidence) for name, (_, read) in _FACTS.items()}
    running = {
        (service, check.name): pool.submit(_results, evidence, check, roles[service])
        for service, wanted in checks.items()
        for check in wanted
    }
    futures: list[concurrent.futures.Future[Any]] = [*known.values(), *running.values()]
    there = concurrent.futures.wait(futures, timeout=max(deadline - time.monotonic(), 0)).done
    facts = {name: _fact(future) for name, future in known.items() if future in there}
    unread = tuple(_FACTS[name][0] for name, future in known.items() if future not in there or future.exception())
    found: dict[str, tuple[list[Result], Facts]] = {}
    for service in checks:
        mine = {name: future for (owner, name), future in running.items() if owner == service}
        why = {name: _failure(future) if future in there else f"no answer within {limit_s:g} s"
               for name, future in mine.items()}  # fmt: skip
        late = tuple(Finding(name, UNKNOWN, found=words) for name, words in why.items() if words)
        results = [one for name, future in mine.items() if not why[name] for one in future.result()]
        found[service] = results, Facts(evidence.host, unread=unread, late=late, **facts)
    return found


def within(limit_s: float, read: Callable[[], object]) -> object:
    """What `read` gives; None where that takes longer than `limit_s` seconds, or fails."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="gate")
    future = pool.submit(read)
    return _fact(future) if future in concurrent.futures.wait([future], timeout=limit_s).done else None


def _results(evidence: Evidence, check: Check, roles: frozenset[str]) -> list[Result]:
    """The check on the service's own certificates; a check of the host as it is."""
    if check.of_host is not None:
        return list(verification.run(evidence, [check]))
    try:
        names = [one.name for one in evidence.tracked if one.role.key in roles]
    except StoreError:
        names = []
    return list(verification.run(evidence, [check], names)) if names else []


def _fact(future: concurrent.futures.Future[Any]) -> Any:
    """What was read; None where it could not be: the check that needs the same store says so."""
    return None if future.exception() else future.result()


def _failure(future: concurrent.futures.Future[Any]) -> str:
    """Why a look gave nothing, "" if it did: a bug of ours proves nothing, and hides no other look's proof."""
    error = future.exception()
    return f"this look failed by itself: {type(error).__name__}: {' '.join(str(error).split())[:200]}" if error else ""


def _roles(evidence: Evidence) -> dict[str, str]:
    return {one.name: one.role.key for one in evidence.tracked}


def _under_way(evidence: Evidence) -> dict[str, str]:
    return {one.name: one.request.status for one in evidence.tracked if one.request and not one.resting}


def _by_certificate(evidence: Evidence) -> bool:
    subsystem = evidence.by_role(SUBSYSTEM)
    return subsystem is not None and binds_by_certificate(evidence.cs_cfg("ca"), subsystem.nickname)


def _mapped_by_ipa(evidence: Evidence) -> bool:
    from certwitness.checks import mapping

    return not mapping.certmap.find(evidence, None)


def _dirsrv(evidence: Evidence) -> frozenset[str]:
    return nss_of_tls(_text(os.path.join(evidence.host.dirsrv_nssdb, "dse.ldif")))


def _httpd(evidence: Evidence) -> frozenset[str]:
    """conf.d/*.conf of RHEL is where ipa-pki-proxy.conf is; Debian keeps sites beside it."""
    directory = os.path.dirname(evidence.host.proxy_conf)
    sites = os.path.join(os.path.dirname(directory), "sites-enabled")
    names = [name for place in (directory, sites) for name in sorted(glob.glob(f"{glob.escape(place)}/*.conf"))]
    # A link to nothing says nothing; what cannot be read might.
    return of_httpd(_text(name) for name in names if os.path.exists(name))


def _ldaps_by_ipa(evidence: Evidence) -> bool:
    from certwitness.checks import services

    ldaps: Tracked | None = evidence.by_role("ldaps")
    return ldaps is not None and services.is_ipa_issued(evidence, ldaps)


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(_LARGEST).decode("utf-8", "replace")


def _attributes(entry: str) -> dict[str, str]:
    """The first value of each attribute of an LDIF entry, by name in lower case; base64 values are left out."""
    found: dict[str, str] = {}
    for line in entry.split("\n"):
        name, colon, value = line.partition(":")
        if colon and not value.startswith(":"):
            found.setdefault(name.strip().lower(), value.strip())
    return found


# In words where it comes from, and how it is read.
_FACTS: dict[str, tuple[str, Callable[[Evidence], object]]] = {
    "roles": (_REQUESTS, _roles),
    "asked": (_REQUESTS, lambda evidence: evidence.requests is not None),
    "self_tests": (_CS_CFG, lambda evidence: self_tests(evidence.cs_cfg("ca"))),
    "bind": ("the bind as pkidbuser", lambda evidence: evidence.bound),
    "binds_by_certificate": (_CS_CFG, _by_certificate),
    "mapped_by_ipa": ("certmap.conf", _mapped_by_ipa),
    "nss_of_tls": ("dse.ldif", _dirsrv),
    "of_httpd": ("httpd's configuration", _httpd),
    "ldaps_by_ipa": ("who issued 389-ds's certificate", _ldaps_by_ipa),
    "under_way": (_REQUESTS, _under_way),
}

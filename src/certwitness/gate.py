# SPDX-License-Identifier: MIT
"""The gate: is it proven that a service's start fails? Only a CRITICAL finding that proves it for this service blocks.

`SERVICES` says which findings prove which start, and from where that is known. Whatever could not be seen, is too early
to judge, or breaks something else than the start, never blocks: the verdict tells it beside.

No proof, on purpose (Dogtag: PKI 11.x, read; 389-ds: main, read, and 2.3.1, run; reference: freeipa.md, 4 and 5.7):
- Dogtag's certificates of the KRA and of lightweight CAs: the KRA fails alone, the CA comes up.
- A missing key of ocspSigningCert, auditSigningCert or Server-Cert cert-pki-ca: the CA logs it, and comes up.
- trust flags other than the CA's: from PKI 10.6.8 on the self-test of the CA looks at the dates alone.
- certmap.conf, and 389-ds's copy of the CA certificate, alone: 389-ds reads them at its own start, the bind tells.
- An expired certificate of httpd (mod_ssl warns, AH01916) or 389-ds (nsslapd-validate-cert is `warn`).
- Anything of kdc.crt: krb5kdc starts without PKINIT.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from certwitness.catalogue import PKI, ROLES
from certwitness.errors import CertwitnessError
from certwitness.events.fields import text
from certwitness.findings import CRITICAL, PENDING, UNKNOWN, Finding
from certwitness.start_facts import CA_PRESENCE, Facts
from certwitness.stores.external_bind import REFUSED_IN_TLS
from certwitness.tracked import SUBSYSTEM

if TYPE_CHECKING:
    from datetime import datetime

    from certwitness.holds import Hold, Release
    from certwitness.host import Host
    from certwitness.verification import Result

# LDAP results that are a verdict on the certificate: invalidCredentials; inappropriateAuthentication (389-ds asks for
# none, so Dogtag's bind has none either).
_REFUSED = (49, 48, REFUSED_IN_TLS)
# Findings that only tell that somebody else refused: the cause stands first.
_EFFECTS = ("pkidbuser-bind",)


class Proof(NamedTuple):
    """A CRITICAL finding of `check`, on a certificate with one of these `roles` ("": a finding about the host), proves
    that the start fails if `proves` says so."""

    check: str
    roles: tuple[str, ...]
    proves: Callable[[Finding, str, Facts], bool]


class Service(NamedTuple):
    """A service that the gate knows: systemd's unit without its instance, the roles of its certificates, the checks
    that are run besides those of the proofs (for what breaks, and does not stop it), and a word for every verdict."""

    name: str
    roles: frozenset[str]
    proofs: tuple[Proof, ...]
    besides: tuple[str, ...] = ()
    note: str = ""

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of the checks to run."""
        return tuple(dict.fromkeys((*(proof.check for proof in self.proofs), *self.besides)))


def _opens_nothing(finding: Finding, _: str, facts: Facts) -> bool:
    """JSS cannot log in to the NSS database: Tomcat's TLS and Dogtag's bind both end there (the lab's bind, too)."""
    return _is_pin_of(finding, facts.host.pki_password_file, facts.host.pki_nssdb)


def _asks_for_a_pin(finding: Finding, _: str, facts: Facts) -> bool:
    """ns-slapd waits for somebody who types the PIN, and never serves (389-ds 2.3.1, run)."""
    where = facts.host.dirsrv_nssdb
    return bool(facts.nss_of_tls) and _is_pin_of(finding, os.path.join(where, "pin.txt"), where)


def _cannot_bind(_: Finding, __: str, facts: Facts) -> bool:
    """Without certificate or key there is nothing to log in to 389-ds with (seed; freeipa.md, 4)."""
    return facts.binds_by_certificate is True and not _bound(facts)


def _not_in_memory(finding: Finding, role: str, facts: Facts) -> bool:
    """The CA's own certificate or key is not there: no signing unit, so the self-test CAPresence fails. And
    SystemCertsVerification fails for any certificate that is not there."""
    if role == SUBSYSTEM and _cannot_bind(finding, role, facts):
        return True
    tests = facts.self_tests
    presence = tests is not None and role == "ca" and CA_PRESENCE in tests.critical
    return presence or (finding.check == "saved" and _tested(finding, role, facts))


def _tested(_: Finding, role: str, facts: Facts) -> bool:
    """SystemCertsVerification looks at the dates of this certificate, and stops the CA."""
    return facts.self_tests is not None and role in facts.self_tests.roles


def _trusts_nobody(finding: Finding, role: str, facts: Facts) -> bool:
    """The CA without C in its SSL flags: JSS refuses 389-ds's certificate (tstclnt on the same database does, run)."""
    flags = finding.found.removeprefix("trust ").partition(":")[0].split(" or ")  # of several certificates
    lost = role == "ca" and not any("C" in one.split(",")[0] for one in flags)
    return lost and facts.ldaps_by_ipa is True and facts.binds_by_certificate is True and not _bound(facts)


def _refused(_: Finding, __: str, facts: Facts) -> bool:
    """389-ds refuses the very bind that Dogtag does at its start (seed; signature `Authentication failed (49)`)."""
    return facts.binds_by_certificate is True and facts.bind is not None and facts.bind.code in _REFUSED


def _explains(finding: Finding, _: str, facts: Facts) -> bool:
    """What 389-ds read at its own start may be another file than this: it counts once the bind was refused."""
    return _refused(finding, "", facts) and finding.where in (facts.host.certmap, facts.host.dirsrv_nssdb)


def _predicts(_: Finding, __: str, facts: Facts) -> bool:
    """What LDAP holds, as 389-ds compares it, as long as no bind has succeeded (freeipa.md, 4)."""
    return facts.binds_by_certificate is True and facts.mapped_by_ipa is True and not _bound(facts)


def _no_tls(_: Finding, role: str, facts: Facts) -> bool:
    """ns-slapd ends at once if it can use none of the certificates that it is told to (389-ds 2.3.1, run; #4593)."""
    names = facts.nss_of_tls or frozenset()
    return len(names) == 1 and all((facts.roles or {}).get(name) == role for name in names)


def _cannot_configure(finding: Finding, _: str, facts: Facts) -> bool:
    """mod_ssl ends httpd: no such file, AH02561 (unreadable), AH02565 (the key does not fit), AH02577 (passphrase)."""
    return os.path.normpath(finding.certificate) in (facts.of_httpd or ())


_PKI = frozenset(role.key for role in ROLES if role.unit == PKI)
_CA = ("ca", "audit", "ocsp", SUBSYSTEM, "pki-server")
_HOST = ("",)
SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        Service(
            "pki-tomcatd",
            _PKI,
            (
                Proof("pin", _HOST, _opens_nothing),
                Proof("saved", _CA, _not_in_memory),
                Proof("key", ("ca", SUBSYSTEM), _not_in_memory),
                Proof("expiry", _CA, _tested),
                Proof("trust-flags", _CA, _trusts_nobody),
                Proof("user-certificate", (SUBSYSTEM,), _predicts),
                Proof("user-binary", (SUBSYSTEM,), _predicts),
                Proof("pkidbuser-seealso", (SUBSYSTEM,), _predicts),
                Proof("certmap", _HOST, _explains),
                Proof("ca-store", ("ca",), _explains),
                Proof("pkidbuser-bind", (SUBSYSTEM,), _refused),
            ),
            besides=("internal-database",),
        ),
        Service(
            "httpd",
            frozenset({"https"}),
            (Proof("saved", ("https",), _cannot_configure), Proof("key", ("https",), _cannot_configure)),
            besides=("expiry",),
        ),
        Service(
            "dirsrv",
            frozenset({"ldaps"}),
            (
                Proof("pin", _HOST, _asks_for_a_pin),
                Proof("saved", ("ldaps",), _no_tls),
                Proof("key", ("ldaps",), _no_tls),
            ),
            besides=("expiry",),
        ),
        Service(
            "krb5kdc",
            frozenset({"kdc"}),
            (),
            besides=("saved", "key", "expiry"),
            note="krb5kdc starts with any certificate or none: it only does without PKINIT",
        ),
    )
}


@dataclass(frozen=True)
class Verdict:
    """The gate's answer for one service. `reasons` prove that its start fails; where they are there and it is allowed
    all the same, `release` tells who said so. `warnings` break something else than the start. `unseen` could not be
    looked at, or not be judged yet. `note` is a word to every verdict of this service, "" mostly. `under_way`: the
    certificates of the reasons whose renewal is between two steps, with certmonger's status."""

    service: str
    allow: bool
    reasons: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    unseen: tuple[Finding, ...] = ()
    release: Release | None = None
    note: str = ""
    under_way: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The stable form for programs."""
        release = self.release.as_json() if self.release else None
        parts = {"reasons": self.reasons, "warnings": self.warnings, "unseen": self.unseen}
        return {
            "service": self.service,
            "verdict": "allow" if self.allow else "block",
            **{name: [finding.as_event() for finding in found] for name, found in parts.items()},
            "release": release,
            "note": self.note or None,
            "under_way": dict(self.under_way),
        }


def named(word: str, host: Host | None = None) -> Service | None:
    """The service that a word means: its name or its unit. None for another instance of 389-ds or Dogtag than IPA's,
    which the gate knows nothing of. Raises CertwitnessError for anything else."""
    name, _, instance = word.removesuffix(".service").partition("@")
    service = SERVICES.get("httpd" if name == "apache2" else name)
    if service is None:
        raise CertwitnessError(f"no service {word!r}; known: {', '.join(SERVICES)}")
    ours = {"dirsrv": host.instance if host else instance, "pki-tomcatd": PKI.partition("@")[2]}
    return service if not instance or instance == ours.get(name) else None


def judge(service: Service, results: Iterable[Result], facts: Facts, hold: Hold | None, now: datetime) -> Verdict:
    """The verdict on findings of the service's checks. `now` is aware: a release in `hold` counts until its end."""
    reasons: list[Finding] = []
    warnings: list[Finding] = []
    unseen = list(facts.late)
    for finding in (finding for result in results for finding in result.findings):
        role = (facts.roles or {}).get(finding.certificate, "")
        if finding.certificate and role not in service.roles:
            continue
        if finding.level in (UNKNOWN, PENDING):
            unseen.append(finding)
        elif finding.level == CRITICAL and _is_proof(service, finding, role, facts):
            reasons.append(finding)
        elif finding.level == CRITICAL and (finding.check != "pin" or _its_pin(service, finding, facts)):
            warnings.append(finding)
    unseen += _not_looked_for(service, facts, hold)
    unseen += _not_judged(service, warnings, facts)
    reasons.sort(key=lambda finding: finding.check in _EFFECTS)
    release = hold.release if reasons and hold and hold.release and hold.release.lasts(now) else None
    accused = {finding.certificate for finding in reasons}
    under_way = {name: status for name, status in (facts.under_way or {}).items() if name in accused}
    return Verdict(
        service.name, not reasons or release is not None, tuple(reasons), tuple(warnings),
        tuple(dict.fromkeys(unseen)), release, service.note, under_way,
    )  # fmt: skip


def _not_looked_for(service: Service, facts: Facts, hold: Hold | None) -> Iterator[Finding]:
    """The service's certificates that no check was run on, as nobody knows of them."""
    roles = facts.roles or {}
    if facts.roles is not None and not service.roles & set(roles.values()):
        who = f"certmonger tracks no certificate of {service.name} here"
        yield Finding("tracking", UNKNOWN, found=who if facts.asked else f"{who}, or cannot be asked")
    for finding in hold.findings if hold and not facts.asked else ():
        check, name = text(finding.get("check")), text(finding.get("certificate"))
        if name and name not in roles:
            yield Finding(check, UNKNOWN, name, found="could not look: certmonger cannot be asked where it is")


def _not_judged(service: Service, warnings: Iterable[Finding], facts: Facts) -> Iterator[Finding]:
    """What might be proof, were all known that makes one of it."""
    checks = {proof.check for proof in service.proofs}
    for finding in warnings if facts.unread else ():
        if finding.check in checks:
            what = " and ".join(dict.fromkeys(facts.unread))
            found = f"it is not known whether that stops the start: {what} could not be read"
            yield Finding(finding.check, UNKNOWN, finding.certificate, where=finding.where, found=found)


def _is_proof(service: Service, finding: Finding, role: str, facts: Facts) -> bool:
    return any(
        proof.check == finding.check and role in proof.roles and proof.proves(finding, role, facts)
        for proof in service.proofs
    )


def _its_pin(service: Service, finding: Finding, facts: Facts) -> bool:
    """Whether a finding of the check pin is about this service's own PIN: the others are certmonger's."""
    return any(proof.check == "pin" and proof.proves(finding, "", facts) for proof in service.proofs)


def _is_pin_of(finding: Finding, path: str, database: str) -> bool:
    same_database = finding.where.rstrip("/") == database.rstrip("/")
    return finding.where == path or (same_database and path in finding.found)


def _bound(facts: Facts) -> bool:
    """389-ds took the certificate for somebody: what was predicted did not come true."""
    return facts.bind is not None and facts.bind.code == 0

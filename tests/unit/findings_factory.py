# SPDX-License-Identifier: MIT
"""Findings, results and tracked certificates made by hand, for what shows them."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

from certwitness import catalogue
from certwitness.certmonger import Request
from certwitness.checks.check import Check, certificate_check, host_check
from certwitness.findings import CRITICAL, ERROR, PENDING, UNKNOWN, WARNING, Finding
from certwitness.tracked import Tracked
from certwitness.verification import Result

NOW = datetime(2026, 11, 23, 20, tzinfo=timezone.utc)
SUBSYSTEM = "subsystemCert cert-pki-ca"
AUDIT = "auditSigningCert cert-pki-ca"
PKI_NSSDB = "/etc/pki/pki-tomcat/alias"
PKIDBUSER = "uid=pkidbuser,ou=people,o=ipaca"
LDIF = (
    "ldapmodify -Q -Y EXTERNAL -H ldapi://%2Frun%2Fslapd-EXAMPLE-TEST.socket <<'EOF'\n"
    f"dn: {PKIDBUSER}\nchangetype: modify\nadd: userCertificate\nuserCertificate:: {'TUlJ' * 120}\nEOF"
)
RESTART = "systemctl restart pki-tomcatd@pki-tomcat"

USER_CERTIFICATE = Finding(
    "user-certificate",
    CRITICAL,
    certificate=SUBSYSTEM,
    where=PKIDBUSER,
    expected="userCertificate with serial 12",
    found="serial 10; description names serial 10",
    breaks="pki-tomcatd will not start: 389-ds maps its certificate to nobody (error 49)",
    remedy="Add the certificate; the old values stay, for other CA servers may still use them.",
    commands=(LDIF, RESTART),
    since="2026-11-23T19:26:03.000000Z",
)
BIND = Finding(
    "pkidbuser-bind",
    CRITICAL,
    certificate=SUBSYSTEM,
    where="ldaps://ipa.example.test:636",
    found="error 49",
    breaks="pki-tomcatd will not start",
    commands=(LDIF, RESTART),
)
MASTER = Finding("renewal-master", ERROR, found="no CA server is the renewal master", breaks="nobody renews",
                 remedy="Make this one the renewal master.",
                 commands=("ipa config-mod --ca-renewal-master-server ipa.example.test",))  # fmt: skip
EXPIRY = Finding("expiry", WARNING, certificate=AUDIT, found="ends in 20 days", breaks="it is refused then")


def unknown(check: str, certificate: str = "", store: str = "directory") -> Finding:
    return Finding(check, UNKNOWN, certificate, store, found="could not look: Can't contact LDAP server")


def pending(check: str, certificate: str = SUBSYSTEM) -> Finding:
    return Finding(check, PENDING, certificate, breaks="its renewal is under way: certmonger is at NEED_TO_SAVE_CERT")


def everything() -> list[Finding]:
    """Every kind, not in the order in which they are told."""
    return [
        pending("ca-renewal"),
        unknown("user-description", SUBSYSTEM),
        EXPIRY,
        MASTER,
        unknown("certmap"),
        unknown("user-description", AUDIT),
        USER_CERTIFICATE,
        unknown("served", store="https"),
        BIND,
        pending("cs-cfg"),
    ]


def request(**fields: Any) -> Request:
    """A request that certmonger watches, and that ends on 2026-12-13."""
    values: dict[str, Any] = {
        "id": "20261123190541", "status": "MONITORING", "stuck": False, "ca": "dogtag-ipa-ca-renew-agent",
        "ca_error": "", "profile": "", "storage": "NSSDB", "location": PKI_NSSDB, "nickname": SUBSYSTEM, "token": "",
        "key_location": PKI_NSSDB, "key_nickname": SUBSYSTEM, "pin": None, "pin_file": "", "certificate": None,
        "not_after": datetime(2026, 12, 13, 20, tzinfo=timezone.utc), "submitted": None, "pre_save": "",
        "post_save": "", "principals": (), "hostnames": (), "monitoring": True, "autorenew": True,
    }  # fmt: skip
    return Request(**{**values, **fields})


def tracked(nickname: str = SUBSYSTEM, *, location: str = PKI_NSSDB, post_save: str = "", **fields: Any) -> Tracked:
    """A tracked certificate with the role that its name gives it; a file without a nickname."""
    role = catalogue.role_of(nickname=nickname, location=location, post_save=post_save)
    storage = "NSSDB" if nickname else "FILE"
    found = request(storage=storage, location=location, nickname=nickname, **fields)
    return Tracked(storage, location, nickname, role, found)


def check(name: str, level: str = CRITICAL, *, of_host: bool = False) -> Check:
    """A check that finds nothing."""
    compares, failure = f"what {name} compares", f"what {name} breaks"
    if of_host:
        make = host_check(name, level, compares=compares, failure=failure, rows=(1,), found_by="ipa-healthcheck")
        return make(lambda _: iter(()))
    return certificate_check(name, level, compares=compares, failure=failure)(lambda *_: iter(()))


def result(finding: Finding | None = None, name: str = "key", certificate: str = SUBSYSTEM) -> Result:
    """The result of the check that found it, or of one that found nothing."""
    if finding is None:
        return Result(check(name), certificate, (), "2026-11-23T20:00:00.000000Z", 0.5)
    return Result(check(finding.check), finding.certificate, (finding,), "2026-11-23T20:00:00.000000Z", 0.5)


def evidence(*certificates: Tracked, **fields: Any) -> Any:
    """What stands in for Evidence where only its simplest fields are asked for."""
    host = SimpleNamespace(name="ipa.example.test")
    values = {"tracked": certificates, "host": host, "now": NOW, "expect": None, "requests": ()}
    return SimpleNamespace(**{**values, "close": lambda: None, **fields})

# SPDX-License-Identifier: MIT
"""What FreeIPA's certificates are for: which stores each must be in, who shares it, who must renew it.

Which certificates there are is read from certmonger's requests; this is their meaning (FreeIPA 4.4 to 4.13, reference:
freeipa.md, 1.1 and 1.2). It imports nothing heavy: the recording process of a helper asks it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# The stores, in the order in which a renewal reaches them (freeipa.md, 5.5). "saved" is where certmonger saves it.
REPOSITORY, CA_RENEWAL, SAVED, CS_CFG = "repository", "ca_renewal", "saved", "CS.cfg"
USERS, AUTHORITY, CA_STORE, SERVED = "users", "authority", "CA store", "served"
STORES = (REPOSITORY, CA_RENEWAL, SAVED, CS_CFG, USERS, AUTHORITY, CA_STORE, SERVED)


class Role(NamedTuple):
    """One of FreeIPA's certificates.

    key: our name for it. nickname: its nickname in Dogtag's NSS database, "" for those elsewhere. common_name: the CN
    in front of the subject base, "" where it is the host's or the CA's own. ca_renewal: its cn below cn=ca_renewal, ""
    for those that are not shared. directives: keys of CS.cfg that hold it, by subsystem. users: the uids that must
    hold it. trust: its trust flags in NSS, "" where they do not matter. served: "https", "ldaps" or "pki", where a
    service shows it. unit: the systemd unit that reads it at its start.
    """

    key: str
    nickname: str = ""
    common_name: str = ""
    ca_renewal: str = ""
    directives: tuple[tuple[str, str], ...] = ()
    users: tuple[str, ...] = ()
    trust: str = ""
    served: str = ""
    unit: str = ""

    @property
    def shared(self) -> bool:
        """Whether all CA servers hold the same one: the renewal master renews it, the others fetch it."""
        return bool(self.ca_renewal)

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores that must hold it after a renewal, in the order in which it gets there."""
        there = {
            REPOSITORY: self.key not in ("", "kdc"),  # without PKINIT the KDC's is self-signed
            CA_RENEWAL: self.shared,
            SAVED: True,
            CS_CFG: bool(self.directives),
            USERS: bool(self.users),
            AUTHORITY: self.key in ("ca", "lightweight-ca"),
            CA_STORE: self.key == "ca",
            SERVED: bool(self.served),
        }
        return tuple(store for store in STORES if there[store])


PKI = "pki-tomcatd@pki-tomcat"
_PLAIN, _AUDIT, _CA = "u,u,u", "u,u,Pu", "CTu,Cu,Cu"


def _dogtag(key: str, nickname: str, common_name: str, *directives: str, trust: str = _PLAIN, users: str = "") -> Role:
    """One that lives in Dogtag's NSS database and is shared by all CA servers."""
    places = tuple((directive.partition(".")[0], directive) for directive in directives)
    return Role(key, nickname, common_name, nickname, places, tuple(users.split()), trust, "", PKI)


ROLES = (
    _dogtag("ca", "caSigningCert cert-pki-ca", "", "ca.signing.cert", trust=_CA),
    _dogtag("audit", "auditSigningCert cert-pki-ca", "CA Audit", "ca.audit_signing.cert", trust=_AUDIT),
    _dogtag("ocsp", "ocspSigningCert cert-pki-ca", "OCSP Subsystem", "ca.ocsp_signing.cert"),
    _dogtag("subsystem", "subsystemCert cert-pki-ca", "CA Subsystem", "ca.subsystem.cert", users="pkidbuser"),
    _dogtag("kra-audit", "auditSigningCert cert-pki-kra", "KRA Audit", "kra.audit_signing.cert", trust=_AUDIT),
    _dogtag(
        "kra-transport",
        "transportCert cert-pki-kra",
        "KRA Transport Certificate",
        "ca.connector.KRA.transportCert",
        "kra.transport.cert",
    ),
    _dogtag("kra-storage", "storageCert cert-pki-kra", "KRA Storage Certificate", "kra.storage.cert"),
    Role(
        "pki-server",
        "Server-Cert cert-pki-ca",
        directives=(("ca", "ca.sslserver.cert"),),
        trust=_PLAIN,
        served="pki",
        unit=PKI,
    ),
    Role("ra", common_name="IPA RA", ca_renewal="ipaCert", users=("ipara", "ipakra")),
    Role("https", served="https", unit="httpd"),
    Role("ldaps", served="ldaps", unit="dirsrv"),
    Role("kdc", unit="krb5kdc"),
    Role("lightweight-ca", trust=_PLAIN, unit=PKI),
)
# A certificate that FreeIPA knows nothing of: checked for what is generic.
STRANGER = Role("")
BY_KEY = {role.key: role for role in ROLES}
_BY_NICKNAME = {role.nickname: role for role in ROLES if role.nickname}
_BY_COMMON_NAME = {role.common_name.lower(): role for role in ROLES if role.common_name}
_LIGHTWEIGHT = re.compile(r"caSigningCert cert-pki-ca [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# FreeIPA's post-save programs tell what a certificate is for, wherever it is kept.
_BY_HOOK = {"renew_ra_cert": "ra", "restart_httpd": "https", "restart_dirsrv": "ldaps", "renew_kdc_cert": "kdc"}
_OUR_HOOK = re.compile(r".*?/(?:pre|post)-save\s.*?\s--\s+(.*)", re.DOTALL)
_BY_FILE = {"ra-agent.pem": "ra", "httpd.crt": "https", "kdc.crt": "kdc"}
_BY_PRINCIPAL = (("HTTP/", "https"), ("ldap/", "ldaps"), ("krbtgt/", "kdc"))


def behind_our_hook(command: str) -> str:
    """A request's pre-save or post-save command, as it is without our hook around it."""
    found = _OUR_HOOK.match(command)
    return found[1] if found else command


def role_of(*, nickname: str, location: str, post_save: str) -> Role:
    """The role of a request: NSS `nickname` ("" for a file), `location` (NSS database or PEM file) and post-save
    command as certmonger has them. STRANGER where none fits. A nickname may have a token in front ("HSM:nickname")."""
    bare = nickname if nickname in _BY_NICKNAME else nickname.rpartition(":")[2]
    if bare in _BY_NICKNAME:
        return _BY_NICKNAME[bare]
    if _LIGHTWEIGHT.fullmatch(bare):
        return BY_KEY["lightweight-ca"]
    if bare == "ipaCert":  # FreeIPA 4.4: /etc/httpd/alias
        return BY_KEY["ra"]
    words = behind_our_hook(post_save).split()
    program = words[0].strip("\"'").rpartition("/")[2] if words else ""
    key = _BY_HOOK.get(program) or ("" if nickname else _BY_FILE.get(location.rpartition("/")[2], ""))
    if key == "https" and not nickname and not location.endswith("/httpd.crt"):
        key = ""  # of another virtual host, that its owner wants restarted in FreeIPA's way
    if not key and nickname and "/dirsrv/slapd-" in location:
        key = "ldaps"
    if not key and nickname and location.endswith("/httpd/alias"):
        key = "https"
    return BY_KEY.get(key, STRANGER)


def role_of_request(*, nickname: str, subject: str, principals: Iterable[str], profile: str) -> Role:
    """The role of a certificate that a helper is asked for: friendlyName, subject (RFC 4514) and Kerberos principals of
    its signing request, and certmonger's profile. STRANGER where they do not tell."""
    if nickname in _BY_NICKNAME:
        return _BY_NICKNAME[nickname]
    if _LIGHTWEIGHT.fullmatch(nickname):
        return BY_KEY["lightweight-ca"]
    first = re.match(r"CN=((?:[^,\\]|\\.)*),", subject, re.IGNORECASE)
    if first and first[1].lower() in _BY_COMMON_NAME:
        return _BY_COMMON_NAME[first[1].lower()]
    for prefix, key in _BY_PRINCIPAL:
        if any(principal.startswith(prefix) for principal in principals):
            return BY_KEY[key]
    return BY_KEY["pki-server"] if profile == "caServerCert" and nickname.endswith("cert-pki-ca") else STRANGER

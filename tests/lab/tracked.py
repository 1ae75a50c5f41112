# SPDX-License-Identifier: MIT
"""What certmonger tracks on a CA server with KRA, and with which options (freeipa.md 1.1): thirteen requests.

Imported by the stand-ins too: nothing heavy here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.settings import DOMAIN, HOST, INSTANCE, LIGHTWEIGHT_ID, PROFILES, REALM, Settings

RA = "ipaCert"
HTTP = "httpd"
LDAP = "Server-Cert"
KDC = "kdc"
PKI_SERVER = "Server-Cert cert-pki-ca"
LIGHTWEIGHT = f"caSigningCert cert-pki-ca {LIGHTWEIGHT_ID}"
LIGHTWEIGHT_COMMON_NAME = "VPN Certificate Authority"

RENEW_AGENT = "dogtag-ipa-ca-renew-agent"
IPA = "IPA"
# The CAs that FreeIPA makes -> the options that their helper gets.
VARIANTS = {
    RENEW_AGENT: "",
    f"{RENEW_AGENT}-reuse": " --reuse-existing",
    f"{RENEW_AGENT}-selfsigned": " --force-self-signed",
}

PKI = (
    "auditSigningCert cert-pki-ca",
    "ocspSigningCert cert-pki-ca",
    "subsystemCert cert-pki-ca",
    "caSigningCert cert-pki-ca",
    PKI_SERVER,
    "auditSigningCert cert-pki-kra",
    "transportCert cert-pki-kra",
    "storageCert cert-pki-kra",
    LIGHTWEIGHT,
)
ALL = (*PKI, RA, HTTP, LDAP, KDC)


@dataclass(frozen=True)
class Tracking:
    """How a certificate is tracked: the CA, and options of `getcert start-tracking` that certmonger keeps."""

    ca: str
    where: tuple[str, ...]  # storage and PIN
    profile: str
    before: str  # "": no command
    after: str
    more: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """All but -I and -c."""
        hooks = [*(("-B", self.before) if self.before else ()), "-C", self.after]
        return [*self.where, "-T", self.profile, *hooks, *self.more]


def request_id(name: str) -> str:
    """The ID under which certmonger tracks `name` in a world: without blanks."""
    return re.sub(r"\W+", "-", name)


def tracking(settings: Settings, name: str, *, pin: str | None = None) -> Tracking:
    """How FreeIPA tracks `name`, one of ALL. `pin`: of pki/alias, to be kept in the request; None: by its file."""
    hooks = settings.hooks
    if name == RA:
        where: tuple[str, ...] = ("-k", str(settings.ra_key), "-f", str(settings.ra_certificate))
        return Tracking(
            RENEW_AGENT, where, PROFILES[RA], str(hooks / "renew_ra_cert_pre"), str(hooks / "renew_ra_cert")
        )
    if name == HTTP:
        where = ("-k", str(settings.httpd_key), "-f", str(settings.httpd_certificate))
        where += ("-p", str(settings.httpd_pin_file))
        names: tuple[str, ...] = ("-D", HOST, "-D", f"ipa-ca.{DOMAIN}", "-K", f"HTTP/{HOST}@{REALM}")
        return Tracking(IPA, where, "caIPAserviceCert", "", str(hooks / "restart_httpd"), names)
    if name == LDAP:
        where = ("-d", str(settings.dirsrv_configuration), "-n", LDAP, "-p", str(settings.dirsrv_pin_file))
        names = ("-K", f"ldap/{HOST}@{REALM}")
        return Tracking(IPA, where, "caIPAserviceCert", "", f"{hooks / 'restart_dirsrv'} {INSTANCE}", names)
    if name == KDC:
        where = ("-k", str(settings.kdc_key), "-f", str(settings.kdc_certificate))
        names = ("-K", f"krbtgt/{REALM}@{REALM}")
        return Tracking(IPA, where, "KDCs_PKINIT_Certs", "", str(hooks / "renew_kdc_cert"), names)
    where = ("-d", str(settings.nss_directory), "-n", name)
    where += ("-P", pin) if pin is not None else ("-p", str(settings.pin_file))
    after = f'{hooks / "renew_ca_cert"} "{name}"'
    return Tracking(RENEW_AGENT, where, PROFILES[name], str(hooks / "stop_pkicad"), after)


def helper_commands(settings: Settings) -> dict[str, str]:
    """CA name -> the command that certmonger runs for it, on a server."""
    helper = settings.helpers / f"{RENEW_AGENT}-submit"
    guard = f"{settings.helpers / 'ipa-server-guard'} {settings.helpers / 'ipa-submit'}"
    return {**{name: f"{helper} -vv{option}" for name, option in VARIANTS.items()}, IPA: guard}

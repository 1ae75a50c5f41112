# SPDX-License-Identifier: MIT
"""What depends on each certificate, in the administrator's words, and the commands of NSS databases and systemd.

Facts: FreeIPA 4.4 to 4.13 and Dogtag 10 to 11 (reference: freeipa.md, 1.1, 5.7, 6 and 7.2).
"""

from __future__ import annotations

import base64
import os
import shlex

from certwitness.catalogue import PKI, Role
from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.host import Host
from certwitness.stores.names import same_dn
from certwitness.stores.nss import is_hardware
from certwitness.tracked import Tracked

_SELF_TEST = "pki-tomcatd will not start: its self-test verifies this certificate"
_KRA = "pki-tomcatd will not start its KRA, and no vault can be opened"
_UNUSABLE = {
    "ca": "the CA cannot sign anything, and pki-tomcatd will not start",
    "audit": _SELF_TEST,
    "ocsp": _SELF_TEST,
    "subsystem": "pki-tomcatd will not start: it cannot log in to 389-ds",
    "kra-audit": _KRA,
    "kra-transport": _KRA,
    "kra-storage": _KRA,
    "pki-server": "pki-tomcatd cannot open its TLS port, and renewals cannot reach the CA",
    "ra": "IPA cannot log in to its CA: every request for a certificate, renewals too, fails (4016, 4301, Error 58)",
    "https": "httpd will not start, and renewals go through it",
    "ldaps": "389-ds will not offer TLS, so pki-tomcatd cannot log in to it and will not start",
    "kdc": "PKINIT fails, and with it the login to the web UI",
    "lightweight-ca": "this sub-CA cannot sign",
    "": "the service that uses it fails at its next start",
}
_REFUSED = {
    "ca": "everybody refuses every certificate of this CA, and pki-tomcatd will not start",
    "pki-server": f"{_SELF_TEST}, and renewals refuse it (Error 60)",
    "ra": "the CA refuses IPA's agent: every request for a certificate, renewals too, fails",
    "https": "clients refuse the IPA API and the web UI, and so do renewals (Error 60)",
    "ldaps": "clients refuse LDAPS, and so does pki-tomcatd, which will not start",
    "kdc": "clients refuse PKINIT, and the login to the web UI fails",
    "lightweight-ca": "everybody refuses the certificates of this sub-CA",
    "": "whoever the service shows it to refuses it",
}


def unusable(role: Role) -> str:
    """What fails where a service cannot use its own certificate: no key, nothing there, unreadable."""
    return _UNUSABLE[role.key]


def refused(role: Role) -> str:
    """What fails where others refuse the certificate: expired, or not of the CA."""
    return _REFUSED.get(role.key) or _UNUSABLE[role.key]


def unit(host: Host, role: Role) -> str:
    """The systemd unit that reads the certificate at its start; "" where that is not known."""
    if role.unit == "dirsrv":
        return f"dirsrv@{host.instance}"
    if role.unit == "httpd" and host.proxy_conf.startswith("/etc/apache2/"):
        return "apache2"
    return role.unit


def has_ca(evidence: Evidence) -> bool:
    """Whether this server runs a CA: Dogtag's certificates are tracked, or its configuration is there."""
    return any(one.role.unit == PKI for one in evidence.tracked) or os.path.lexists(evidence.host.cs_cfg)


def has_kra(evidence: Evidence) -> bool:
    """Whether this server runs a KRA."""
    return any(one.role.key.startswith("kra-") for one in evidence.tracked)


def ca_subject(evidence: Evidence) -> str:
    """The name of IPA's CA: as the CA's own certificate has it, else as LDAP has it; "" where there is no CA."""
    authority = evidence.by_role("ca")
    held = evidence.held(authority) if authority else None
    return held.subject if held else evidence.directory.ca_subject or ""


def is_ipa_issued(evidence: Evidence, tracked: Tracked) -> bool:
    """Whether IPA's own CA issued what is saved. Raises StoreError."""
    held = evidence.held(tracked)
    return held is not None and same_dn(held.issuer, ca_subject(evidence))


def renew(tracked: Tracked, evidence: Evidence) -> tuple[str, ...]:
    """The commands that have a new certificate issued and saved; on another server than the renewal master those that
    fetch a shared one when the renewal master has renewed it.

    `getcert resubmit` would clear the CA flag of a CA's request (certmonger 0.79.17). `ipa-cacert-manage renew` would
    make the server on which it runs the renewal master, and ``-w`` would wait for the renewal master, for hours.
    """
    here = _renews_here(tracked, evidence)
    if tracked.role.key == "ca":
        return ("ipa-cacert-manage renew",) if here else ("ipa-certupdate",)
    if tracked.role.key == "lightweight-ca" or tracked.request is None:
        return ()
    return (shlex.join(["getcert", "resubmit", "-i", tracked.request.id, *(["-w"] if here else [])]),)


def _renews_here(tracked: Tracked, evidence: Evidence) -> bool:
    """Whether this server is the one that renews the certificate. False where nobody can know."""
    try:
        return not tracked.role.shared or evidence.is_renewal_master
    except StoreError:
        return False


def where_to_renew(tracked: Tracked, evidence: Evidence) -> str:
    """What to say of the server on which to do it."""
    try:
        if not tracked.role.shared or evidence.is_renewal_master:
            return "here"
        masters = ", ".join(evidence.directory.renewal_masters)
    except StoreError:
        masters = ""
    return f"on the renewal master{f' {masters}' if masters else ''} (the others fetch it from there)"


def certutil(evidence: Evidence, location: str, *arguments: str, text: str = "") -> str:
    """A certutil command that writes to an NSS database; `text` is what it reads from its standard input.

    The PIN stays in its file: a request's, FreeIPA's own `pwdfile.txt`, or else (without `text`) password.conf.
    """
    pin_file = bare_pin_file(evidence, location)
    words = ["certutil", *arguments, "-d", location, *(["-f", pin_file] if pin_file else [])]
    if text:
        return f"{shlex.join([*words, '-a'])} <<'EOF'\n{text}\nEOF"
    if not pin_file and location.rstrip("/") == evidence.host.pki_nssdb.rstrip("/"):
        pin = f"sed -n 's/^internal=//p' {shlex.quote(evidence.host.pki_password_file)}"
        return f"{pin} | {shlex.join([*words, '-f', '/dev/stdin'])}"
    return shlex.join(words)


def pem(certificate: Certificate) -> str:
    """The certificate as PEM, without a newline at its end."""
    text = base64.b64encode(certificate.der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"])


def bare_pin_file(evidence: Evidence, location: str) -> str:
    """A file that holds the PIN of an NSS database and nothing else; "" where none is known."""
    for request in evidence.requests_at(location):
        if request.pin_file and not is_hardware(request.token):
            return request.pin_file
    usual = os.path.join(location, "pwdfile.txt")
    return usual if os.path.isfile(usual) else ""

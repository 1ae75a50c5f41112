# SPDX-License-Identifier: MIT
"""What a world's parts and stand-ins must know of it: <world>/lab.json, and where things are below the world.

The stand-ins are started by certmonger with an environment of its own, so they get the directory as an argument, from
the shell wrapper that bears their name. Imported by them: nothing heavy here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

REALM = "IPADOMAIN.COM"
HOST = "ipa.ipadomain.com"
SUFFIX = "dc=ipadomain,dc=com"

# Dogtag's certificates by nickname (and the RA's, by its name in cn=ca_renewal) -> the profile for their renewal.
PROFILES = {
    "subsystemCert cert-pki-ca": "caSubsystemCert",
    "ocspSigningCert cert-pki-ca": "caOCSPCert",
    "auditSigningCert cert-pki-ca": "caSignedLogCert",
    "caSigningCert cert-pki-ca": "caCACert",
    "Server-Cert cert-pki-ca": "caServerCert",
    "auditSigningCert cert-pki-kra": "caAuditSigningCert",
    "transportCert cert-pki-kra": "caTransportCert",
    "storageCert cert-pki-kra": "caStorageCert",
    "ipaCert": "caSubsystemCert",
}


@dataclass(frozen=True)
class Settings:
    """One world's facts. `directory` is the world; URLs, ports; the rest shortens what takes long on a server."""

    directory: str
    ee_url: str = ""
    agent_url: str = ""
    ldaps_port: int = 0
    has_ldap: bool = False
    store_delay_s: int = 0  # FreeIPA: 30
    people_delay_s: float = 0.0  # FreeIPA: 30
    lock_poll_s: float = 0.1  # FreeIPA: 10
    startup_timeout_s: float = 90.0  # only named in the message: the lab's CA knows at once

    def save(self) -> None:
        """Write <world>/lab.json."""
        self.path("lab.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path | str) -> Settings:
        """Read <world>/lab.json. Raises OSError if the directory is no world."""
        with open(Path(directory) / "lab.json", encoding="utf-8") as file:
            return cls(**json.load(file))

    def path(self, *parts: str) -> Path:
        """A path below the world."""
        return Path(self.directory, *parts)

    @property
    def helpers(self) -> Path:
        """Where certmonger's helpers are: /usr/libexec/certmonger on a server."""
        return self.path("libexec", "certmonger")

    @property
    def hooks(self) -> Path:
        """Where FreeIPA's hooks are: /usr/libexec/ipa/certmonger."""
        return self.path("libexec", "ipa", "certmonger")

    @property
    def journal(self) -> Path:
        """Stands in for the journal: there is no syslog here. Lines are ``ident[pid]: LEVEL message``."""
        return self.path("log", "journal")

    @property
    def pki_debug(self) -> Path:
        """Dogtag's debug log."""
        return self.path("log", "pki-debug")

    @property
    def nss_directory(self) -> Path:
        """/etc/pki/pki-tomcat/alias"""
        return self.path("pki", "alias")

    @property
    def pin_file(self) -> Path:
        """The PIN of that NSS database."""
        return self.path("pki", "pin")

    @property
    def cs_cfg(self) -> Path:
        """/etc/pki/pki-tomcat/ca/CS.cfg"""
        return self.path("pki", "CS.cfg")

    @property
    def ca_certificate(self) -> Path:
        """/etc/ipa/ca.crt"""
        return self.path("ipa", "ca.crt")

    @property
    def ca_csr(self) -> Path:
        """/var/lib/ipa/ca.csr"""
        return self.path("ipa", "ca.csr")

    @property
    def ra_certificate(self) -> Path:
        """/var/lib/ipa/ra-agent.pem"""
        return self.path("ipa", "ra-agent.pem")

    @property
    def ra_key(self) -> Path:
        """/var/lib/ipa/ra-agent.key"""
        return self.path("ipa", "ra-agent.key")

    @property
    def renewal_lock(self) -> Path:
        """/run/ipa/renewal.lock"""
        return self.path("run", "renewal.lock")

    @property
    def ldapi_socket(self) -> Path:
        """/run/slapd-SID.socket"""
        return self.path("run", "slapd.socket")

    @property
    def services_socket(self) -> Path:
        """Where the stand-in for systemd takes its orders."""
        return self.path("run", "services")

    @property
    def faults(self) -> Path:
        """The switches of faults.Faults."""
        return self.path("faults")

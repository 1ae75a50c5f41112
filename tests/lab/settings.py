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
DOMAIN = "ipadomain.com"
INSTANCE = "IPADOMAIN-COM"  # 389-ds's, made of the realm
REPLICA = "replica.ipadomain.com"  # another CA server, of which only the directory knows
AUTHORITY_ID = "6d9a9c50-8d4a-4b4f-9e34-3a1b6f0f2f11"
LIGHTWEIGHT_ID = "b7a0c1d2-5e6f-4a3b-8c9d-0e1f2a3b4c5d"

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
    f"caSigningCert cert-pki-ca {LIGHTWEIGHT_ID}": "caCACert",
}


@dataclass(frozen=True)
class Settings:
    """One world's facts. `directory` is the world; URLs, ports; the rest shortens what takes long on a server."""

    directory: str
    ee_url: str = ""
    agent_url: str = ""
    ldaps_port: int = 0
    https_port: int = 0
    pki_port: int = 0  # the agents' and administrators', with TLS
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
        return self.path("pki", "ca", "CS.cfg")

    @property
    def kra_cs_cfg(self) -> Path:
        """/etc/pki/pki-tomcat/kra/CS.cfg"""
        return self.path("pki", "kra", "CS.cfg")

    @property
    def password_conf(self) -> Path:
        """/etc/pki/pki-tomcat/password.conf: the PIN once more, as ``internal=``."""
        return self.path("pki", "password.conf")

    @property
    def server_xml(self) -> Path:
        """/etc/pki/pki-tomcat/server.xml"""
        return self.path("pki", "server.xml")

    @property
    def proxy_conf(self) -> Path:
        """/etc/httpd/conf.d/ipa-pki-proxy.conf"""
        return self.path("httpd", "ipa-pki-proxy.conf")

    @property
    def httpd_certificate(self) -> Path:
        """/var/lib/ipa/certs/httpd.crt"""
        return self.path("ipa", "certs", "httpd.crt")

    @property
    def httpd_key(self) -> Path:
        """/var/lib/ipa/private/httpd.key, encrypted."""
        return self.path("ipa", "private", "httpd.key")

    @property
    def httpd_pin_file(self) -> Path:
        """/var/lib/ipa/passwds/<fqdn>-443-RSA"""
        return self.path("ipa", "passwds", f"{HOST}-443-RSA")

    @property
    def kdc_certificate(self) -> Path:
        """/var/kerberos/krb5kdc/kdc.crt"""
        return self.path("krb5kdc", "kdc.crt")

    @property
    def kdc_key(self) -> Path:
        """/var/kerberos/krb5kdc/kdc.key"""
        return self.path("krb5kdc", "kdc.key")

    @property
    def dirsrv_configuration(self) -> Path:
        """/etc/dirsrv/slapd-SID, which is 389-ds's NSS database too."""
        return self.path("dirsrv", "config")

    @property
    def dirsrv_pin_file(self) -> Path:
        """/etc/dirsrv/slapd-SID/pwdfile.txt"""
        return self.path("dirsrv", "config", "pwdfile.txt")

    @property
    def certmap(self) -> Path:
        """/etc/dirsrv/slapd-SID/certmap.conf"""
        return self.path("dirsrv", "config", "certmap.conf")

    @property
    def bus_address(self) -> str:
        """certmonger's bus."""
        return f"unix:path={self.path('run', 'bus')}"

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

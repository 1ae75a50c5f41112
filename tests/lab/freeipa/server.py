# SPDX-License-Identifier: MIT
"""The IPA server as a stand-in sees it: its settings and faults, journal, ticket, directory, role, services."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from tests.lab.faults import Faults
from tests.lab.freeipa.lock import RenewalLock
from tests.lab.ldapi import Ldapi
from tests.lab.services import ServiceError, ask
from tests.lab.settings import HOST, REALM, SUFFIX, Settings

# Common name of the subject -> nickname; the rest of the subject is the subject base.
SHARED = {
    "CA Audit": "auditSigningCert cert-pki-ca",
    "OCSP Subsystem": "ocspSigningCert cert-pki-ca",
    "CA Subsystem": "subsystemCert cert-pki-ca",
    "KRA Audit": "auditSigningCert cert-pki-kra",
    "KRA Transport Certificate": "transportCert cert-pki-kra",
    "KRA Storage Certificate": "storageCert cert-pki-kra",
    "IPA RA": "ipaCert",
}
CA_NICKNAME = "caSigningCert cert-pki-ca"


class Server:
    """One run of the stand-in `program` in the world `directory`."""

    def __init__(self, directory: Path | str, program: str) -> None:
        self.program = program
        self.settings = Settings.load(directory)
        self.faults = Faults(self.settings.faults)

    # --- syslog

    def log(self, level: str, message: str) -> None:
        """syslog: NOTICE, INFO, ERR or ALERT. A message of several lines becomes several lines."""
        lines = "".join(f"{self.program}[{os.getpid()}]: {level} {line}\n" for line in message.splitlines())
        with open(self.settings.journal, "a", encoding="utf-8") as journal:
            journal.write(lines)

    def log_traceback(self) -> None:
        """What FreeIPA's scripts do with an exception that nobody expected."""
        self.log("ERR", traceback.format_exc())

    # --- the renewal lock

    def lock(self, owner: str | None = None) -> RenewalLock:
        """The renewal lock for `owner` (default: this program and process)."""
        owner = owner or f"{self.program}[{os.getpid()}]"
        return RenewalLock(self.settings.renewal_lock, owner, self.settings.lock_poll_s, self.faults)

    # --- the directory

    def kinit(self) -> None:
        """A ticket for host/<fqdn>. There is no KDC: it costs nothing, or fails as the fault says."""
        if self._is_hit("kinit-fails"):
            raise RuntimeError(f"Cannot contact any KDC for realm '{REALM}'")

    def connect(self) -> Ldapi:
        """The directory as root over LDAPI. Raises ldapi.LdapError if it cannot be reached."""
        down = self._is_hit("ldap-down")
        ldapi = Ldapi(self.settings.path("run", "nowhere") if down else self.settings.ldapi_socket)
        ldapi.read("")  # the root DSE: connect now, as FreeIPA does, not at the first use
        return ldapi

    def is_renewal_master(self, ldapi: Ldapi) -> bool:
        """Whether cn=CA below this host's entry says caRenewalMaster."""
        if self.faults.is_on("not-renewal-master"):
            return False
        master = ldapi.read(f"cn=CA,cn={HOST},cn=masters,cn=ipa,cn=etc,{SUFFIX}") or {}
        return any(value.lower() == b"carenewalmaster" for value in master.get("ipaconfigstring", []))

    def nickname(self, ldapi: Ldapi, subject: str) -> str | None:
        """Nickname in cn=ca_renewal of a certificate with the subject `subject` (in LDAP order); None: not shared."""
        configuration = ldapi.read(f"cn=ipaConfig,cn=etc,{SUFFIX}") or {}
        authority = ldapi.read(f"cn=ipa,cn=cas,cn=ca,{SUFFIX}") or {}
        if subject.lower() == authority.get("ipacasubjectdn", [b""])[0].decode().lower():
            return CA_NICKNAME
        base = configuration.get("ipacertificatesubjectbase", [b""])[0].decode()
        names = {f"CN={name},{base}".lower(): nickname for name, nickname in SHARED.items()}
        return names.get(subject.lower())

    # --- services

    def service(self, verb: str, name: str) -> str:
        """start, stop, restart or status. Raises ServiceError."""
        return ask(self.settings.services_socket, verb, name)

    def stop_pki(self) -> None:
        """Stop pki-tomcatd; a failure is logged and otherwise ignored."""
        self.log("NOTICE", "Stopping pki_tomcatd")
        try:
            self.service("stop", "pki-tomcatd")
        except ServiceError as error:
            self.log("ERR", f"Cannot stop pki_tomcatd: {error}")
        else:
            self.log("NOTICE", "Stopped pki_tomcatd")

    def start_pki(self) -> None:
        """Start pki-tomcatd; a failure is logged and otherwise ignored."""
        self.log("NOTICE", "Starting pki_tomcatd")
        try:
            self.service("start", "pki-tomcatd")
        except ServiceError as error:
            self.log("ERR", f"Cannot start pki_tomcatd: {error}")
        else:
            self.log("NOTICE", "Started pki_tomcatd")

    # --- dying

    def may_die(self, fault: str = "hook-dies-half-way") -> None:
        """The middle of the program: with the fault on, for this program or for all, the end by SIGKILL."""
        if self._is_hit(fault):
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_hit(self, fault: str) -> bool:
        """Whether the fault is on for this program: for those in its value, without one for all."""
        victims = self.faults.value(fault)
        return victims is not None and (not victims or self.program in victims.split())

# SPDX-License-Identifier: MIT
"""The services that hooks start and stop: pki-tomcatd, httpd and dirsrv."""

from __future__ import annotations

import time

from tests.lab.directory import Directory389
from tests.lab.dogtag import Dogtag
from tests.lab.faults import Faults
from tests.lab.ldaps_bind import bind
from tests.lab.nss import NssDatabase
from tests.lab.services import ServiceError
from tests.lab.settings import Settings

SUBSYSTEM = "subsystemCert cert-pki-ca"


class PkiTomcatd:
    """Dogtag's Tomcat. It starts only if 389-ds accepts its subsystem certificate: a real SASL EXTERNAL bind over LDAPS
    with certificate and key from the NSS database. `ldap` False: there is no directory to bind to."""

    def __init__(self, dogtag: Dogtag, database: NssDatabase, settings: Settings, faults: Faults) -> None:
        self._dogtag = dogtag
        self._database = database
        self._settings = settings
        self._faults = faults

    @property
    def running(self) -> bool:
        """Whether the CA is up. (The fault dogtag-down closes its ports and changes nothing here.)"""
        return self._dogtag.running

    def start(self) -> None:
        """Bind to the directory, then open the ports."""
        if self._faults.is_on("cannot-start-pki"):
            self._fail("CA subsystem did not initialise")
        if self._settings.has_ldap:
            self._bind()
        self._dogtag.start()

    def stop(self) -> None:
        """Close the ports."""
        if self._faults.is_on("cannot-stop-pki"):
            raise ServiceError(_systemctl("stop", "pki-tomcatd@pki-tomcat.service"))
        self._dogtag.stop()

    def _bind(self) -> None:
        result = bind(self._database, SUBSYSTEM, self._settings.ldaps_port)
        if result.code == 0:
            return
        reason = "Authentication failed" if result.code == 49 else "Unable to create socket"
        number = result.code if result.code > 0 else 91  # LDAPException.CONNECT_ERROR
        where = f"host localhost port {self._settings.ldaps_port}"
        self._fail(f"Could not connect to LDAP server {where} Error netscape.ldap.LDAPException: {reason} ({number})")

    def _fail(self, line: str) -> None:
        with open(self._settings.pki_debug, "a", encoding="utf-8") as log:
            log.write(f"[{time.strftime('%d/%b/%Y:%H:%M:%S')}][localhost-startStop-1]: {line}\n")
        raise ServiceError(f"CA did not start in {self._settings.startup_timeout_s}s")


class Httpd:
    """Nothing but a state: how often it was started, to see whether a hook restarted it."""

    def __init__(self, faults: Faults) -> None:
        self.running = True
        self.starts = 1
        self._faults = faults

    def start(self) -> None:
        """Count."""
        self.running = True
        self.starts += 1

    def stop(self) -> None:
        """Refuse where the fault says so: a restart stops first, so the old process stays."""
        if self._faults.is_on("restart-httpd-fails"):
            raise ServiceError(_systemctl("restart", "httpd.service"))
        self.running = False


class Dirsrv:
    """The real 389-ds."""

    def __init__(self, directory: Directory389, faults: Faults) -> None:
        self._directory = directory
        self._faults = faults

    @property
    def running(self) -> bool:
        """Whether ns-slapd runs."""
        return self._directory.running

    def start(self) -> None:
        """Start and wait until it answers."""
        self._directory.start()

    def stop(self) -> None:
        """Orderly stop, as far as the fault lets it."""
        if self._faults.is_on("restart-dirsrv-fails"):
            raise ServiceError(_systemctl("restart", "dirsrv@IPADOMAIN-COM.service"))
        self._directory.stop()


def _systemctl(verb: str, unit: str) -> str:
    return f"CalledProcessError(Command ['/bin/systemctl', '{verb}', '{unit}'] returned non-zero exit status 1: '')"

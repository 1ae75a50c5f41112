# SPDX-License-Identifier: MIT
"""The services that hooks start and stop: pki-tomcatd, dirsrv and krb5kdc (httpd is webserver.py's)."""

from __future__ import annotations

import time

from certwitness.errors import StoreError
from certwitness.stores.external_bind import bind
from certwitness.stores.pin import Pin
from tests.lab.directory import Directory389
from tests.lab.dogtag import Dogtag
from tests.lab.faults import Faults
from tests.lab.nss import NssDatabase
from tests.lab.services import ServiceError, refusal
from tests.lab.settings import INSTANCE, Settings
from tests.lab.tracked import PKI_SERVER

SUBSYSTEM = "subsystemCert cert-pki-ca"


class PkiTomcatd:
    """Dogtag's Tomcat. It starts only if 389-ds accepts its subsystem certificate: a real SASL EXTERNAL bind over LDAPS
    with certificate and key from the NSS database (without a directory there is nothing to bind to). Where the NSS
    database has a `Server-Cert cert-pki-ca` it shows that from then on."""

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
        certificate = self._database.certificate(PKI_SERVER)
        if certificate is not None:
            self._dogtag.load(certificate)
        self._dogtag.start()

    def stop(self) -> None:
        """Close the ports."""
        if self._faults.is_on("cannot-stop-pki"):
            raise ServiceError(refusal("stop", "pki-tomcatd@pki-tomcat.service"))
        self._dogtag.stop()

    def _bind(self) -> None:
        directory = str(self._database.directory)
        try:
            pin = Pin.from_file(str(self._settings.password_conf))
            code = bind(directory, SUBSYSTEM, pin, "localhost", self._settings.ldaps_port).code
        except StoreError:
            code = -1
        if code == 0:
            return
        reason = "Authentication failed" if code == 49 else "Unable to create socket"
        number = code if code > 0 else 91  # LDAPException.CONNECT_ERROR
        where = f"host localhost port {self._settings.ldaps_port}"
        self._fail(f"Could not connect to LDAP server {where} Error netscape.ldap.LDAPException: {reason} ({number})")

    def _fail(self, line: str) -> None:
        with open(self._settings.pki_debug, "a", encoding="utf-8") as log:
            log.write(f"[{time.strftime('%d/%b/%Y:%H:%M:%S')}][localhost-startStop-1]: {line}\n")
        raise ServiceError(f"CA did not start in {self._settings.startup_timeout_s}s")


class Krb5kdc:
    """Stands in for krb5kdc: nothing but a state, and how often it was started."""

    def __init__(self, faults: Faults) -> None:
        self.running = True
        self.starts = 1
        self._faults = faults

    def start(self) -> None:
        """Count."""
        self.running = True
        self.starts += 1

    def stop(self) -> None:
        """Refuse where the fault says so."""
        if self._faults.is_on("restart-krb5kdc-fails"):
            raise ServiceError(refusal("restart", "krb5kdc.service"))
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
        try:
            self._directory.start()
        except (RuntimeError, TimeoutError) as error:
            raise ServiceError(f"Job for dirsrv@{INSTANCE}.service failed: {error}") from error

    def stop(self) -> None:
        """Orderly stop, as far as the fault lets it."""
        if self._faults.is_on("restart-dirsrv-fails"):
            raise ServiceError(refusal("restart", "dirsrv@IPADOMAIN-COM.service"))
        try:
            self._directory.stop()
        except TimeoutError as error:
            raise ServiceError(f"Job for dirsrv@{INSTANCE}.service failed: {error}") from error

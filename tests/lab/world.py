# SPDX-License-Identifier: MIT
"""A CA server of FreeIPA's in a temporary directory: the parts put together.

with World() as world:                                 # subsystemCert is tracked, as FreeIPA tracks it
    request = world.renew("subsystemCert cert-pki-ca")
    assert request["status"] == "MONITORING"
    world.nss_certificate("subsystemCert cert-pki-ca").serial_number

World(full=True)       # a CA server with KRA and all of its thirteen requests; breaks.py breaks it
World(ldap=False)      # certmonger, NSS and Dogtag, no 389-ds: FreeIPA's helper and hooks cannot work then
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from tests.lab import entries
from tests.lab.ca import TWO_YEARS, TestCA
from tests.lab.certmonger import Certmonger, Request
from tests.lab.directory import Directory389
from tests.lab.dogtag import Dogtag
from tests.lab.faults import Faults
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.freeipa.systemctl import UNITS
from tests.lab.full import FullServer
from tests.lab.healthy import Healthy
from tests.lab.ipa_api import IpaApi
from tests.lab.issuing import PIN, Issuing
from tests.lab.place import Place
from tests.lab.programs import write_configuration, write_stand_ins, write_tools
from tests.lab.services import Service, ServiceManager
from tests.lab.settings import Settings
from tests.lab.tls import TlsPort
from tests.lab.tracked import (
    ALL,
    HTTP,
    IPA,
    KDC,
    LDAP,
    RA,
    RENEW_AGENT,
    VARIANTS,
    helper_commands,
    request_id,
    tracking,
)
from tests.lab.units import Dirsrv, Krb5kdc, PkiTomcatd
from tests.lab.webserver import Httpd

__all__ = ["CA_NAME", "HELPER", "RA", "SUBSYSTEM", "World", "request_id"]

SUBSYSTEM = "subsystemCert cert-pki-ca"
CA_NAME = RENEW_AGENT
HELPER = f"{CA_NAME}-submit"


class World(Issuing):
    """Everything up when the constructor returns. Attributes: `directory`, `settings` (where things are), `certmonger`,
    `ca`, `dogtag`, `nss` (pki/alias), `directory_server` (None without ldap), `faults`, `services`, and
    `certwitness_config`.

    `full`: a whole CA server with KRA (full.py says what is there); all of tracked.ALL are tracked, and httpd,
    pki-tomcatd and 389-ds serve their certificates.
    `tracked` are imported and tracked at once, with `lifetime` left. Near expiry certmonger renews by itself at once:
    to have faults on before that, track nothing, switch them on, and call `track`. `issue_lifetime` is for what
    Dogtag issues; `store_delay_s` is the wait after a failed store (FreeIPA: 30).
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        ldap: bool = True,
        full: bool = False,
        tracked: Sequence[str] = (SUBSYSTEM,),
        lifetime: timedelta = TWO_YEARS,
        issue_lifetime: timedelta = TWO_YEARS,
        store_delay_s: int = 0,
        debug: int | None = 3,
    ) -> None:
        if full and not ldap:
            raise ValueError("a full world has a directory")
        self.place = Place(directory)
        self._tracked_at_first = ALL if full else tuple(tracked)
        self._tracked: set[str] = set()
        self._parts: list[Dogtag | ServiceManager | Httpd] = []
        try:
            self._build(ldap, full, lifetime, issue_lifetime, store_delay_s, debug)
            for nickname in self._tracked_at_first:
                self.track(nickname)
            self.healthy = Healthy(self) if full else None
        except BaseException:
            self.close()
            raise

    def _build(
        self,
        ldap: bool,
        full: bool,
        lifetime: timedelta,
        issue_lifetime: timedelta,
        store_delay_s: int,
        debug: int | None,
    ) -> None:
        """In the order that keeps both cores busy: 389-ds takes the longest to start."""
        self.directory = self.place.directory
        self.faults = Faults(self.directory / "faults")
        self.faults.directory.mkdir()
        self.ca = TestCA()
        self._shared: dict[str, x509.Certificate] = {CA_NICKNAME: self.ca.certificate}
        self.full = FullServer(self) if full else None
        self.directory_server = Directory389(self.place, self.ca, lifetime) if ldap else None
        if self.directory_server:
            self.directory_server.launch()
        self.dogtag = Dogtag(
            self.directory / "dogtag",
            self.ca,
            self.faults,
            accepts=self._accepts_agent,
            on_issue=self._remember,
            lifetime=issue_lifetime,
        )
        self._parts.append(self.dogtag)
        tls = TlsPort(IpaApi(self._issue_for_host).answer)
        self.settings = Settings(
            directory=str(self.directory),
            ee_url=self.dogtag.ee_url,
            agent_url=self.dogtag.agent_url,
            ldaps_port=self.directory_server.ldaps_port if self.directory_server else 0,
            https_port=tls.port,
            pki_port=self.dogtag.agent_port,
            has_ldap=ldap,
            store_delay_s=store_delay_s,
        )
        self.settings.save()
        write_stand_ins(self.settings)
        self.certmonger = Certmonger(place=self.place, debug=debug)
        if self.full:
            self.full.write_files(lifetime)
        else:
            self._write_files(SUBSYSTEM, RA, lifetime=lifetime)
        write_tools(self.settings, self.certmonger.bus_address, shutil.which("getcert") or "getcert")
        commands = helper_commands(self.settings)
        for name in VARIANTS:
            self.certmonger.add_ca(name, commands[name])
        if self.directory_server:
            self.directory_server.wait()
            entries.fill(self.directory_server.ldapi, self._shared, self.ca.certificate)
            self._filled = True
        if self.full:
            self.full.fill()
            self.certmonger.modify_ca(IPA, commands[IPA])
        self._start_services(tls)
        self.certwitness_config = write_configuration(self.settings)

    # --- the certificates under certmonger's care

    def track(self, nickname: str, *more: str | Path, lifetime: timedelta | None = None) -> Request:
        """Track a certificate as FreeIPA does and wait until certmonger has read it; `more` goes to start-tracking.

        `nickname` is one of settings.PROFILES; those that the world did not start with are issued now. With
        `lifetime` it is issued anew with that much left. A full world has the others of tracked.ALL, as they are.
        """
        known = nickname in self._shared and lifetime is None
        if not known and nickname not in (HTTP, LDAP, KDC):
            self._provide(nickname, lifetime or TWO_YEARS)
        self._tracked.add(nickname)
        how = tracking(self.settings, nickname, pin=PIN if self.full else None)
        identifier = request_id(nickname)
        self.certmonger.track(identifier, how.ca, *how.options(), *more)
        return self.certmonger.wait_for(identifier, lambda request: not request["status"].startswith("NEWLY_ADDED"))

    def renew(self, nickname: str, *, timeout: float = 60, wait: bool = True) -> Request:
        """Resubmit, and wait until the request has settled: MONITORING, CA_UNREACHABLE, stuck ... Returns it.

        Neither status nor exit code of getcert says whether it worked: compare serial numbers. `wait` False: return at
        once, as is wise where it will be CA_WORKING for long (fault not-renewal-master). Raises TimeoutError.
        """
        identifier = request_id(nickname)
        if not wait:
            self.certmonger.getcert("resubmit", "-i", identifier)
            return self.certmonger.read(identifier)
        self.certmonger.getcert(
            "resubmit", "-i", identifier, "-w", "--wait-timeout", str(int(timeout)), timeout=timeout + 10
        )
        return self.certmonger.wait_for(identifier, timeout=timeout)

    def request(self, nickname: str) -> Request:
        """The request of a nickname as getcert lists it."""
        return self.certmonger.read(request_id(nickname))

    def reset(self) -> None:
        """Back to the beginning in 0.2 s: no fault, no lock, tracked what was tracked then, directory and NSS of one
        mind, pki-tomcatd up. Certificates that a test renewed stay, unless they end soon.

        A full world is exactly as it was at its beginning, certificates and all."""
        self.faults.clear()
        if self.healthy:
            self.healthy.restore()
            return
        for nickname in self._tracked:
            self.certmonger.getcert("stop-tracking", "-i", request_id(nickname))
        self.settings.renewal_lock.unlink(missing_ok=True)
        for nickname in dict.fromkeys((SUBSYSTEM, RA, *self._tracked)):
            self._agree(nickname)
        self.pki.start()
        self._tracked.clear()
        for nickname in self._tracked_at_first:
            self.track(nickname)

    def register(self, ca_name: str, command: str) -> None:
        """Change a CA's helper, as an administrator registers certwitness."""
        self.certmonger.modify_ca(ca_name, command)

    # --- the end

    def close(self) -> None:
        """End every process and remove the directory."""
        for part in self._parts:
            part.close()
        self.place.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # --- inside

    def _start_services(self, tls: TlsPort) -> None:
        self.httpd = Httpd(self.faults, self.settings, tls, serves=self.full is not None)
        self.pki = PkiTomcatd(self.dogtag, self.nss, self.settings, self.faults)
        self.krb5kdc = Krb5kdc(self.faults)
        services: dict[str, Service] = {"httpd": self.httpd, "pki-tomcatd": self.pki, "krb5kdc": self.krb5kdc}
        services["certmonger"] = self.certmonger
        if self.directory_server:
            services["dirsrv"] = Dirsrv(self.directory_server, self.faults)
        units = {service: unit for unit, service in UNITS.items()}
        drop_ins = self.settings.path("systemd")
        manager = ServiceManager(self.settings.services_socket, services, units, drop_ins, self.settings.journal)
        self._parts += [self.httpd, manager]
        self.pki.start()

    def _accepts_agent(self, der: bytes | None) -> bool:
        """Dogtag's own look-up: the user with exactly this description must have this certificate, plain."""
        if der is None:
            return False
        if self.directory_server is None:
            return True
        description = entries.description_of(x509.load_der_x509_certificate(der))
        users = self.directory_server.ldapi.search(entries.PEOPLE, "one", f"(description={description})")
        return any(der in user.get("usercertificate", []) for user in users.values())

    def _issue_for_host(self, request: x509.CertificateSigningRequest, _: str) -> x509.Certificate:
        """What the IPA API has Dogtag issue for a service of this host; it may be asked for by localhost, too."""
        certificate = self.ca.issue_for(request, server=True)
        self._remember(certificate)
        return certificate

    def _remember(self, certificate: x509.Certificate) -> None:
        """Dogtag keeps what it issued in its repository."""
        if self.directory_server is not None:
            self.directory_server.ldapi.add(entries.record_of(certificate))

# SPDX-License-Identifier: MIT
"""A CA server of FreeIPA's in a temporary directory: the parts put together.

with World() as world:                                 # subsystemCert is tracked, as FreeIPA tracks it
    request = world.renew("subsystemCert cert-pki-ca")
    assert request["status"] == "MONITORING"
    world.nss_certificate("subsystemCert cert-pki-ca").serial_number

World(ldap=False)      # certmonger, NSS and Dogtag, no 389-ds: FreeIPA's helper and hooks cannot work then
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from tests.lab import entries
from tests.lab.ca import TWO_YEARS, TestCA, certificate_pem, key_of, key_pem, subject
from tests.lab.certmonger import Certmonger, Request
from tests.lab.directory import Directory389
from tests.lab.dogtag import Dogtag
from tests.lab.faults import Faults
from tests.lab.freeipa.cs_cfg import DIRECTIVES, directive_line
from tests.lab.freeipa.server import CA_NICKNAME, SHARED
from tests.lab.nss import NssDatabase
from tests.lab.place import Place
from tests.lab.programs import write_configuration, write_stand_ins, write_tools
from tests.lab.services import Service, ServiceManager
from tests.lab.settings import HOST, PROFILES, Settings
from tests.lab.stores import Stores
from tests.lab.units import Dirsrv, Httpd, PkiTomcatd

SUBSYSTEM = "subsystemCert cert-pki-ca"
RA = "ipaCert"
CA_NAME = "dogtag-ipa-ca-renew-agent"
HELPER = f"{CA_NAME}-submit"
VARIANTS = {CA_NAME: "", f"{CA_NAME}-reuse": " --reuse-existing", f"{CA_NAME}-selfsigned": " --force-self-signed"}
PIN = "Tomcat.123"
SOON = timedelta(days=28)  # certmonger's first TTL: with less left it renews by itself


class World(Stores):
    """Everything up when the constructor returns. Attributes: `directory`, `settings` (where things are), `certmonger`,
    `ca`, `dogtag`, `nss` (pki/alias), `directory_server` (None without ldap), `faults`, `services`, and
    `certwitness_config`.

    `tracked` are imported and tracked at once, with `lifetime` left. Near expiry certmonger renews by itself at once:
    to have faults on before that, track nothing, switch them on, and call `track`. `issue_lifetime` is for what
    Dogtag issues; `store_delay_s` is the wait after a failed store (FreeIPA: 30).
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        ldap: bool = True,
        tracked: Sequence[str] = (SUBSYSTEM,),
        lifetime: timedelta = TWO_YEARS,
        issue_lifetime: timedelta = TWO_YEARS,
        store_delay_s: int = 0,
        debug: int | None = 3,
    ) -> None:
        self.place = Place(directory)
        self._tracked_at_first = tuple(tracked)
        self._tracked: set[str] = set()
        self._filled = False  # whether the directory has its entries
        self._parts: list[Dogtag | ServiceManager] = []
        try:
            self._build(ldap, lifetime, issue_lifetime, store_delay_s, debug)
            for nickname in tracked:
                self.track(nickname)
        except BaseException:
            self.close()
            raise

    def _build(
        self, ldap: bool, lifetime: timedelta, issue_lifetime: timedelta, store_delay_s: int, debug: int | None
    ) -> None:
        """In the order that keeps both cores busy: 389-ds takes the longest to start."""
        self.directory = self.place.directory
        self.faults = Faults(self.directory / "faults")
        self.faults.directory.mkdir()
        self.ca = TestCA()
        self._shared: dict[str, x509.Certificate] = {CA_NICKNAME: self.ca.certificate}
        self.directory_server = Directory389(self.place, self.ca) if ldap else None
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
        self.settings = Settings(
            directory=str(self.directory),
            ee_url=self.dogtag.ee_url,
            agent_url=self.dogtag.agent_url,
            ldaps_port=self.directory_server.ldaps_port if self.directory_server else 0,
            has_ldap=ldap,
            store_delay_s=store_delay_s,
        )
        self.settings.save()
        write_stand_ins(self.settings)
        self.certmonger = Certmonger(place=self.place, debug=debug)
        self._write_files(lifetime)
        for name, option in VARIANTS.items():
            self.certmonger.add_ca(name, f"{self.settings.helpers / HELPER} -vv{option}")
        if self.directory_server:
            self.directory_server.wait()
            entries.fill(self.directory_server.ldapi, self._shared, self.ca.certificate)
            self._filled = True
        self._start_services()

    # --- the certificates under certmonger's care

    def track(self, nickname: str, *more: str | Path, lifetime: timedelta | None = None) -> Request:
        """Track a certificate as FreeIPA does and wait until certmonger has read it; `more` goes to start-tracking.

        `nickname` is one of settings.PROFILES; those that the world did not start with are issued now. With
        `lifetime` it is issued anew with that much left.
        """
        if lifetime is not None or nickname not in self._shared:
            self._provide(nickname, lifetime or TWO_YEARS)
        self._tracked.add(nickname)
        hooks = self.settings.hooks
        if nickname == RA:
            where: list[str | Path] = ["-k", self.settings.ra_key, "-f", self.settings.ra_certificate]
            before, after = f"{hooks / 'renew_ra_cert_pre'}", f"{hooks / 'renew_ra_cert'}"
        else:
            where = ["-d", self.settings.nss_directory, "-n", nickname, "-p", self.settings.pin_file]
            before, after = f"{hooks / 'stop_pkicad'}", f'{hooks / "renew_ca_cert"} "{nickname}"'
        profile = PROFILES[nickname]
        identifier = request_id(nickname)
        self.certmonger.track(identifier, CA_NAME, *where, "-T", profile, "-B", before, "-C", after, *more)
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
        mind, pki-tomcatd up. Certificates that a test renewed stay, unless they end soon."""
        self.faults.clear()
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

    def _write_files(self, lifetime: timedelta) -> None:
        for directory in (self.settings.ca_certificate.parent, self.settings.pin_file.parent):
            directory.mkdir()
        self.settings.ca_certificate.write_text(certificate_pem(self.ca.certificate))
        self.settings.pin_file.write_text(PIN)
        self.settings.cs_cfg.write_text("internaldb.ldapauth.authtype=SslClientAuth\n")
        self.nss = NssDatabase(self.settings.nss_directory, self.settings.pin_file)
        self._import(CA_NICKNAME, self.ca.certificate)
        for nickname in (SUBSYSTEM, RA):
            self._provide(nickname, lifetime)
        self.certwitness_config = write_configuration(self.settings)
        write_tools(self.settings, self.certmonger.bus_address, shutil.which("getcert") or "getcert")

    def _provide(self, nickname: str, lifetime: timedelta) -> None:
        """Issue the certificate of `nickname` and put it where Dogtag or FreeIPA has it."""
        key = key_of(nickname)
        if nickname == CA_NICKNAME:
            certificate = self.ca.self_sign(lifetime)
        else:
            certificate = self.ca.issue(subject(common_name(nickname)), key.public_key(), lifetime=lifetime)
        if nickname == RA:
            self.settings.ra_key.write_bytes(key_pem(key))
            self.settings.ra_certificate.write_text(certificate_pem(certificate))
        else:
            self._import(nickname, certificate)
        self._shared[nickname] = certificate
        self._put(nickname, certificate)

    def _put(self, nickname: str, certificate: x509.Certificate) -> None:
        if self._filled and nickname in (CA_NICKNAME, *SHARED.values()):
            entries.put(self._ldap.ldapi, nickname, certificate)

    def _agree(self, nickname: str) -> None:
        """Bring what is held to the directory, or something new to both if that ends soon."""
        if nickname == RA:
            held = x509.load_pem_x509_certificate(self.settings.ra_certificate.read_bytes())
        else:
            held = self.nss_certificate(nickname)
        if held.not_valid_after_utc < datetime.now(timezone.utc) + SOON:
            self._provide(nickname, TWO_YEARS)
        else:
            self._put(nickname, held)

    def _import(self, nickname: str, certificate: x509.Certificate) -> None:
        """Put a certificate, with its role's key, into the NSS database and CS.cfg, in place of older ones."""
        while self.nss.certificate(nickname):
            self.nss.delete(nickname)
        self.nss.import_pair(nickname, key_of(nickname), certificate)
        if nickname == CA_NICKNAME:
            self.nss.set_trust(nickname, "CTu,Cu,Cu")
        if nickname in DIRECTIVES:
            with open(self.settings.cs_cfg, "a", encoding="ascii") as cs_cfg:
                cs_cfg.write(directive_line(nickname, certificate) + "\n")

    def _start_services(self) -> None:
        self.httpd = Httpd(self.faults)
        self.pki = PkiTomcatd(self.dogtag, self.nss, self.settings, self.faults)
        services: dict[str, Service] = {"httpd": self.httpd, "pki-tomcatd": self.pki}
        if self.directory_server:
            services["dirsrv"] = Dirsrv(self.directory_server, self.faults)
        self._parts.append(ServiceManager(self.settings.services_socket, services))
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

    def _remember(self, certificate: x509.Certificate) -> None:
        """Dogtag keeps what it issued in its repository."""
        if self.directory_server is not None:
            self.directory_server.ldapi.add(entries.record_of(certificate))


def request_id(nickname: str) -> str:
    """The ID under which certmonger tracks `nickname` in a world: without blanks."""
    return re.sub(r"\W+", "-", nickname)


def common_name(nickname: str) -> str:
    """The CN that belongs to a nickname; a certificate that is not shared bears the host's name."""
    return next((name for name, shared in SHARED.items() if shared == nickname), HOST)

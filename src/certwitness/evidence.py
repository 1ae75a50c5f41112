# SPDX-License-Identifier: MIT
"""Everything that the checks look at: each store read at most once, all of them at the same time.

A store that could not be read raises its StoreError at every look at it, so each check that needed it says UNKNOWN.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from certwitness import certmonger, databases
from certwitness.certificates import Certificate
from certwitness.errors import LogError, StoreError
from certwitness.events import fields
from certwitness.events.history import History
from certwitness.stores import ajp, certmap, cs_cfg, directory, external_bind, pem, renewal_lock, served
from certwitness.stores.names import same_dn
from certwitness.tracked import LONGEST_SAVE_S, LONGEST_STEP_S, SUBSYSTEM, Tracked, of_requests, usual_places

if TYPE_CHECKING:
    from certwitness.certmonger import CA, Certmonger, Request
    from certwitness.events.renewals import Renewal
    from certwitness.host import Host
    from certwitness.stores.nss import NssDatabase, NssEntry
    from certwitness.stores.pem import PemFile, PemKey
    from certwitness.stores.pin import Pin
    from certwitness.stores.served import CAStatus

T = TypeVar("T")


class Evidence:
    """One look at this host, judged at `now`. Nothing is read twice; what is not asked for is not waited for.

    `expect` is a certificate that must have landed: for its key or subject it takes the place of what is saved. Without
    `everything` only what a service's start depends on is begun at once; where it is None nothing is, and no thread is
    started. Without `waits`, nothing is too early to judge, whatever certmonger is at. Properties and methods raise
    StoreError.
    """

    def __init__(
        self,
        host: Host,
        *,
        expect: Certificate | None = None,
        now: datetime | None = None,
        everything: bool | None = True,
        waits: bool = True,
    ) -> None:
        self.host = host
        self._waits = waits
        self.expect = expect
        self.now = now or datetime.now(timezone.utc)
        self._lock, self._futures = threading.Lock(), dict[object, Future[Any]]()
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="evidence")
        if everything is not None:
            self._start(everything)

    def close(self) -> None:
        """Wait for no reader any more; those that run end at their own time limits."""
        self._pool.shutdown(wait=False)

    def __enter__(self) -> Evidence:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # --- certmonger and what it tracks

    @property
    def requests(self) -> tuple[Request, ...]:
        """certmonger's requests."""
        return self._certmonger.requests

    @property
    def cas(self) -> tuple[CA, ...]:
        """certmonger's CAs."""
        return self._certmonger.cas

    @property
    def tracked(self) -> tuple[Tracked, ...]:
        """The certificates that certmonger tracks, those with a role in the catalogue's order first. Where certmonger
        cannot be read: FreeIPA's, where FreeIPA has them."""
        return self._once("tracked", self._tracked)

    def by_role(self, key: str) -> Tracked | None:
        """The tracked certificate of a role."""
        return next((tracked for tracked in self.tracked if tracked.role.key == key), None)

    def held(self, tracked: Tracked) -> Certificate | None:
        """The certificate where certmonger saves it; None where there is none, or nothing that can be read."""
        if tracked.storage == "FILE":
            found = self.pem(tracked.location).certificates
        else:
            entry = self.entry(tracked)
            found = entry.certificates if entry else ()
        return found[0] if found else None

    def wanted(self, tracked: Tracked) -> Certificate | None:
        """The certificate that every store must hold: the expected one where it is this one's, else what is held."""
        held = self.held(tracked)
        return self.expect if self.expect and self._expected(tracked, held) else held

    # --- stores

    def nss(self, location: str) -> NssDatabase:
        """An NSS database, whole."""
        return self._once(("nss", location), lambda: databases.read(self.host, location, self.requests_at(location)))

    def entry(self, tracked: Tracked) -> NssEntry | None:
        """What the NSS database has under the certificate's nickname, on the token that the request names."""
        return self.nss(tracked.location).get(tracked.nickname_for_tools)

    def pem(self, path: str) -> PemFile:
        """The certificates of a PEM file."""
        return self._once(("pem", path), lambda: pem.read(path))

    def key(self, path: str, pin: Pin | None) -> PemKey:
        """The private key of a PEM file."""
        return self._once(("key", path), lambda: pem.read_key(path, pin))

    @property
    def directory(self) -> directory.Directory:
        """The LDAP entries."""
        return self._once("directory", lambda: directory.read(self.host.uri, self.host.basedn, self._subjects))

    def cs_cfg(self, subsystem: str) -> Any:
        """CS.cfg of "ca" or "kra": key to its values."""
        path = self.host.kra_cs_cfg if subsystem == "kra" else self.host.cs_cfg
        return self._once(("cs_cfg", subsystem), lambda: cs_cfg.read(path))

    @property
    def certmap(self) -> tuple[certmap.CertMap, ...]:
        """The maps of 389-ds's certmap.conf."""
        return self._once("certmap", lambda: certmap.read(self.host.certmap))

    @property
    def lock(self) -> renewal_lock.RenewalLock:
        """FreeIPA's renewal lock."""
        return self._once("lock", lambda: renewal_lock.read(self.host.renewal_lock))

    @property
    def ajp_secrets_agree(self) -> bool | None:
        """Whether Apache and Tomcat have the same AJP secret; None where neither has one."""
        return self._once("ajp", lambda: ajp.secrets_agree(self.host.server_xml, self.host.proxy_conf))

    def served(self, service: str) -> Certificate:
        """What "https", "ldaps" or "pki" shows."""
        address: str = getattr(self.host, service)
        return self._once(("served", service), lambda: served.certificate(address, server_name=self.host.name))

    @property
    def ca_status(self) -> CAStatus:
        """Whether the CA answers."""
        url = f"https://{self.host.pki}/ca/admin/ca/getStatus"
        return self._once("status", lambda: served.ca_status(url, self.host.ca_certificate))

    @property
    def bound(self) -> external_bind.BindResult:
        """What 389-ds says to a bind as pki-tomcatd binds. Raises StoreError where that is switched off, too."""
        return self._once("bind", self._bind)

    @property
    def log(self) -> tuple[Renewal, ...]:
        """The event log's renewals, the newest last; none where there is no log yet."""
        return self._once("log", self._log)

    def renewal(self, tracked: Tracked) -> Renewal | None:
        """The newest renewal of this certificate that the log knows."""
        held = self.held(tracked)
        names = {tracked.nickname, tracked.request.id if tracked.request else ""} - {""}
        keys = {held.spki_sha256 if held else "", self.expect.spki_sha256 if self.expect else ""} - {""}
        found = [renewal for renewal in self.log if renewal.nickname in names and renewal.key in keys]
        return found[-1] if found else None

    def pin(self, location: str) -> Pin | None:
        """The PIN of an NSS database's internal token, None where nobody has one."""
        return databases.pin(self.host, location, self.requests_at(location))

    def requests_at(self, location: str) -> list[Request]:
        """The requests whose key is in this database or file; none where certmonger cannot be read."""
        try:
            return [request for request in self.requests if location in (request.location, request.key_location)]
        except StoreError:
            return []

    @property
    def is_renewal_master(self) -> bool:
        """Whether this host is one."""
        return self.host.name.lower() in self.directory.renewal_masters

    # --- what is on its way

    def in_flight(self, tracked: Tracked) -> str:
        """Why this certificate's stores may differ right now: the step that its renewal is in; "" where it rests."""
        if not self._waits:
            return ""
        request, renewal = tracked.request, self.renewal(tracked)
        since = fields.seconds_between(renewal.last, self.stamp) if renewal else 0.0
        if since > LONGEST_STEP_S or (request and request.stuck):
            return ""
        if request is None:  # certmonger cannot be asked
            return f"a run of its helper was {since:.0f} s ago" if renewal and since < LONGEST_SAVE_S else ""
        if not tracked.resting:
            return f"its renewal is under way: certmonger is at {request.status}"
        if request.status == "CA_WORKING" and renewal and renewal.state == "waiting" and renewal.store_failures:
            return "its renewal is under way: FreeIPA's helper tries again to store it in LDAP"
        return ""

    @property
    def stamp(self) -> str:
        """`now` as the log writes it."""
        return self.now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    # --- inside

    @property
    def _certmonger(self) -> Certmonger:
        return self._once("certmonger", lambda: certmonger.read(self.host.bus))

    def _once(self, name: object, read: Callable[[], T]) -> T:
        """What `read` gives. Whoever asks first reads, all others wait for that: so nothing waits in the queue."""
        with self._lock:
            first = name not in self._futures
            future: Future[T] = self._futures.setdefault(name, Future())
        if first:
            try:
                future.set_result(read())
            except BaseException as error:  # Ctrl-C, too: nobody may wait for ever
                future.set_exception(error)
        return future.result()

    def _start(self, everything: bool) -> None:
        """Begin with all that is certain to be wanted; what depends on certmonger follows as soon as that answers."""
        looks: list[Callable[[], object]] = [
            lambda: self._certmonger,
            lambda: self.bound,  # takes the longest
            self._hold_all,
            lambda: self.directory,
            lambda: self.cs_cfg("ca"),
            lambda: self.certmap,
        ]
        if everything:
            looks += [lambda: self.log, lambda: self.lock, lambda: self.ca_status]
            looks += [lambda name=name: self.served(name) for name in ("https", "ldaps", "pki")]  # type: ignore[misc]
        for look in looks:
            self._pool.submit(look)

    def _hold_all(self) -> None:
        for location in dict.fromkeys((one.storage, one.location) for one in self.tracked):
            self._pool.submit(self.pem if location[0] == "FILE" else self.nss, location[1])

    def _tracked(self) -> tuple[Tracked, ...]:
        try:
            return of_requests(self.requests)
        except StoreError:  # every check of the requests says so; the stores are there all the same
            nicknames, agent = dict[str, Any](), self.host.ra_certificate
        with suppress(StoreError):
            nicknames.update(self.nss(self.host.pki_nssdb).entries)
        with suppress(StoreError):
            agent = "" if self.pem(agent).missing else agent
        return usual_places(self.host.pki_nssdb, nicknames, agent)

    def _subjects(self) -> Sequence[str]:
        """The subjects to ask the directory about: those of all certificates held."""
        subjects: dict[str, None] = {}
        for tracked in self.tracked:
            with suppress(StoreError):
                held = self.held(tracked)
                if held:
                    subjects[held.subject] = None
        return list(subjects)

    def _bind(self) -> external_bind.BindResult:
        if not self.host.bind:
            raise StoreError("bind", "switched off by bind = no in [checks]")
        subsystem = self.by_role(SUBSYSTEM)
        if subsystem is None:
            raise StoreError("bind", "no subsystem certificate is tracked here")
        find = databases.token_pin if subsystem.on_hardware else databases.pin
        pin = find(self.host, subsystem.location, self.requests_at(subsystem.location))
        if pin is None:
            raise StoreError("bind", f"no PIN is known for {subsystem.location}")
        return external_bind.bind(subsystem.location, subsystem.nickname_for_tools, pin, *self.host.ldaps_address)

    def _log(self) -> tuple[Renewal, ...]:
        try:
            return tuple(History.read(self.host.config.events_file).renewals)
        except LogError as error:
            raise StoreError("event log", str(error)) from None

    def _expected(self, tracked: Tracked, held: Certificate | None) -> bool:
        """Whether the expected certificate is this one's: by its key, or by a subject that no other has."""
        known = held or (tracked.request.certificate if tracked.request else None)
        if self.expect is None or known is None:
            return False
        unique = bool(tracked.role.common_name or tracked.role.key == "ca")
        return self.expect.spki_sha256 == known.spki_sha256 or (unique and same_dn(self.expect.subject, known.subject))

# SPDX-License-Identifier: MIT
"""What can go wrong, switched on and off: files below <world>/faults that every stand-in reads at each step.

    world.faults.on("dogtag-slow", "2.5")       # or: touch / echo into <world>/faults/dogtag-slow
    with world.faults.active("ldap-store-lost"): ...

Imported by the stand-ins, so it loads nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

CATALOGUE = {
    # Dogtag, as certmonger's own dogtag-ipa-renew-agent-submit meets it
    "dogtag-down": "nothing listens on Dogtag's ports: connection refused (exit 3, Error 7)",
    "dogtag-slow": "Dogtag answers after SECONDS (value; default 1)",
    "dogtag-hangs": "Dogtag takes the connection and never answers: the helper waits for ever",
    "dogtag-drops": "Dogtag closes the connection without an answer (exit 3, Error 52)",
    "dogtag-html-503": "Dogtag answers with an HTML page and 503 (exit 2 and an EMPTY message)",
    "dogtag-empty-body": "Dogtag answers 200 with nothing in it (exit 2, Internal error: no response to ...)",
    "dogtag-rejects": "Dogtag refuses the request at submission with REASON (value) (exit 2)",
    "dogtag-defers": "the agent's approval leaves the request pending (exit 2, replied: 0)",
    "dogtag-wrong-certificate": "Dogtag's TLS certificate is of another CA (exit 3, Error 60)",
    "ra-refused": "the RA agent's certificate is not accepted (exit 2, replied: 1: Invalid Credential.)",
    "ra-key-missing": "ra-agent.key is not there when the inner helper runs (exit 3, Error 58)",
    "jsonrpc-url": "the helper passes --jsonrpc-url, which certmonger 0.79.17 does not know (exit 4, usage on stdout)",
    # the directory
    "ldap-store-lost": "writing to cn=ca_renewal fails: ten attempts, Giving up, and exit 0 all the same",
    "ldap-store-lost-once": "writing to cn=ca_renewal fails once: one wait, then it is stored",
    "ldap-down": "the programs in the value (default: helper and hooks) cannot reach 389-ds (exit 3, Internal error; "
    "hooks die, pki stays stopped)",
    "kinit-fails": "the programs in the value (default: all) get no ticket (exit 3, Internal error; hooks die, pki "
    "stays stopped)",
    "people-update-fails": "uid=pkidbuser and its kin cannot be written; the hook ignores it",
    "authority-update-fails": "authoritySerial of the CA's own entry cannot be written; the hook ignores it",
    "ca-store-update-fails": "the CA store cannot be written; the hook ignores it",
    "not-renewal-master": "this host is not the renewal master: it polls cn=ca_renewal every 28800 s",
    # hooks
    "hook-dies-half-way": "the hooks in the value (default: all) are killed half-way, lock and pki as they are",
    "cannot-stop-pki": "pki-tomcatd does not stop: certmonger writes the NSS database under a running Tomcat",
    "cannot-start-pki": "pki-tomcatd does not come back: CA did not start in Ns",
    "certificate-missing": "the hook does not find the certificate that certmonger saved: exit 1, pki stays stopped",
    "backup-cs-cfg-fails": "CS.cfg cannot be backed up; it is written all the same",
    "trust-update-fails": "certutil -M for the audit certificate fails, as in FreeIPA 4.13.0 to 4.13.3",
    "restart-httpd-fails": "httpd does not restart after it was announced: the old certificate is still served",
    "restart-dirsrv-fails": "389-ds does not restart after it was announced",
    "restart-krb5kdc-fails": "krb5kdc does not restart after it was announced",
    # the renewal lock
    "lock-held": "somebody else holds the renewal lock: helper and hooks wait",
    "lock-lost": "the helper loses the lock once it has the certificate: PEM and Internal error on stdout, exit 3",
    "helper-dies": "the helper is killed right after it took the lock, which stays held",
}


class Faults:
    """The switches of one world. Raises ValueError for a name that is not in CATALOGUE."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._listeners: list[Callable[[], None]] = []

    def on(self, name: str, value: str = "") -> None:
        """Switch on, with a value where the catalogue speaks of one. In force when this returns."""
        self.directory.mkdir(exist_ok=True)
        fresh = self.directory / f".{_known(name)}"
        fresh.write_text(value)
        fresh.rename(self.directory / name)
        self._tell()

    def off(self, name: str) -> None:
        """Switch off; harmless if it is not on."""
        (self.directory / _known(name)).unlink(missing_ok=True)
        self._tell()

    def clear(self) -> None:
        """Switch everything off."""
        for name in CATALOGUE:
            self.off(name)

    @contextlib.contextmanager
    def active(self, name: str, value: str = "") -> Iterator[None]:
        """On within a with statement."""
        self.on(name, value)
        try:
            yield
        finally:
            self.off(name)

    def is_on(self, name: str) -> bool:
        """Whether the fault is on."""
        return (self.directory / _known(name)).exists()

    def value(self, name: str) -> str | None:
        """Its value without surrounding white space, None if it is off."""
        try:
            return (self.directory / _known(name)).read_text().strip()
        except FileNotFoundError:
            return None

    def take(self, name: str) -> bool:
        """Whether it was on; it is off afterwards. For faults that strike once."""
        try:
            os.unlink(self.directory / _known(name))
        except FileNotFoundError:
            return False
        return True

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every change that is made through this object."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _known(name: str) -> str:
    if name not in CATALOGUE:
        raise ValueError(f"no fault {name!r}; there are {', '.join(CATALOGUE)}")
    return name

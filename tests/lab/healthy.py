# SPDX-License-Identifier: MIT
"""A full world's health: everything in its stores as it was at the beginning, kept in memory, and put back.

Nothing here knows what a test or a break did. Files are compared and rewritten in place, entries are compared and
modified, certmonger is restarted with its old files where they differ, and a service where it loaded something else.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from tests.lab.certmonger import settled
from tests.lab.directory import BACKENDS, READ_AT_START
from tests.lab.ldapi import Entry
from tests.lab.settings import Settings
from tests.lab.tracked import PKI_SERVER

if TYPE_CHECKING:
    from tests.lab.world import World

DIRECTORIES = ("ipa", "pki", "httpd", "krb5kdc")
CERTMONGER = ("requests", "cas")
PATIENCE_S = 15.0
# What certmonger changes in the file of a request of which nothing has changed: the times of its checks, and (0.79.17,
# keys in files) a public key that is whatever its memory held at that place.
VOLATILE = (b"last_need_notify_check=", b"last_need_enroll_check=", b"key_pubkey=")
CA_KEYS = (b"id=", b"ca_external_helper=", b"ca_type=")

File = tuple[bytes, int, int, int]  # content, mode, owner, group


class Healthy:
    """The state of `world` when this was made: of a full world that has just come up."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = self._read_files()
        self._entries = self._read_entries()
        self._certmonger = self._read_certmonger()

    def restore(self) -> None:
        """Put everything back. Raises TimeoutError if certmonger's requests do not settle."""
        world = self._world
        self._drop_stale_lock()
        if not world.certmonger.running:
            world.certmonger.start()
        self._wait_until_settled()
        self._drop_stale_lock()
        self._restore_directory()
        self._restore_files()
        self._restore_certmonger()
        self._restore_services()

    def digest(self) -> str:
        """One value for all that `restore` puts back; equal if and only if nothing is different."""
        parts: list[object] = [
            sorted((str(path), *map(str, file)) for path, file in self._read_files().items()),
            sorted(self._comparable_entries(self._read_entries()).items()),
            sorted((name, str(_essence(data))) for name, data in self._read_certmonger().items()),
            self._services(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    # --- services

    def _services(self) -> list[object]:
        """What runs and what it loaded."""
        world = self._world
        assert world.directory_server is not None
        dirsrv = {name: hashlib.sha256(data).hexdigest() for name, data in world.directory_server.loaded.items()}
        return [
            [world.pki.running, world.httpd.running, world.krb5kdc.running, world.certmonger.running],
            world.directory_server.running,
            world.dogtag.certificate.serial_number,
            world.httpd.loaded.serial_number if world.httpd.loaded else None,
            dirsrv,
            "locked = 1" in world.lock,
        ]

    def _restore_directory(self) -> None:
        """First the files that 389-ds reads at its start, then the server, then its entries."""
        world = self._world
        server = world.directory_server
        assert server is not None
        for name in READ_AT_START:
            path = server.configuration / name
            _put(path, self._files[path])
        if server.loaded != server.on_disk() and server.running:
            server.kill()
        if not server.running:
            server.start()
        current = self._read_entries()
        for dn in sorted(current.keys() - self._entries.keys(), key=_depth, reverse=True):
            server.ldapi.delete(dn)
        missing = sorted(self._entries.keys() - current.keys(), key=_depth)
        if missing:
            server.ldapi.add(*((dn, self._entries[dn]) for dn in missing))
        for dn in current.keys() & self._entries.keys():
            before, now = self._entries[dn], current[dn]
            different = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            if different:
                server.ldapi.modify(dn, *(("replace", name, before.get(name, [])) for name in different))

    def _restore_services(self) -> None:
        world = self._world
        shown = x509.load_pem_x509_certificate(world.settings.httpd_certificate.read_bytes())
        if not world.httpd.running or world.httpd.loaded != shown:
            world.httpd.stop()
            world.httpd.start()
        if not world.pki.running or world.dogtag.certificate != world.nss_certificate(PKI_SERVER):
            world.pki.stop()
            world.pki.start()
        if not world.krb5kdc.running:
            world.krb5kdc.start()

    # --- the directory

    def _read_entries(self) -> dict[str, Entry]:
        assert self._world.directory_server is not None
        found: dict[str, Entry] = {}
        for suffix in BACKENDS.values():
            found.update(self._world.directory_server.ldapi.search(suffix))
        return found

    @staticmethod
    def _comparable_entries(entries: dict[str, Entry]) -> dict[str, list[tuple[str, list[str]]]]:
        return {
            dn.lower(): sorted((name, sorted(map(repr, values))) for name, values in entry.items())
            for dn, entry in entries.items()
        }

    # --- files

    def _read_files(self) -> dict[Path, File]:
        settings: Settings = self._world.settings
        paths = [path for name in DIRECTORIES for path in settings.path(name).rglob("*") if path.is_file()]
        paths += [settings.dirsrv_configuration / name for name in (*READ_AT_START, "pwdfile.txt", "pkcs11.txt")]
        return {path: _get(path) for path in paths if path.is_file()}

    def _restore_files(self) -> None:
        for path in self._read_files().keys() - self._files.keys():
            path.unlink()
        for path, file in self._files.items():
            _put(path, file)

    def _drop_stale_lock(self) -> None:
        """Unlock what nobody alive holds, or what a hook left behind."""
        lock = self._world.settings.renewal_lock
        text = self._world.lock
        if "locked = 1" not in text:
            return
        owner = next((line for line in text.splitlines() if line.startswith("owner")), "")
        pid = owner.rpartition("[")[2].rstrip("]")
        if not pid.isdigit() or pid == "1" or not Path("/proc", pid).exists():
            lock.unlink(missing_ok=True)

    # --- certmonger

    def _read_certmonger(self) -> dict[str, bytes]:
        directory = self._world.certmonger.directory
        paths = [path for name in CERTMONGER for path in (directory / name).iterdir() if path.suffix != ".tmp"]
        found = {}
        for path in paths:
            try:
                found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
            except FileNotFoundError:  # renamed meanwhile
                continue
        return found

    def _restore_certmonger(self) -> None:
        certmonger = self._world.certmonger
        wanted = {name: _essence(data) for name, data in self._certmonger.items()}
        if {name: _essence(data) for name, data in self._read_certmonger().items()} == wanted:
            return
        certmonger.stop()
        for name in self._read_certmonger().keys() - self._certmonger.keys():
            (certmonger.directory / name).unlink()
        for name, data in self._certmonger.items():
            (certmonger.directory / name).write_bytes(data)
        certmonger.start()
        self._wait_until_settled()

    def _wait_until_settled(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            requests = self._world.certmonger.list_requests()
            if all(settled(request) or request["status"] == "CA_WORKING" for request in requests):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not settled in {PATIENCE_S:.0f} s: {requests}")
            time.sleep(0.05)


def _essence(data: bytes) -> tuple[bytes, ...]:
    """A request's file without what is volatile; of a CA's file its name and helper only."""
    lines = data.splitlines()
    if any(line.startswith(b"ca_type=") for line in lines):
        return tuple(line for line in lines if line.startswith(CA_KEYS))
    return tuple(line for line in lines if not line.startswith(VOLATILE))


def _get(path: Path) -> File:
    status = path.stat()
    return path.read_bytes(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def _put(path: Path, file: File) -> None:
    """Make `path` that file, in place: an open NSS database stays the same file."""
    if path.is_file() and _get(path) == file:
        return
    content, mode, owner, group = file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.chown(path, owner, group)


def _depth(dn: str) -> int:
    return dn.count(",")

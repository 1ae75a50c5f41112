# SPDX-License-Identifier: MIT
"""The PINs of NSS databases: certmonger has one in each request, the service has its own, and all must be the same."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from certwitness.checks.check import host_check
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, UNKNOWN, Finding
from certwitness.stores import nss
from certwitness.stores.pin import Pin

# How a PIN file is written (password.conf's `internal=`, 389-ds's pin.txt, the PIN alone): what stands before the PIN.
_REQUESTS = "/var/lib/certmonger/requests"
_PASSWORD_CONF, _PIN_TXT, _BARE = "internal=", "Internal (Software) Token:", ""


class Source(NamedTuple):
    """Where somebody has the PIN of a database: a file with what stands before the PIN there, or certmonger's request
    (`path` is ""). `pin` is None where the file is missing."""

    path: str
    prefix: str
    request: str
    pin: Pin | None
    breaks: str

    @property
    def where(self) -> str:
        return self.path or f"certmonger's request {self.request}"


@host_check(
    "pin",
    CRITICAL,
    compares="each PIN that certmonger or a service has for an NSS database with the one that opens it",
    failure="the service does not start, or certmonger cannot read the key and never renews",
    waits=False,
)
def pin(evidence: Evidence) -> Iterator[Finding]:
    """One finding for each place with a wrong PIN; one for the database where none is right."""
    for location in dict.fromkeys(one.location for one in evidence.tracked if one.storage == "NSSDB"):
        sources = _sources(evidence, location)
        missing = [source for source in sources if source.pin is None]
        there = [source for source in sources if source.pin is not None]
        verdicts, problem = _verdicts(evidence, location, there)
        right = [source for source, opens in zip(there, verdicts) if opens]
        if problem:
            yield Finding("", UNKNOWN, where=location, found=f"could not look: {problem}")
        elif there and not right:
            yield _none_right(location, there)
        else:
            for source, opens in zip(there, verdicts):
                if not opens:
                    yield _wrong(evidence, location, source, right, "wrong PIN")
        for source in missing:
            yield _wrong(evidence, location, source, right, "there is no such PIN file")


def _sources(evidence: Evidence, location: str) -> list[Source]:
    found: dict[str, Source] = {}
    host = evidence.host
    never = "certmonger cannot use the key: no certificate in this database is renewed"
    if location.rstrip("/") == host.pki_nssdb.rstrip("/"):
        breaks = "pki-tomcatd will not start: it cannot open its NSS database"
        found[host.pki_password_file] = _file(host.pki_password_file, _PASSWORD_CONF, breaks)
    pin_txt = os.path.join(host.dirsrv_nssdb, "pin.txt")
    if location.rstrip("/") == host.dirsrv_nssdb.rstrip("/") and os.path.lexists(pin_txt):
        found[pin_txt] = _file(pin_txt, _PIN_TXT, "389-ds will not offer TLS after its next start")
    for request in evidence.requests_at(location):
        if nss.is_hardware(request.token):
            continue  # an HSM's
        if request.pin_file:
            found.setdefault(request.pin_file, _file(request.pin_file, _BARE, never))
        elif request.pin:
            found[f"request {request.id}"] = Source("", "", request.id, request.pin, never)
    return list(found.values())


def _file(path: str, prefix: str, breaks: str) -> Source:
    # Raises StoreError where it is there and cannot be read.
    return Source(path, prefix, "", Pin.from_file(path) if os.path.lexists(path) else None, breaks)


def _verdicts(evidence: Evidence, location: str, sources: list[Source]) -> tuple[list[bool], str]:
    """For each source whether its PIN opens the database; and why nobody can know. A PIN is tried once, and only if it
    is not the one that the database was read with."""
    tried: dict[bytes, bool] = {}
    nicknames = [one.nickname for one in evidence.tracked if one.location == location][:1]
    used = evidence.pin(location)
    if used is not None:
        problem = evidence.nss(location).pin_problem
        if problem and "PIN" not in problem:
            return [], problem
        tried[used.reveal()] = not problem
    for source in sources:
        secret = source.pin.reveal() if source.pin else b""
        if secret not in tried:
            tried[secret] = not nss.read(location, nicknames, source.pin).pin_problem
    return [tried[source.pin.reveal()] for source in sources if source.pin], ""


def _none_right(location: str, sources: list[Source]) -> Finding:
    return Finding(
        "",
        CRITICAL,
        where=location,
        expected="a PIN that opens the database",
        found=f"wrong PIN in {', '.join(source.where for source in sources)}",
        breaks="; ".join(dict.fromkeys(source.breaks for source in sources)),
        remedy="Restore the database or the PIN files from a backup of the same day.",
    )


def _wrong(evidence: Evidence, location: str, source: Source, right: list[Source], found: str) -> Finding:
    good = min(right, key=lambda one: not one.path, default=None)
    commands: tuple[str, ...] = ()
    if good and source.path:
        commands = (_copy(evidence, good, source),)
    elif source.request and (bare := next((one for one in right if one.path and not one.prefix), None)):
        commands = (shlex.join(["getcert", "start-tracking", "-i", source.request, "-p", bare.path]),)
    remedy = f"Take the PIN from {good.where}: it opens the database." if good else "Restore it from a backup."
    return Finding(
        "",
        CRITICAL,
        where=source.where,
        expected=f"the PIN of {location}",
        found=found,
        breaks=source.breaks,
        remedy=remedy,
        commands=commands,
    )


def _copy(evidence: Evidence, good: Source, bad: Source) -> str:
    """A command that takes the PIN from one place to the other, through no argument of a process."""
    source, target = shlex.quote(good.path), shlex.quote(bad.path)
    read = f"sed -n 's/^{good.prefix}//p' {source}" if good.prefix else f"head -n 1 {source}"
    if not good.path:  # certmonger keeps it in the request's file
        directory = evidence.host.config.values.get("certmonger", {}).get("requests_directory", _REQUESTS)
        found = f"grep -lx {shlex.quote(f'id={good.request}')} {shlex.quote(directory)}/*"
        read = f"sed -n 's/^key_pin=//p' \"$({found})\""
    if bad.prefix == _PASSWORD_CONF:
        # The file has other passwords, too; printf is the shell's own.
        change = f"sed -i '/^internal=/d' {target} && printf 'internal=%s\\n' \"$pin\" >> {target}"
        return f"pin=$({read}) && {change} && unset pin"
    write = f" | sed 's/^/{bad.prefix}/'" if bad.prefix else ""
    return f"(umask 077; pin=$({read}) && printf '%s\\n' \"$pin\"{write} > {target})"

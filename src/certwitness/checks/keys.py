# SPDX-License-Identifier: MIT
"""The private key of each certificate: is it there, does it open, does it fit, and who may read it."""

from __future__ import annotations

import grp
import os
import shlex
from collections.abc import Iterator

from certwitness.checks import services
from certwitness.checks.check import certificate_check
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, WARNING, Finding
from certwitness.stores.pem import PemFile, PemKey
from certwitness.stores.pin import Pin
from certwitness.tracked import Tracked

# Each certificate that a host has for itself may get a new key; a shared one would be left without on other servers.
# (In NSS databases certmonger 0.79.17 was seen to stay at GENERATING_KEY_PAIR: there it is not proposed.)
_OWN_KEY = ("pki-server", "https", "ldaps", "kdc")
# FreeIPA's modes of keys and of the RA's certificate (freeipa.md, 1.1): role -> group, bits that may be set.
_MODES = {"ra": ("ipaapi", 0o440), "https": ("", 0o600), "kdc": ("", 0o600)}
_GROUP_OR_OTHERS_WRITE, _OTHERS_READ, _GROUP = 0o022, 0o004, 0o070


@certificate_check(
    "key",
    CRITICAL,
    rows=(12,),
    compares="the private key with the certificate that is saved, opened with the PIN that the service has",
    failure="the service has a certificate that it cannot use: it will not start, or cannot log in",
)
def key(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """Wrong PINs of NSS databases are the check pin's: here they mean that nobody can know."""
    held = evidence.held(tracked)
    if held is None:
        return  # the check saved says so
    if tracked.storage == "NSSDB":
        database = evidence.nss(tracked.location)
        entry = evidence.entry(tracked)
        there = entry.keys[0] if entry else None
        if there is None:
            problem = database.pin_problem or "the database does not tell"
            yield Finding(
                "", UNKNOWN, where=tracked.location, found=f"could not look whether the key is there: {problem}"
            )
        elif not there:
            found = f"no private key in the database for serial {held.serial_text}, which NSS picks"
            yield _no_key(evidence, tracked, tracked.location, found)
        return
    path = _key_path(evidence, tracked)
    if not path:
        yield Finding("", UNKNOWN, where=tracked.location, found="could not look: which file has its key is not known")
        return
    pin, no_pin = _pin(tracked)
    found_key = evidence.key(path, pin)
    if found_key.missing:
        yield _no_key(evidence, tracked, path, "there is no such file")
    elif found_key.problem and no_pin and "PIN" in found_key.problem:
        yield _no_key(evidence, tracked, path, f"the key is encrypted, and its PIN file is missing: {no_pin}")
    elif found_key.problem and pin is None and "PIN" in found_key.problem:
        yield Finding("", UNKNOWN, where=path, found=f"could not look: {found_key.problem}")
    elif found_key.problem:
        yield _no_key(evidence, tracked, path, found_key.problem)
    elif found_key.spki_sha256 != held.spki_sha256:
        yield _no_key(evidence, tracked, path, f"another key than that of serial {held.serial_text} in the certificate")


def _no_key(evidence: Evidence, tracked: Tracked, where: str, found: str) -> Finding:
    request = tracked.request
    commands: tuple[str, ...] = ()
    if found == "wrong PIN" and request and request.pin_file:
        remedy = f"Write the right PIN into {request.pin_file}, or restore key and PIN file together from a backup."
    elif tracked.role.key in _OWN_KEY and tracked.storage == "FILE" and request:
        remedy = "Restore the key from a backup, or have a new key made with a new certificate; it must then be saved."
        commands = (shlex.join(["getcert", "rekey", "-i", request.id, "-w"]),)
    elif tracked.role.key == "ra":
        remedy = f"Copy {evidence.host.ra_certificate} and {evidence.host.ra_key} together from another IPA server."
    elif tracked.role.shared or tracked.role.key == "lightweight-ca":
        remedy = "Restore it from a backup, or copy key and certificate from another CA server (pk12util -o, -i)."
    else:
        remedy = "Restore the key from a backup, or let certmonger make a new one (getcert rekey)."
    return Finding(
        "",
        CRITICAL if tracked.role.key != "lightweight-ca" else ERROR,
        where=where,
        expected=f"the private key of {tracked.name}",
        found=found,
        breaks=services.unusable(tracked.role),
        remedy=remedy,
        commands=commands,
    )


def _key_path(evidence: Evidence, tracked: Tracked) -> str:
    if tracked.request:
        return tracked.request.key_location
    return evidence.host.ra_key if tracked.role.key == "ra" else ""


def _pin(tracked: Tracked) -> tuple[Pin | None, str]:
    """The PIN that certmonger and the service have for a key file, and the PIN file if that is missing."""
    request = tracked.request
    if request is None:
        return None, ""
    if not request.pin_file:
        return request.pin, ""
    if not os.path.lexists(request.pin_file):
        return None, request.pin_file
    return Pin.from_file(request.pin_file), ""


@certificate_check(
    "file-mode",
    ERROR,
    rows=(12,),
    compares="owner, group and mode of certificate and key files with FreeIPA's",
    failure="others can read the key, or the service cannot",
    found_by="IPAFileCheck (mode and owner of FreeIPA's files)",
    applies=lambda tracked: tracked.storage == "FILE",
)
def file_mode(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """One finding a file; a file that is not there is the business of other checks."""
    path = _key_path(evidence, tracked)
    certificate = evidence.pem(tracked.location)
    if not certificate.missing:
        yield from _judged(tracked, certificate, is_key=tracked.role.key == "ra")
    if path and path != tracked.location:
        found = evidence.key(path, _pin(tracked)[0])
        if not found.missing:
            yield from _judged(tracked, found, is_key=True)


def _judged(tracked: Tracked, file: PemFile | PemKey, *, is_key: bool) -> Iterator[Finding]:
    group, allowed = _MODES.get(tracked.role.key, ("", 0)) if is_key else ("", 0)
    group = group if group and _exists(group) else ""
    level, problem = fault(file, group=group, allowed=allowed, is_key=is_key)
    if not level:
        return
    mode = allowed or (file.mode & (0o750 if is_key else 0o755)) or 0o600
    yield Finding(
        "",
        level,
        where=file.path,
        expected=f"root:{group or 'root'}, mode {mode:04o}" if allowed else f"mode {mode:04o} or stricter",
        found=f"{file.owner}:{file.group}, mode {file.mode:04o}: {problem}",
        breaks=_breaks(problem, is_key),
        remedy="Set owner and mode back.",
        commands=(
            *((f"chown root:{group or 'root'} {shlex.quote(file.path)}",) if allowed else ()),
            f"chmod {mode:04o} {shlex.quote(file.path)}",
        ),
    )


def fault(file: PemFile | PemKey, *, group: str, allowed: int, is_key: bool) -> tuple[str, str]:
    """Level and words of what is wrong with owner, group and mode, ("", "") if nothing is.

    `group` must have it, where it is given; `allowed` are the bits that may be set, 0 where no rule of FreeIPA's is
    known, and only what exposes the file to anybody counts.
    """
    if file.mode & _GROUP_OR_OTHERS_WRITE:
        return ERROR, "others than its owner can change it"
    if is_key and file.mode & _OTHERS_READ:
        return ERROR, "everybody on this host can read it"
    if not allowed:
        return "", ""
    if file.owner != "root":
        return ERROR, f"{file.owner} owns it"
    if group and (file.group != group or not file.mode & 0o040):
        return ERROR, f"the group {group} cannot read it"
    if not group and file.group != "root" and file.mode & _GROUP:
        return ERROR, f"the group {file.group} can read it"
    if file.mode & ~(allowed | 0o600):
        return WARNING, "more is permitted than FreeIPA permits"
    return "", ""


def _breaks(problem: str, is_key: bool) -> str:
    if "cannot read" in problem:
        return "the IPA API, which runs as ipaapi, cannot log in to the CA: requests for certificates fail"
    if is_key:
        return "whoever has the key can pass for its owner"
    return "somebody else can put another certificate in its place"


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True

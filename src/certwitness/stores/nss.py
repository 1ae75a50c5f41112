# SPDX-License-Identifier: MIT
"""Certificates, trust flags and keys of an NSS database, by certutil: three processes, however many nicknames.

What certutil (NSS 3.87) does, and what follows:

- ``-L -n NICK -a`` prints all certificates of the SUBJECT, whatever their nickname, the one that NSS picks first: valid
  now before not valid, then the latest start. Several nicknames with one subject are told apart by cert9.db itself.
- Without such a nickname it reads a FILE of that name: only what ``-L`` has listed is asked for.
- ``-B`` stops at the first command that fails and puts nothing between two answers: each gets a descriptor by ``-o``.
- ``-L -h TOKEN`` lists everything, without an error, if there is no such token; ``-K`` names the token it looks at.
- The flag ``u`` stays when the private key is gone: only ``-K`` knows.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from certwitness.certificates import Certificate
from certwitness.der import children, oid_text, sequence, value_of
from certwitness.errors import CertificateError, StoreError
from certwitness.stores import nss_files, nss_tools
from certwitness.stores.pin import Pin

_LISTED = re.compile(rb"(.*\S)\s+([a-zA-Z]*,[a-zA-Z]*,[a-zA-Z]*)\s*")
_TOKEN = re.compile(rb'certutil: Checking token "([^"]*)" in slot')
_KEY = re.compile(rb'<\s*\d+>\s+\S+\s+(?:([0-9a-f]{2,40})\b|"([^"]{1,40})")')
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_RSA = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10")
_EC = "1.2.840.10045.2.1"
_BATCH_LINE = 400  # bytes of a nickname; certutil cuts lines at 511
_BATCH = 200  # nicknames a process, each with a descriptor; the usual limit is 1024
# As certmonger, NSS and Dogtag call the token of cert9.db and key4.db.
_INTERNAL_TOKENS = ("", "internal", "Internal Key Storage Token", "NSS Certificate DB", "NSS FIPS 140-2 Certificate DB")
_TOKEN_SHOWN = 33  # certutil -K cuts a token's name there


@dataclass(frozen=True)
class NssEntry:
    """A nickname as it was asked for (``TOKEN:`` before it where asked so).

    `trust`: ``u,u,u``; ``u,u,u or u,u,Pu`` where the flags of several certificates differ. `certificates`: never empty;
    the first is the one that NSS picks. `keys`: per certificate, whether its private key is there; None where that
    cannot be known.
    """

    nickname: str
    trust: str
    certificates: tuple[Certificate, ...]
    keys: tuple[bool | None, ...]


@dataclass(frozen=True)
class NssDatabase:
    """`directory` as it was given. `pin_problem`: "" if the PIN opens it, else why not, such as ``wrong PIN``."""

    directory: str
    entries: Mapping[str, NssEntry]
    pin_problem: str

    def get(self, nickname: str) -> NssEntry | None:
        """The entry of a nickname, None if there is none."""
        return self.entries.get(nickname)


def is_hardware(token: str) -> bool:
    """Whether certmonger's name of a token is an HSM's, and not the NSS database's own (with or without FIPS mode)."""
    return token not in _INTERNAL_TOKENS


def read(directory: str, nicknames: Iterable[str] | None, pin: Pin | None, *, deadline_s: float = 20) -> NssDatabase:
    """Read `nicknames` (None: all of the internal token; what certutil lists but cannot show is left out then).

    `directory` may have ``sql:`` (also the default) or ``dbm:`` before it. Raises StoreError: directory or database
    missing, damaged, locked, not readable, no such token, certutil missing, too slow, changed in the meantime.
    """
    location = nss_files.location(directory)
    certutil = nss_tools.find("certutil", directory)
    deadline = nss_tools.Deadline(deadline_s)
    wanted: dict[str, dict[str, str]] = {}  # token: {nickname for certutil: nickname as asked}
    for asked in nicknames or ():
        token, nickname = _token_and_nickname(asked)
        wanted.setdefault(token, {})[nickname] = asked
    entries: dict[str, NssEntry] = {}
    problems: list[str] = []
    for token in wanted if nicknames is not None else [""]:
        with ExitStack() as stack:
            memory = stack.enter_context(pin.descriptor(token)) if pin else None
            reader = _Token(directory, location, certutil, token, memory, deadline)
            keys, problem = reader.keys(pin)
            trusts = reader.trusts()
            names = {name: name for name in trusts} if nicknames is None else wanted[token]
            found = reader.certificates({name: len(trusts[name]) for name in names if name in trusts})
        if problem:
            problems.append(problem)
        for name, certificates in found.items():
            if certificates:
                trust = " or ".join(dict.fromkeys(trusts[name]))
                there = tuple(_has_key(certificate, keys, token, trust) for certificate in certificates)
                entries[names[name]] = NssEntry(names[name], trust, certificates, there)
            elif nicknames is not None:
                raise StoreError(directory, f"{names[name]} was listed and could not be read: it may just be changing")
    return NssDatabase(directory, entries, "; ".join(problems))


class _Token:
    """One token of a database: the internal one ("") or an HSM's."""

    def __init__(
        self,
        directory: str,
        location: nss_files.Location,
        certutil: str,
        token: str,
        pin: int | None,
        deadline: nss_tools.Deadline,
    ) -> None:
        self._directory = directory
        self._location = location
        self._certutil = certutil
        self._token = token
        self._pin = pin
        self._deadline = deadline

    def keys(self, pin: Pin | None) -> tuple[frozenset[bytes] | None, str]:
        """The key IDs, and "" (or None, and why the PIN is of no use)."""
        done = self._run("-K", *self._options())
        shown = _TOKEN.search(done.out)
        if shown is None:
            raise nss_files.failure(self._location, self._directory, done.words)
        if self._token and shown[1] != os.fsencode(self._token)[:_TOKEN_SHOWN]:
            raise StoreError(self._directory, f"there is no token {self._token} (certutil -U lists them)")
        if done.code == 0 or b"no keys found" in done.out:
            return frozenset(_key_ids(done.out)), ""
        if b"could not authenticate" not in done.err:
            return None, f"certutil cannot list the keys: {done.words}"
        if pin is None:
            return None, "no PIN given"
        return None, "wrong PIN" if pin.reveal(self._token) else "the PIN given is empty"

    def trusts(self) -> dict[str, list[str]]:
        """Nicknames with the trust flags of each certificate that has that nickname."""
        done = self._run("-L", *self._options())
        if done.code != 0:
            raise nss_files.failure(self._location, self._directory, done.words)
        listed: dict[str, list[str]] = {}
        for line in done.out.splitlines():
            match = _LISTED.fullmatch(line)
            if match and match[2] != b"S/MIME,JAR/XPI":
                listed.setdefault(os.fsdecode(match[1]), []).append(match[2].decode())
        return listed

    def certificates(self, counts: Mapping[str, int]) -> dict[str, tuple[Certificate, ...]]:
        """The certificates of the nicknames, of which so many are listed; none where they cannot be had."""
        found: dict[str, tuple[Certificate, ...]] = {}
        pending = [name for name in counts if _fits_batch(name)]
        while pending:
            answers = self._batch(pending[:_BATCH])
            found.update(zip(pending, answers))
            pending = pending[len(answers) :]
        for name in counts.keys() - found.keys():
            found[name] = _parsed(self._run("-L", "-n", name, "-a", *self._options()).out)
        return {name: self._of_nickname(name, found[name], count) for name, count in counts.items()}

    def _batch(self, names: Sequence[str]) -> list[tuple[Certificate, ...]]:
        """The certificates of the names up to the first that fails: that one has none."""
        with ExitStack() as stack:
            memories = [stack.enter_context(nss_tools.memory()) for _name in names]
            script = stack.enter_context(nss_tools.memory())
            for name, memory in zip(names, memories):
                words = ["-L", "-n", f'"{name}"', "-a", "-o", _path(memory), *self._options(quote='"')]
                os.write(script, os.fsencode(" ".join(words)) + b"\n")
            self._run("-B", "-i", _path(script), pass_fds=(script, *memories))
            answers = []
            for memory in memories:
                answers.append(_parsed(_content(memory)))
                if not answers[-1]:
                    break
        return answers

    def _of_nickname(self, name: str, certificates: tuple[Certificate, ...], count: int) -> tuple[Certificate, ...]:
        """Without the certificates that have the same subject and another nickname."""
        if len(certificates) <= count:
            return certificates
        labelled = set() if self._token else nss_files.labelled(self._location, os.fsencode(name))
        return tuple(certificate for certificate in certificates if certificate.der in labelled)

    def _options(self, quote: str = "") -> list[str]:
        options = ["-h", f"{quote}{self._token}{quote}"] if self._token else []
        return [*options, "-f", _path(self._pin)] if self._pin is not None else options

    def _run(self, *arguments: str, pass_fds: Sequence[int] = ()) -> nss_tools.Done:
        descriptors = (*pass_fds, self._pin) if self._pin is not None else pass_fds
        command = [self._certutil, *arguments, "-d", self._location.text]
        return nss_tools.run(command, self._deadline, self._directory, descriptors)


def _token_and_nickname(asked: str) -> tuple[str, str]:
    token, colon, nickname = asked.partition(":")
    if not colon:
        return "", asked
    return (token, asked) if is_hardware(token) else ("", nickname)


def _fits_batch(name: str) -> bool:
    """Whether certutil's batch parser can take it: it knows no escapes, and only lines of 511 bytes."""
    return '"' not in name and len(os.fsencode(name)) <= _BATCH_LINE


def _parsed(text: bytes) -> tuple[Certificate, ...]:
    """Each certificate once. One that cannot be read is left out: NSS holds what cryptography refuses."""
    found: dict[Certificate, None] = {}
    for block in _PEM.findall(text):
        try:
            found[Certificate.from_pem(block)] = None
        except CertificateError:
            pass
    return tuple(found)


def _key_ids(text: bytes) -> Iterable[bytes]:
    for line in text.splitlines():
        match = _KEY.match(line)
        if match:
            yield match[2] if match[2] else bytes.fromhex(match[1].decode())


def _has_key(certificate: Certificate, keys: frozenset[bytes] | None, token: str, trust: str) -> bool | None:
    if keys is None:
        return None
    identifier = key_id(certificate)
    if identifier in keys:
        return True
    # Keys that were not made by NSS may have any ID: on an HSM the flag says more than a missing ID.
    return None if identifier is None or (token and "u" in trust) else False


def key_id(certificate: Certificate) -> bytes | None:
    """The ID that NSS gives to the private key: SHA-1 of the modulus (RSA), the point (EC). None: another algorithm."""
    fields = list(children(sequence(certificate.der)[0][1]))
    algorithm, bits = list(children(fields[6 if fields[0][0] == 0xA0 else 5][1]))[:2]
    oid, public = oid_text(value_of(algorithm[1])), bits[1][1:]
    if oid in _RSA:
        public = value_of(value_of(public)).lstrip(b"\0")
    elif oid != _EC:
        return None
    return hashlib.sha1(public, usedforsecurity=False).digest()


def _content(memory: int) -> bytes:
    """All of it: certutil wrote through a descriptor of its own."""
    return os.pread(memory, os.fstat(memory).st_size, 0)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"

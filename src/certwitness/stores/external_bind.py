# SPDX-License-Identifier: MIT
"""The bind that Dogtag does at its start: SASL EXTERNAL over LDAPS, with certificate and key that stay in their NSS
database. Then "Who am I?" on the same connection.

tstclnt, NSS's own TLS client, does the TLS and checks the server against the database's CAs; the LDAP is two requests
(RFC 4511, RFC 4532). 389-ds looks up `seeAlso` and `userCertificate` for it, and nothing is changed anywhere.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

from certwitness.der import children
from certwitness.errors import StoreError
from certwitness.stores import nss_files, nss_tools
from certwitness.stores.pin import Pin

REFUSED_IN_TLS = -1

# LDAPMessage { messageID 1, BindRequest { version 3, name "", sasl { mechanism "EXTERNAL" } } }
_BIND = bytes.fromhex("3016 020101 6011 020103 0400 a30a 0408") + b"EXTERNAL"
# LDAPMessage { messageID 2, ExtendedRequest { requestName } }
_WHO_AM_I = bytes.fromhex("301e 020102 7719 8017") + b"1.3.6.1.4.1.4203.1.11.3"
_LIMIT = 64 * 1024  # bytes of a message; Who am I and a bind's answer have some hundred
_RESULT_CODE, _RESPONSE_VALUE = 0x0A, 0x8B
_CERTIFICATE_REFUSED = re.compile(
    r"SSL_ERROR_(?:BAD_CERT|CERTIFICATE_REQUIRED|CERTIFICATE_UNKNOWN|EXPIRED_CERT|REVOKED_CERT|UNKNOWN_CA|UNSUPPORTED_CERT"
    r"|ACCESS_DENIED|DECRYPT_ERROR|CERTIFICATE_UNOBTAINABLE)_ALERT"
)


@dataclass(frozen=True)
class BindResult:
    """The server's verdict: `code` is LDAP's result code (0: bound; 49: no entry has this certificate; 48: it asked for
    none), or REFUSED_IN_TLS if it refused the certificate before any LDAP, as expired for example. `identity`: "" if
    not bound, else such as ``dn: uid=pkidbuser,ou=people,o=ipaca``. `message`: the server's words, not cleaned."""

    code: int
    identity: str
    message: str


@dataclass(frozen=True)
class _Answer:
    code: int
    message: str
    value: str


def bind(directory: str, nickname: str, pin: Pin, host: str, port: int, *, deadline_s: float = 10) -> BindResult:
    """Bind to `host`:`port` with `nickname` of the NSS database in `directory` (``sql:`` or ``dbm:`` before it or not).

    `host` must be in the server's certificate. Raises StoreError where there is no verdict on ours: nobody listens, the
    server's certificate is not accepted, no answer in time, wrong PIN, no such certificate or key, tstclnt missing.
    """
    store = f"ldaps://{host}:{port}"
    location = nss_files.location(directory)
    tstclnt = nss_tools.find("tstclnt", store)
    deadline = nss_tools.Deadline(deadline_s)
    token = nickname.partition(":")[0] if ":" in nickname else ""
    with pin.descriptor(token) as secret:
        command = [tstclnt, "-h", host, "-p", str(port), "-a", host, "-d", location.text, "-n", nickname]
        command += ["-W", f"/proc/self/fd/{secret}", *_family(host, port, store, deadline)]
        return _converse(command, store, secret, deadline)


def _family(host: str, port: int, store: str, deadline: nss_tools.Deadline) -> list[str]:
    """tstclnt tries one address only, and "localhost" is ::1 first: its option for the one where somebody listens."""
    try:
        with socket.create_connection((host, port), deadline.left) as probe:
            return ["-4" if probe.family == socket.AF_INET else "-6"]
    except (OSError, UnicodeError) as error:
        raise StoreError(store, getattr(error, "strerror", None) or str(error)) from error


class _EndedError(Exception):
    """tstclnt ended; why is in what it wrote to standard error."""


def _converse(command: list[str], store: str, secret: int, deadline: nss_tools.Deadline) -> BindResult:
    with ExitStack() as stack:
        words = stack.enter_context(nss_tools.memory())
        with nss_tools.STARTING:
            process = subprocess.Popen(
                nss_tools.limited(command, deadline),
                stdin=subprocess.PIPE,  # stays open to the end: at the end of its input tstclnt spins
                stdout=subprocess.PIPE,
                stderr=words,
                bufsize=0,
                pass_fds=(secret,),
                start_new_session=True,
                env=nss_tools.environment(),
                cwd="/",
            )
            nss_tools.started(process)
        stack.enter_context(process)
        stack.callback(nss_tools.kill_group, process)
        client = _Client(process, store, deadline)
        try:
            bound = client.ask(_BIND, 1)
            no_certificate = _no_certificate(_said(words))
            if no_certificate:
                raise StoreError(store, no_certificate)
            if bound.code != 0:
                return BindResult(bound.code, "", bound.message)
            me = client.ask(_WHO_AM_I, 2)
            return BindResult(0, me.value, me.message)
        except _EndedError as error:
            return _end(_said(words), store, error)
        except ValueError as error:
            raise StoreError(store, f"its answer is not LDAP: {error}") from error


def _end(said: bytes, store: str, cause: Exception) -> BindResult:
    """What the end of tstclnt means. Raises StoreError, unless our certificate was refused."""
    last = nss_tools.last_line(said)
    if _CERTIFICATE_REFUSED.search(said.decode("utf-8", "replace")):
        return BindResult(REFUSED_IN_TLS, "", last)
    raise StoreError(store, _no_certificate(said) or last) from cause


def _no_certificate(said: bytes) -> str:
    """Why tstclnt sent no certificate; "" if it did. It goes on without, and the server calls that code 48."""
    if b"Incorrect password" in said or b"password file contains no data" in said:
        return "wrong PIN for the NSS database"
    if b"Failed to load a suitable client certificate" in said:
        return "the NSS database has no such certificate with its private key"
    return ""


class _Client:
    """LDAP messages through tstclnt's standard input and output."""

    def __init__(self, process: subprocess.Popen[bytes], store: str, deadline: nss_tools.Deadline) -> None:
        assert process.stdin is not None  # noqa: S101 (PIPE was asked for)
        assert process.stdout is not None  # noqa: S101
        self._input = process.stdin
        self._output = process.stdout
        self._store = store
        self._deadline = deadline
        self._received = b""

    def ask(self, request: bytes, number: int) -> _Answer:
        """Send a request and await the answer of that message number. Raises _EndedError, ValueError, StoreError."""
        try:
            self._input.write(request)
        except BrokenPipeError as error:
            raise _EndedError from error
        while True:
            identifier, operation = self._message()
            answer = _answer(operation)
            if identifier == number:
                return answer
            if identifier == 0:  # RFC 4511, 4.4.1: notice of disconnection
                words = " ".join(answer.message.split())[:200]
                raise StoreError(self._store, f"it hung up: {words or f'result {answer.code}'}")

    def _message(self) -> tuple[int, bytes]:
        size = message_size(self._received)
        while size is None or len(self._received) < size:
            self._received += self._read()
            size = message_size(self._received)
        element, self._received = self._received[:size], self._received[size:]
        parts = list(children(next(children(element))[1]))
        if len(parts) < 2 or parts[0][0] != 0x02:
            raise ValueError("no LDAP message")
        return int.from_bytes(parts[0][1], "big"), parts[1][1]

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._output], [], [], self._deadline.left)
        if not ready:
            raise StoreError(self._store, f"no answer within {self._deadline.seconds:g} s")
        data = os.read(self._output.fileno(), _LIMIT)
        if not data:
            raise _EndedError
        return data


def message_size(data: bytes) -> int | None:
    """Bytes of the LDAP message at the beginning of `data`, header and all; None while its header is incomplete. Raises
    ValueError: no message (RFC 4511, 5.1: a SEQUENCE of definite length), or one over 64 KiB."""
    if data[:1] not in (b"", b"\x30") or data[1:2] == b"\x80":
        raise ValueError("no LDAP message")
    if len(data) < 2:
        return None
    header = 2 + (data[1] & 0x7F if data[1] > 0x80 else 0)
    if header > 2 + 4:
        raise ValueError("a length of more than four bytes")
    if len(data) < header:
        return None
    size = header + (int.from_bytes(data[2:header], "big") if header > 2 else data[1])
    if size > _LIMIT:
        raise ValueError(f"a message of {size} bytes")
    return size


def _answer(operation: bytes) -> _Answer:
    """LDAPResult { resultCode, matchedDN, diagnosticMessage, ... responseValue [11] }. Raises ValueError."""
    parts = list(children(operation))
    if len(parts) < 3 or parts[0][0] != _RESULT_CODE or not parts[0][1]:
        raise ValueError("no LDAP result")
    value = next((contents for tag, contents, _element in parts[3:] if tag == _RESPONSE_VALUE), b"")
    code = int.from_bytes(parts[0][1], "big")
    return _Answer(code, parts[2][1].decode("utf-8", "replace"), value.decode("utf-8", "replace"))


def _said(words: int) -> bytes:
    """What tstclnt wrote to standard error so far; its place in the file is left alone."""
    return os.pread(words, _LIMIT, 0)

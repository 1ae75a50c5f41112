# SPDX-License-Identifier: MIT
"""A SASL EXTERNAL bind over LDAPS with a certificate and key that stay in their NSS database, as Dogtag's JSS does it.

tstclnt, NSS's own TLS client, does the TLS; the LDAP is one request and one answer (RFC 4511, 4.2). 40 ms a bind.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import IO

from tests.lab.nss import NssDatabase

# LDAPMessage { messageID 1, BindRequest { version 3, name "", sasl { mechanism "EXTERNAL" } } }
BIND_REQUEST = bytes.fromhex("3016 020101 6011 020103 0400 a30a 0408") + b"EXTERNAL"
DEADLINE_S = 10


@dataclass(frozen=True)
class BindResult:
    """LDAP's result code (0: bound, 49: invalid credentials; -1: no answer at all) and the server's words."""

    code: int
    message: str


def bind(database: NssDatabase, nickname: str, port: int) -> BindResult:
    """Bind to 127.0.0.1:`port` with the certificate `nickname`."""
    command = ["timeout", str(DEADLINE_S), "tstclnt", "-h", "127.0.0.1", "-p", str(port), "-a", "localhost"]
    command += ["-d", f"sql:{database.directory}", "-n", nickname, "-W", str(database.pin_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        try:
            client.stdin.write(BIND_REQUEST)
            client.stdin.flush()  # and stays open: at the end of its input tstclnt spins
            answer = _element(client.stdout)
        except (BrokenPipeError, EOFError):
            return BindResult(-1, client.stderr.read().decode(errors="replace").strip())
        finally:
            client.terminate()
    return _result(answer)


def _element(stream: IO[bytes]) -> bytes:
    """The content of one BER element. Raises EOFError."""
    head = _exactly(stream, 2)
    length = head[1]
    if length & 0x80:
        length = int.from_bytes(_exactly(stream, length & 0x7F), "big")
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _result(message: bytes) -> BindResult:
    """LDAPMessage { messageID, BindResponse { resultCode, matchedDN, diagnosticMessage, ... } }"""
    parts: list[bytes] = []
    rest = message[3:]  # after the messageID
    rest = rest[2 if rest[1] < 0x80 else 2 + (rest[1] & 0x7F) :]  # into the BindResponse
    while rest and len(parts) < 3:
        size = rest[1]  # none of the three is over 127 bytes long
        parts.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    return BindResult(parts[0][0], parts[2].decode(errors="replace"))

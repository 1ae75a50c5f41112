# SPDX-License-Identifier: MIT
"""What services show from their memory: a TLS service its certificate, Dogtag its status.

A service that was not restarted after a renewal still has the old certificate, however fresh the one on disk is.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from certwitness.certificates import Certificate
from certwitness.der import intact_children
from certwitness.errors import CertificateError, StoreError
from certwitness.stores import regular_file

if TYPE_CHECKING:
    import requests

_LIMIT = 1 << 16  # bytes: a status has some hundred, a handshake up to the certificate some thousand
_HANDSHAKE, _ALERT, _CERTIFICATE = 22, 21, 11  # RFC 5246, 6.2.1 and 7.4


@dataclass(frozen=True)
class CAStatus:
    """Dogtag's own word: `text` is ``running``, ``starting``, or why there is no answer (one line); `version` is PKI's,
    "" if not told."""

    running: bool
    text: str
    version: str


def certificate(host_port: str, *, server_name: str, timeout_s: float = 5) -> Certificate:
    """The certificate that the TLS service at ``host:port`` or ``[address]:port`` shows for `server_name` (SNI; "" for
    none). Nothing is trusted and nothing is sent: this only looks, also at services of TLS 1.0 or with old algorithms,
    and at services that want a certificate of ours.

    Raises StoreError: refused, no answer within `timeout_s`, not TLS, or no certificate.
    """
    host, port = _split(host_port)
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            der = _handshake(connection, server_name, deadline, received)
        return Certificate.from_der(der)
    except (socket.timeout, TimeoutError):  # two until Python 3.10
        raise StoreError(host_port, f"no answer in {timeout_s:g} s") from None
    except CertificateError as error:
        raise StoreError(host_port, f"shows what is {error}") from error
    except (OSError, ValueError, TypeError) as error:  # SSLError is an OSError; the others: no name to send
        if received and received[0] not in (_HANDSHAKE, _ALERT):
            raise StoreError(host_port, "does not speak TLS") from None
        raise StoreError(host_port, _words(error)) from error


def _split(host_port: str) -> tuple[str, int]:
    host, _, port = host_port.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        raise StoreError(host_port, "is no address: want host:port or [address]:port")
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host, int(port)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look at a certificate needs no trust: an expired one must be seen, too
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.options |= 0x4  # SSL_OP_LEGACY_SERVER_CONNECT
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
    return context


def _handshake(connection: socket.socket, server_name: str, deadline: float, received: bytearray) -> bytes:
    """The service's certificate in DER. `received` gets all that came.

    Through memory, because until TLS 1.2 a service that insists on a certificate of ours breaks the handshake off, and
    OpenSSL then gives away nothing: but its own certificate has come by then, in clear.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = _context().wrap_bio(incoming, outgoing, server_hostname=server_name or None)
    while True:
        try:
            session.do_handshake()
            _send(connection, outgoing.read(), deadline)  # our last word, so that it is no broken handshake to them
            return session.getpeercert(binary_form=True) or b""
        except ssl.SSLWantReadError:
            _send(connection, outgoing.read(), deadline)
            data = _receive(connection, deadline)
            received += data
            incoming.write(data) if data else incoming.write_eof()
            if len(received) > _LIMIT:
                raise ValueError("the handshake is over 64 KiB") from None
        except ssl.SSLError:
            der = _shown(bytes(received))
            if not der:
                raise
            return der


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # what it said before it closed is still to be read


def _receive(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(_left(deadline))
    try:
        return connection.recv(1 << 14)
    except ConnectionResetError:
        return b""


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _shown(received: bytes) -> bytes:
    """The first certificate of the Certificate message in TLS records up to version 1.2; empty if it did not come."""
    messages, position = bytearray(), 0
    while received[position : position + 1] == bytes([_HANDSHAKE]):
        length = int.from_bytes(received[position + 3 : position + 5], "big")
        messages += received[position + 5 : position + 5 + length]
        position += 5 + length
    position = 0
    while position + 4 <= len(messages):
        length = int.from_bytes(messages[position + 1 : position + 4], "big")
        if messages[position] == _CERTIFICATE:
            body = bytes(messages[position + 4 : position + 4 + length])
            size = int.from_bytes(body[3:6], "big")
            return body[6 : 6 + size] if intact_children(body[6 : 6 + size]) else b""
        position += 4 + length
    return b""


def ca_status(url: str, ca_file: str, timeout_s: float = 5) -> CAStatus:
    """Ask Dogtag at ``https://<host>:8443/ca/admin/ca/getStatus``. The server is verified against `ca_file`; proxies
    and redirections are not followed.

    Answers are XML (``XMLResponse``) or, in later versions (PKI 11.2 is one), JSON (``Response``), both with State,
    Type, Status and Version. Raises StoreError if it cannot be asked: `ca_file` is not there or holds no certificate.
    """
    file = regular_file.read(ca_file)
    if file is None:
        raise StoreError(ca_file, "there is no such file")
    # Of ours, because Python 3.13's and urllib3's own refuse CAs without key identifiers, which Dogtag and NSS take.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=file.data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise StoreError(ca_file, f"holds no CA certificate: {_words(error)}") from error
    import requests  # 0.2 s, for those who need it
    import requests.adapters

    class Verified(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=context)

    try:
        with requests.Session() as session:
            session.trust_env = False  # neither proxies, nor .netrc, nor another CA bundle
            session.headers["Accept-Encoding"] = "identity"
            session.adapters.clear()  # no plain HTTP, which nobody could verify
            session.mount("https://", Verified())
            deadline = time.monotonic() + timeout_s
            with session.get(url, verify=ca_file, timeout=timeout_s, allow_redirects=False, stream=True) as answer:
                return _status(answer, deadline)
    except requests.Timeout:
        return CAStatus(False, f"no answer in {timeout_s:g} s", "")
    except (requests.RequestException, OSError, ValueError) as error:
        return CAStatus(False, _words(error), "")


def _status(answer: requests.Response, deadline: float) -> CAStatus:
    body = bytearray()
    for chunk in answer.iter_content(1):  # more at once would be waited for
        body += chunk
        if len(body) > _LIMIT:
            return CAStatus(False, "answers with over 64 KiB", "")
        if time.monotonic() > deadline:
            return CAStatus(False, "answers too slowly", "")
    if answer.status_code != 200:
        return CAStatus(False, f"HTTP {answer.status_code}", "")
    fields = _json_fields(bytes(body)) if body.lstrip().startswith(b"{") else _xml_fields(bytes(body))
    if "Status" not in fields:
        return CAStatus(False, "answers with something else than a status", "")
    return CAStatus(fields["Status"].strip().lower() == "running", fields["Status"], fields.get("Version", ""))


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)["Response"]
        return {key: value for key, value in found.items() if isinstance(value, str)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _xml_fields(body: bytes) -> dict[str, str]:
    """Texts of the root's children. A DOCTYPE, and with it every entity, is refused."""
    fields: dict[str, str] = {}
    path: list[str] = []

    def text(data: str) -> None:
        if len(path) == 2:
            fields[path[1]] = fields.get(path[1], "") + data

    def refuse(*_declaration: object) -> None:
        raise ValueError("DOCTYPE")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, _attributes: path.append(name)
    parser.EndElementHandler = lambda _name: path.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        return {}
    return fields


def _words(error: BaseException) -> str:
    """The innermost reason, on one line: requests and urllib3 wrap what happened several times."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        wrapped = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((part for part in wrapped if isinstance(part, BaseException)), None)
    words = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(str(words).split())

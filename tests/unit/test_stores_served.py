# SPDX-License-Identifier: MIT
"""What services show is looked at on real sockets: TLS of all versions, what is no TLS, and Dogtag's status."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certwitness.errors import StoreError
from certwitness.stores import served
from certwitness.stores.served import CAStatus
from tests.unit.conftest import NOT_AFTER, NOT_BEFORE, Authority, der, pem

Handler = Callable[[socket.socket], None]
XML = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no"?><XMLResponse><State>1</State><Type>CA</Type>'
    "<Status>running</Status><Version>10.15.1</Version></XMLResponse>"
)
JSON = json.dumps({"Response": {"State": "1", "Type": "CA", "Status": "running", "Version": "11.5.0"}})


class Service:
    """A service on a free port of 127.0.0.1 (or ::1) that does `handle` with one connection after the other."""

    def __init__(self, handle: Handler, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        self.place = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self._handle = handle
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._handle(connection)
                except OSError:  # the client went away, or is refused
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which must not outlive the descriptor
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Starts services."""
    started: list[Service] = []

    def start(handle: Handler, **more: str) -> Service:
        started.append(Service(handle, **more))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture(scope="module")
def expired(authority: Authority, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """For 127.0.0.1 and localhost, issued by `authority`: it has to be seen however invalid it is."""
    return issue(authority, key)


def issue(authority: Authority, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A server's certificate."""
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.certificate.subject)
    builder = builder.public_key(key.public_key()).serial_number(77).not_valid_before(NOT_BEFORE)
    builder = builder.not_valid_after(NOT_AFTER).add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(authority.key, hashes.SHA256())


@pytest.fixture
def context(tmp_path: Path, expired: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    """A server's, with that certificate."""
    path = tmp_path / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem(expired) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def handshake(context: ssl.SSLContext) -> Handler:
    """TLS, and a word in it."""

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.sendall(b"hello")

    return handle


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("wanted", [ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_every_version_with_and_without_a_certificate_of_ours(
    serve: Callable[..., Service],
    context: ssl.SSLContext,
    expired: x509.Certificate,
    authority: Authority,
    version: str,
    wanted: ssl.VerifyMode,
) -> None:
    """The certificate is seen whatever the version, and though the service insists on a certificate of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_verify_locations(cadata=pem(authority.certificate).decode())
    context.verify_mode = wanted
    service = serve(handshake(context))
    assert served.certificate(service.place, server_name="localhost").der == der(expired)


def test_the_name_is_sent(serve: Callable[..., Service], context: ssl.SSLContext) -> None:
    """A service with several names shows the certificate for the one that was asked for."""
    asked: list[str | None] = []
    context.sni_callback = lambda _session, name, _context: asked.append(name)
    service = serve(handshake(context))
    for name in ("ipa.ipadomain.com", "127.0.0.1", ""):
        served.certificate(service.place, server_name=name)
    assert asked == ["ipa.ipadomain.com", None, None]


def test_an_ipv6_address(serve: Callable[..., Service], context: ssl.SSLContext) -> None:
    """In brackets, as in URLs."""
    try:
        service = serve(handshake(context), address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert served.certificate(service.place, server_name="localhost").serial == 77


@pytest.mark.parametrize("banner", [b"220 mail ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02"])
def test_a_service_in_plain_text_is_told(serve: Callable[..., Service], banner: bytes) -> None:
    """Whether it speaks first or after us."""

    def handle(connection: socket.socket) -> None:
        if banner.startswith(b"HTTP"):
            connection.recv(1024)
        connection.sendall(banner)
        connection.recv(1024)

    with pytest.raises(StoreError, match="does not speak TLS"):
        served.certificate(serve(handle).place, server_name="x")


def test_a_silent_service_costs_the_time_limit(serve: Callable[..., Service]) -> None:
    """It took the connection, and says nothing."""
    done = threading.Event()
    service = serve(lambda _connection: done.wait(10) and None)
    with pytest.raises(StoreError, match=r"no answer in 0\.3 s"):
        served.certificate(service.place, server_name="x", timeout_s=0.3)
    done.set()


def test_a_dripping_service_costs_the_time_limit(serve: Callable[..., Service]) -> None:
    """The limit is for all together, not for each octet."""

    def handle(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x3f\xff")
        for _ in range(100):
            connection.sendall(b"\x02")
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(StoreError, match=r"no answer in 0\.3 s"):
        served.certificate(serve(handle).place, server_name="x", timeout_s=0.3)
    assert time.monotonic() - started < 2


def test_a_service_that_hangs_up(serve: Callable[..., Service]) -> None:
    """One line, whether it says nothing or an alert."""
    for said in (b"", b"\x15\x03\x03\x00\x02\x02\x28"):
        with pytest.raises(StoreError) as raised:
            served.certificate(serve(lambda connection, said=said: connection.sendall(said)).place, server_name="x")
        assert "\n" not in str(raised.value)
        assert "does not speak TLS" not in str(raised.value)


def test_nobody_there() -> None:
    """The address is in the message."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match=f"^127.0.0.1:{port}: Connection refused$"):
        served.certificate(f"127.0.0.1:{port}", server_name="x")


@pytest.mark.parametrize(
    "place", ["", "host", ":443", "host:", "host:https", "host:0", "host:65536", "host:٣", "h:1e3"]
)
def test_what_is_no_address(place: str) -> None:
    """It is said what one looks like."""
    with pytest.raises(StoreError, match="is no address"):
        served.certificate(place, server_name="x")


@pytest.mark.parametrize("name", [".x", "x" * 300, "a..b", "\0"])
def test_what_is_no_name(serve: Callable[..., Service], context: ssl.SSLContext, name: str) -> None:
    """A name that cannot be sent is an error of one line."""
    with pytest.raises(StoreError):
        served.certificate(serve(handshake(context)).place, server_name=name)


@given(st.binary() | st.binary().map(lambda data: b"\x16\x03\x03\x00\x40\x0b" + data))
def test_any_bytes_hold_a_certificate_or_none(data: bytes) -> None:
    """A damaged handshake is no traceback."""
    assert isinstance(served._shown(data), bytes)


# --- Dogtag's status


@pytest.fixture
def ca_file(tmp_path: Path, authority: Authority) -> str:
    """The CA's certificate, with other text before it, as in /etc/ipa/ca.crt."""
    path = tmp_path / "ca.crt"
    path.write_bytes("# Größe\n".encode() + pem(authority.certificate))
    return str(path)


def answer(context: ssl.SSLContext, body: str | bytes, status: str = "200 OK", more: str = "") -> Handler:
    """An HTTP server that gives one answer."""
    data = body.encode() if isinstance(body, str) else body

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(4096)
            session.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n{more}\r\n".encode() + data)

    return handle


def ask(service: Service, ca_file: str, timeout_s: float = 5) -> CAStatus:
    """Ask it as Dogtag."""
    pytest.importorskip("requests")
    return served.ca_status(f"https://{service.place}/ca/admin/ca/getStatus", ca_file, timeout_s)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (XML, CAStatus(True, "running", "10.15.1")),
        (JSON, CAStatus(True, "running", "11.5.0")),
        (XML.replace("running", "starting"), CAStatus(False, "starting", "10.15.1")),
        (JSON.replace("running", "starting"), CAStatus(False, "starting", "11.5.0")),
        (JSON.replace('"11.5.0"', "null"), CAStatus(True, "running", "")),
        ("\n  " + JSON, CAStatus(True, "running", "11.5.0")),
    ],
)
def test_dogtags_answers(
    serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str, body: str, status: CAStatus
) -> None:
    """XML, JSON in later versions; running or not yet."""
    assert ask(serve(answer(context, body)), ca_file) == status


@pytest.mark.parametrize(
    "body",
    [
        "",
        "status=running",
        "<html><body>Status running</body></html>",
        "<XMLResponse><Status>running",
        '<!DOCTYPE x [<!ENTITY r "running">]><XMLResponse><Status>&r;</Status></XMLResponse>',
        "<!DOCTYPE x><XMLResponse><Status>running</Status></XMLResponse>".encode("utf-16"),
        "<XMLResponse><a><Status>running</Status></a></XMLResponse>",
        "{",
        "{}",
        '{"Response": []}',
        '{"Response": {"Status": 1}}',
        "{" + '"a":[' * 5000,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_status(
    serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str, body: str | bytes
) -> None:
    """Another page, damaged text, and anything with a DOCTYPE: not running, and said so."""
    status = CAStatus(False, "answers with something else than a status", "")
    assert ask(serve(answer(context, body)), ca_file) == status


@pytest.mark.parametrize("status", ["503 Service Unavailable", "404 Not Found", "500 Internal Server Error"])
def test_an_http_error(serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str, status: str) -> None:
    """Tomcat is there, the CA in it is not."""
    assert ask(serve(answer(context, XML, status)), ca_file) == CAStatus(False, f"HTTP {status[:3]}", "")


def test_redirections_are_not_followed(serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str) -> None:
    """Wherever they lead."""
    other = serve(answer(context, XML))
    service = serve(answer(context, "", "302 Found", f"Location: https://{other.place}/\r\n"))
    assert ask(service, ca_file) == CAStatus(False, "HTTP 302", "")


def test_a_large_answer_is_cut(serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str) -> None:
    """Over 64 KiB are not read."""
    assert ask(serve(answer(context, " " * (1 << 17) + XML)), ca_file).text == "answers with over 64 KiB"


def test_a_slow_answer_costs_the_time_limit(
    serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str
) -> None:
    """Neither silence nor dripping holds us."""

    def drip(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(60):
                session.sendall(b"<")
                time.sleep(0.05)

    started = time.monotonic()
    assert ask(serve(drip), ca_file, 0.4).text == "answers too slowly"
    done = threading.Event()
    assert ask(serve(lambda _connection: done.wait(10) and None), ca_file, 0.4).text == "no answer in 0.4 s"
    done.set()
    assert time.monotonic() - started < 3


def test_proxies_of_the_environment_are_not_used(
    serve: Callable[..., Service], context: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor another CA bundle."""
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert ask(serve(answer(context, JSON)), ca_file).running


def test_a_server_of_another_ca_is_not_believed(
    serve: Callable[..., Service], context: ssl.SSLContext, tmp_path: Path
) -> None:
    """The certificate is verified against the file, and the reason is told in one line."""
    path = tmp_path / "other.crt"
    path.write_bytes(pem(Authority.create().certificate))
    status = ask(serve(answer(context, XML)), str(path))
    assert not status.running
    assert "certificate verify failed" in status.text.lower()
    assert "\n" not in status.text


def test_a_server_that_is_down_is_an_answer(ca_file: str) -> None:
    """Refused: not running, and why."""
    pytest.importorskip("requests")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert served.ca_status(f"https://127.0.0.1:{port}/", ca_file) == CAStatus(False, "Connection refused", "")


@pytest.mark.parametrize("url", ["", "https://", "nonsense", "ftp://localhost/", "https://[::1"])
def test_an_url_that_is_none(ca_file: str, url: str) -> None:
    """It is not running, and that is why."""
    pytest.importorskip("requests")
    status = served.ca_status(url, ca_file)
    assert (status.running, "\n" in status.text) == (False, False)
    assert status.text


def test_nothing_is_believed_without_tls(serve: Callable[..., Service], ca_file: str) -> None:
    """An answer over plain HTTP could be anybody's."""
    pytest.importorskip("requests")

    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(JSON)}\r\n\r\n{JSON}".encode())

    assert not served.ca_status(f"http://{serve(handle).place}/", ca_file).running


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff"])
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    """Then nothing can be asked: the file is named."""
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=f"^{path}: "):
        served.ca_status("https://127.0.0.1:1/", str(path))

# SPDX-License-Identifier: MIT
"""Stands in for Dogtag's CA, as certmonger's own dogtag-ipa-renew-agent-submit 0.79.17 talks to it.

An http port (end entities) and an https port (agents), with the four requests of a renewal and the list of
profiles. What it answers was found by trying it on the real helper; the certificates are the test CA's.

While it is down, its ports stay ours and refuse connections: a second socket is bound to them and does not listen.
"""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Callable

from cryptography import x509

from tests.lab.ca import TWO_YEARS, TestCA, certificate_pem, key_of, key_pem, subject
from tests.lab.dogtag_http import Handler
from tests.lab.dogtag_requests import EnrollmentRequest, RequestQueue
from tests.lab.faults import Faults
from tests.lab.tls import bound

HOST = "localhost"
POLL_S = 0.1


class Dogtag:
    """The CA's two ports. `start` and `stop` are pki-tomcatd's; the fault dogtag-down closes them meanwhile.

    `accepts` says whether an agent's certificate (DER; None: none was sent) is accepted; `on_issue` is told of every
    new certificate. `queue` holds the requests it got, `journal` every HTTP request as (method, path, parameters);
    `certificate` is what the agents' port shows.
    """

    def __init__(
        self,
        directory: Path,
        ca: TestCA,
        faults: Faults,
        *,
        accepts: Callable[[bytes | None], bool] = bool,
        on_issue: Callable[[x509.Certificate], None] = lambda _: None,
        lifetime: timedelta = TWO_YEARS,
    ) -> None:
        self.ca = ca
        self.faults = faults
        self.accepts = accepts
        self.queue = RequestQueue(ca, lifetime, on_issue)
        self.journal: list[tuple[str, str, dict[str, str]]] = []
        self.running = False
        self.over = threading.Event()
        self._directory = directory
        self._placeholders = [bound(0), bound(0)]
        self.ee_port, self.agent_port = (held.getsockname()[1] for held in self._placeholders)
        self._servers: list[_Server] = []
        self._lock = threading.RLock()
        self._write_server_certificates()
        faults.subscribe(self.apply)
        threading.Thread(target=self._follow, name="dogtag", daemon=True).start()

    @property
    def ee_url(self) -> str:
        """End-entity URL, the helper's -E."""
        return f"http://{HOST}:{self.ee_port}/ca/ee/ca"

    @property
    def agent_url(self) -> str:
        """Agent URL, the helper's -A."""
        return f"https://{HOST}:{self.agent_port}/ca/agent/ca"

    @property
    def requests(self) -> list[EnrollmentRequest]:
        """The enrollment requests so far, oldest first."""
        return list(self.queue.requests.values())

    def load(self, certificate: x509.Certificate) -> None:
        """Show this TLS certificate from now on, with the key of `Server-Cert cert-pki-ca`."""
        self.certificate = certificate
        pem = key_pem(key_of("Server-Cert cert-pki-ca")) + certificate_pem(certificate).encode()
        (self._directory / "server.pem").write_bytes(pem)

    def start(self) -> None:
        """Listen on both ports (unless the fault dogtag-down is on)."""
        self.running = True
        self.apply()

    def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        self.running = False
        self.apply()

    def close(self) -> None:
        """Stop for good and give the ports back."""
        self.over.set()
        self.stop()
        for held in self._placeholders:
            held.close()

    def apply(self) -> None:
        """Open or close the ports, as `running` and the fault dogtag-down say."""
        with self._lock:
            wanted = self.running and not self.faults.is_on("dogtag-down") and not self.over.is_set()
            if wanted and not self._servers:
                self._servers = [_Server(self, self.ee_port, None), _Server(self, self.agent_port, self._tls)]
            elif not wanted and self._servers:
                for server in self._servers:
                    server.end()
                self._servers = []

    # --- inside

    def _follow(self) -> None:
        """Faults may also be switched by hand, in the file system."""
        while not self.over.wait(POLL_S):
            self.apply()

    def _tls(self) -> ssl.SSLContext:
        other = self.faults.is_on("dogtag-wrong-certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._directory / ("other.pem" if other else "server.pem"))
        context.load_verify_locations(cadata=certificate_pem(self.ca.certificate))
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _write_server_certificates(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        key = key_of("Server-Cert cert-pki-ca")
        self.load(self.ca.issue(subject("localhost"), key.public_key(), server=True))
        other = _foreign_ca().issue(subject("localhost"), key.public_key(), server=True)
        (self._directory / "other.pem").write_bytes(key_pem(key) + certificate_pem(other).encode())


class _Server(ThreadingHTTPServer):
    """One port. The TLS handshake happens in the connection's own thread, so that a silent client holds up nobody."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, dogtag: Dogtag, port: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.dogtag = dogtag
        self.over = threading.Event()
        self._tls = tls
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)  # HTTPServer's own looks up the host's name in the DNS

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = self.socket.accept()
        if self._tls:
            connection = self._tls().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        self._open.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off is its own business."""

    def end(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _foreign_ca() -> TestCA:
    ca = TestCA()
    ca.key = key_of("somebody else")
    ca.certificate = ca.self_sign()
    return ca

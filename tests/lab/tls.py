# SPDX-License-Identifier: MIT
"""A TLS port that shows one certificate, as httpd does: what it loaded at its start, whatever is on the disk since."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from typing import Callable

DEADLINE_S = 5.0
# The body of a POST to a path -> the body of the answer; None: 404.
Answer = Callable[[str, bytes], "bytes | None"]


class TlsPort:
    """A port of 127.0.0.1, ours from the beginning (`port`); connections are refused until `start`. What is asked there
    gets 404, or what `answer` says."""

    def __init__(self, answer: Answer = lambda *_: None) -> None:
        self.answer = answer
        self._placeholder = bound(0)
        self.port: int = self._placeholder.getsockname()[1]
        self._listener: socket.socket | None = None
        self._thread = threading.Thread()

    def start(self, context: ssl.SSLContext) -> None:
        """Serve with this context."""
        self.stop()
        self._listener = bound(self.port)
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, args=(self._listener, context), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            self._thread.join(DEADLINE_S)  # before the descriptor's number is another socket's
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Give the port back."""
        self.stop()
        self._placeholder.close()

    def _serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._handle, args=(connection, context), daemon=True).start()

    def _handle(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """A handshake, and an answer. A client that breaks off is its own business."""
        connection.settimeout(DEADLINE_S)
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            _Handler(secure, ("127.0.0.1", 0), self)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    def do_GET(self) -> None:
        """There are no pages."""
        self._send(None)

    def do_POST(self) -> None:
        """What the port's `answer` makes of it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send(self.server.answer(self.path, body))  # type: ignore[attr-defined]

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  (the name is the base class's)
        """Nothing to stderr."""

    def _send(self, body: bytes | None) -> None:
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


def bound(port: int) -> socket.socket:
    """A socket of 127.0.0.1 that holds `port` (0: any that is free) and may share it with another of ours."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held

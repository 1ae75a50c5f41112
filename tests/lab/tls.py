# SPDX-License-Identifier: MIT
"""A TLS port that shows one certificate, as httpd does: what it loaded at its start, whatever is on the disk since."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
DEADLINE_S = 5.0


class TlsPort:
    """A port of 127.0.0.1, ours from the beginning (`port`); connections are refused until `start`."""

    def __init__(self) -> None:
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

    @staticmethod
    def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=_answer, args=(connection, context), daemon=True).start()


def _answer(connection: socket.socket, context: ssl.SSLContext) -> None:
    """A handshake, and 404 to whatever is asked. A client that breaks off is its own business."""
    connection.settimeout(DEADLINE_S)
    with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
        if secure.recv(65536):
            secure.sendall(ANSWER)


def bound(port: int) -> socket.socket:
    """A socket of 127.0.0.1 that holds `port` (0: any that is free) and may share it with another of ours."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held

# SPDX-License-Identifier: MIT
"""Stands in for httpd: it counts its starts, and in a full world it really serves TLS with httpd.crt and httpd.key."""

from __future__ import annotations

import ssl

from cryptography import x509

from tests.lab.faults import Faults
from tests.lab.services import ServiceError, refusal
from tests.lab.settings import Settings
from tests.lab.tls import TlsPort


class Httpd:
    """`starts` tells whether a hook restarted it; `loaded` is the certificate that it shows (None: a plain world's
    httpd serves nothing, and `port` refuses connections)."""

    def __init__(self, faults: Faults, settings: Settings, tls: TlsPort, *, serves: bool) -> None:
        self.running = True
        self.starts = 1
        self.loaded: x509.Certificate | None = None
        self._faults = faults
        self._settings = settings
        self._tls = tls
        self._serves = serves
        if serves:
            self._listen()

    def start(self) -> None:
        """Count, and read certificate and key anew."""
        if self._serves:
            self._listen()
        self.running = True
        self.starts += 1

    def stop(self) -> None:
        """Refuse where the fault says so: a restart stops first, so the old process stays."""
        if self._faults.is_on("restart-httpd-fails"):
            raise ServiceError(refusal("restart", "httpd.service"))
        self._tls.stop()
        self.running = False

    def close(self) -> None:
        """The end of the world."""
        self._tls.close()

    def _listen(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(
                self._settings.httpd_certificate, self._settings.httpd_key, self._settings.httpd_pin_file.read_text
            )
            self.loaded = x509.load_pem_x509_certificate(self._settings.httpd_certificate.read_bytes())
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ServiceError(f"Job for httpd.service failed: {error}") from error
        self._tls.start(context)

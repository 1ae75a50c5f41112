# SPDX-License-Identifier: MIT
"""Dogtag's request queue in memory: profiles, enrollment requests, and the certificates issued for them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Callable

from cryptography import x509

from tests.lab.ca import TestCA

# Those of Dogtag's profiles that FreeIPA tracks certificates with.
PROFILES = (
    "caSubsystemCert",
    "caOCSPCert",
    "caSignedLogCert",
    "caServerCert",
    "caCACert",
    "caAuditSigningCert",
    "caTransportCert",
    "caStorageCert",
    "caIPAserviceCert",
)


class RefusedError(Exception):
    """Dogtag says no; the argument is its reason."""


@dataclass
class EnrollmentRequest:
    """One request. `status` is Dogtag's word: pending, complete, rejected."""

    identifier: int
    profile: str
    csr: x509.CertificateSigningRequest
    status: str = "pending"
    certificate: x509.Certificate | None = None


class RequestQueue:
    """Requests by number, from 1. Methods raise RefusedError with the reason that Dogtag gives."""

    def __init__(self, ca: TestCA, lifetime: timedelta, on_issue: Callable[[x509.Certificate], None]) -> None:
        self.lifetime = lifetime
        self.requests: dict[int, EnrollmentRequest] = {}
        self._ca = ca
        self._on_issue = on_issue
        self._by_serial: dict[int, x509.CertificateSigningRequest] = {}
        self._lock = threading.Lock()

    def submit(self, parameters: dict[str, str]) -> EnrollmentRequest:
        """profileSubmit: a new request (cert_request), or the renewal of a certificate this CA issued (serial_num)."""
        profile = parameters.get("profileId", "")
        if profile not in PROFILES:
            raise RefusedError(f"Profile {profile} Not Found")
        if parameters.get("renewal") == "true":
            csr = self._by_serial.get(int(parameters.get("serial_num", "0")))
            if csr is None:
                raise RefusedError("Certificate to be renewed not found")
        else:
            try:
                csr = x509.load_pem_x509_csr(parameters.get("cert_request", "").encode())
            except ValueError as error:
                raise RefusedError("Invalid Request") from error
        with self._lock:
            request = EnrollmentRequest(len(self.requests) + 1, profile, csr)
            self.requests[request.identifier] = request
        return request

    def find(self, parameters: dict[str, str]) -> EnrollmentRequest:
        """The request that requestId names."""
        number = parameters.get("requestId", "")
        request = self.requests.get(int(number)) if number.isdigit() else None
        if request is None:
            raise RefusedError(f"Request {number} Not Found")
        return request

    def approve(self, request: EnrollmentRequest) -> None:
        """profileProcess, op=approve: issue."""
        with self._lock:
            if request.certificate is None:
                request.certificate = self._ca.issue_for(
                    request.csr, self.lifetime, authority=request.profile == "caCACert"
                )
                self._by_serial[request.certificate.serial_number] = request.csr
                request.status = "complete"
                self._on_issue(request.certificate)

    def reject(self, request: EnrollmentRequest) -> None:
        """profileProcess, op=reject."""
        request.status = "rejected"

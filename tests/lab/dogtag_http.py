# SPDX-License-Identifier: MIT
"""The HTTP side of the stand-in for Dogtag: paths, the XML they answer with, and the ways in which they fail.

The forms are those that dogtag-ipa-renew-agent-submit looks for (the XPath expressions in the binary of certmonger
0.79.17): XMLResponse for an end entity, xml/output/set for an agent, xml/records/record for a certificate.
"""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from tests.lab.ca import certificate_pem
from tests.lab.dogtag_requests import PROFILES, EnrollmentRequest, RefusedError

if TYPE_CHECKING:
    from tests.lab.dogtag import Dogtag

XML = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
STATUS = "<XMLResponse><State>1</State><Type>CA</Type><Status>running</Status><Version>11.4.0</Version></XMLResponse>"
AGENT_PATHS = ("profileReview", "profileProcess")
SERVICE_UNAVAILABLE = b"""<!DOCTYPE html><html lang="en"><head><title>HTTP Status 503</title></head>
<body><h1>HTTP Status 503 - Service Unavailable</h1><hr class="line">Subsystem unavailable</body></html>"""


class Handler(BaseHTTPRequestHandler):
    """One request of the helper. Everything it needs is in `server.dogtag`."""

    def handle(self) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
        super().handle()

    def do_GET(self) -> None:
        """Parameters in the URL."""
        self._answer(urlsplit(self.path).query)

    def do_POST(self) -> None:
        """Parameters in the body."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  (the name is the base class's)
        """Nothing to stderr: `Dogtag.journal` remembers the requests."""

    # --- inside

    @property
    def _dogtag(self) -> Dogtag:
        return self.server.dogtag  # type: ignore[attr-defined,no-any-return]

    def _answer(self, query: str) -> None:
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        path = urlsplit(self.path).path.rpartition("/")[2]
        self._dogtag.journal.append((self.command, path, parameters))
        if not self._delayed() or self._dogtag.faults.is_on("dogtag-drops"):
            self.close_connection = True
            return
        if self._dogtag.faults.is_on("dogtag-html-503"):
            self._send(503, "text/html", SERVICE_UNAVAILABLE)
        elif self._dogtag.faults.is_on("dogtag-empty-body"):
            self._send(200, "application/xml", b"")
        else:
            body = self._reply(path, parameters)
            self._send(404 if body is None else 200, "application/xml", (body or "").encode())

    def _delayed(self) -> bool:
        """Wait as the faults say; False if the connection is to be dropped instead of answered."""
        over = self.server.over  # type: ignore[attr-defined]
        faults = self._dogtag.faults
        while faults.is_on("dogtag-hangs") and not over.wait(0.05):
            pass
        slow = faults.value("dogtag-slow")
        return not over.wait(float(slow or 1) if slow is not None else 0)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _client_certificate(self) -> bytes | None:
        return self.connection.getpeercert(binary_form=True) if isinstance(self.connection, ssl.SSLSocket) else None

    def _reply(self, path: str, parameters: dict[str, str]) -> str | None:
        if path in AGENT_PATHS:
            if self._dogtag.faults.is_on("ra-refused") or not self._dogtag.accepts(self._client_certificate()):
                return output_set("<errorCode>1</errorCode><errorReason>Invalid Credential.</errorReason>")
            return self._agent_reply(path, parameters)
        return self._end_entity_reply(path, parameters)

    def _end_entity_reply(self, path: str, parameters: dict[str, str]) -> str | None:
        queue = self._dogtag.queue
        try:
            if path == "profileSubmit":
                reason = self._dogtag.faults.value("dogtag-rejects")
                if reason is not None:
                    raise RefusedError(reason or "Request Rejected - Policy violation")
                request = queue.submit(parameters)
                return response(2, "Request Deferred - defer request", request.identifier)
            if path == "checkRequest":
                return header(queue.find(parameters))
            if path == "displayCertFromRequest":
                return records(queue.find(parameters))
        except RefusedError as refusal:
            if path == "displayCertFromRequest":
                return f"{XML}<xml><fixed><unexpectedError>{escape(str(refusal))}</unexpectedError></fixed></xml>"
            return response(1, str(refusal))
        return {"profileList": profile_list(), "getStatus": XML + STATUS}.get(path)

    def _agent_reply(self, path: str, parameters: dict[str, str]) -> str:
        queue = self._dogtag.queue
        try:
            request = queue.find(parameters)
            if path == "profileReview":
                return review(request)
            if self._dogtag.faults.is_on("dogtag-defers"):
                pass
            elif parameters.get("op") == "approve":
                queue.approve(request)
            elif parameters.get("op") == "reject":
                queue.reject(request)
        except RefusedError as refusal:
            return output_set(f"<errorCode>1</errorCode><errorReason>{escape(str(refusal))}</errorReason>")
        return output_set(
            "<errorCode>0</errorCode>"
            f"<requestId>{request.identifier}</requestId><requestStatus>{request.status}</requestStatus>"
        )


def response(status: int, error: str, identifier: int | None = None) -> str:
    """An end entity's answer: status 0 done, 1 refused, 2 deferred."""
    number = f"<RequestId>{identifier}</RequestId>" if identifier is not None else ""
    return f"{XML}<XMLResponse><Status>{status}</Status><Error>{escape(error)}</Error>{number}</XMLResponse>"


def output_set(content: str) -> str:
    """An agent's answer."""
    return f"{XML}<xml><header/><fixed/><output><set>{content}</set></output></xml>"


def header(request: EnrollmentRequest) -> str:
    """The answer to checkRequest."""
    return (
        f"{XML}<xml><header><status>{request.status}</status><requestId>{request.identifier}</requestId></header></xml>"
    )


def review(request: EnrollmentRequest) -> str:
    """The answer to profileReview: the defaults that an agent may change, of which the helper sends back all."""
    defaults = {"name": request.csr.subject.rfc4514_string(), "notBefore": "now", "signingAlg": "SHA256withRSA"}
    rows = "".join(
        f"<set><defList><list><defList><set><defId>{name}</defId><defSyntax>string</defSyntax><defConstraint>null</defConstraint>"
        f"<defName>{name}</defName><defVal>{escape(value)}</defVal></set></defList></list></defList></set>"
        for name, value in defaults.items()
    )
    return output_set(
        f"<requestId>{request.identifier}</requestId><requestStatus>{request.status}</requestStatus>"
        f"<errorCode>0</errorCode><record><list><record>{rows}</record></list></record>"
    )


def records(request: EnrollmentRequest) -> str:
    """The answer to displayCertFromRequest: a whole PEM."""
    if request.certificate is None:
        raise RefusedError("Certificate has not been issued")
    pem = certificate_pem(request.certificate)
    return f"{XML}<xml><header/><fixed/><records><record><base64Cert>{pem}</base64Cert></record></records></xml>"


def profile_list() -> str:
    """The answer to profileList."""
    rows = "".join(
        f"<record><set><profileId>{profile}</profileId><profileIsEnable>true</profileIsEnable>"
        "<profileIsVisible>true</profileIsVisible></set></record>"
        for profile in PROFILES
    )
    return output_set(f"<record><list>{rows}</list></record>")

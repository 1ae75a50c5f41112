# SPDX-License-Identifier: MIT
"""Stands in for the IPA API behind httpd, as certmonger's own ipa-submit 0.79.17 talks to it: one method, cert_request.

There is no Kerberos in a world: nobody is asked who he is.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Callable

from cryptography import x509

from tests.lab.ca import certificate_der

PATH = "/ipa/json"
# Of ipalib's errors (reference: certmonger.md 10; 2xxx is a refusal for ever).
ACI_ERROR = 2100

Issue = Callable[[x509.CertificateSigningRequest, str], x509.Certificate]


class IpaApi:
    """Answers at PATH; `issue` makes the certificate for a signing request and a principal."""

    def __init__(self, issue: Issue) -> None:
        self._issue = issue

    def answer(self, path: str, body: bytes) -> bytes | None:
        """The body of the answer to a POST; None for another path."""
        if path != PATH:
            return None
        asked = json.loads(body)
        (csr, *_), options = asked["params"]
        if asked["method"] != "cert_request":
            return _reply(asked, None, {"code": ACI_ERROR, "message": "Insufficient access", "name": "ACIError"})
        certificate = self._issue(x509.load_der_x509_csr(base64.b64decode(csr)), options["principal"])
        encoded = base64.b64encode(certificate_der(certificate)).decode()
        return _reply(asked, {"result": {"certificate": encoded}, "value": "0", "summary": None}, None)


def _reply(asked: dict[str, Any], result: object, error: object) -> bytes:
    return json.dumps({"result": result, "error": error, "id": asked.get("id"), "principal": None}).encode()

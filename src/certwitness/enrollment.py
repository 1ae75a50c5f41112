# SPDX-License-Identifier: MIT
"""What the environment of a SUBMIT or POLL says about the request (certmonger 0.79.17, submit-e.c).

The request's ID and its storage place are not among it: the friendlyName of the signing request is all there is.
The SPKAC, and the signing request itself, may hold a challenge password: neither is ever part of the result.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from certwitness.certificates import Certificate, SigningRequest
from certwitness.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXTS = (
    ("profile", "CERTMONGER_CA_PROFILE"),
    ("issuer", "CERTMONGER_CA_ISSUER"),
    ("subject", "CERTMONGER_REQ_SUBJECT"),
)
_LISTS = (
    ("hostnames", "CERTMONGER_REQ_HOSTNAME"),
    ("emails", "CERTMONGER_REQ_EMAIL"),
    ("principals", "CERTMONGER_REQ_PRINCIPAL"),
    ("ip_addresses", "CERTMONGER_REQ_IP_ADDRESS"),
)


def request_block(environ: Mapping[str, str]) -> dict[str, Any]:
    """The `request` block of an event. Never raises; what cannot be read is said in ``problems``.

    Always there: ``nickname`` (friendlyName of the CSR, or None), ``previous`` (the certificate held so far, or None),
    ``has_challenge_password``, ``has_cookie``. Only where known: ``profile``, ``issuer``, ``subject`` (as the user gave
    it), ``csr_subject`` (RFC 4514), ``hostnames``, ``emails``, ``principals``, ``ip_addresses``, ``csr_sans``,
    ``key_type``, ``key_size`` (bits), ``spki_sha256`` (hex), ``problems``.
    """
    problems: list[str] = []
    block: dict[str, Any] = {"nickname": None, "previous": None, "has_challenge_password": False}
    block.update({key: environ[variable] for key, variable in _TEXTS if environ.get(variable)})
    for key, variable in _LISTS:
        values = [line for line in environ.get(variable, "").splitlines() if line]
        if values:
            block[key] = values
    if environ.get("CERTMONGER_KEY_TYPE"):
        block["key_type"] = environ["CERTMONGER_KEY_TYPE"]
    block["has_cookie"] = bool(environ.get("CERTMONGER_CA_COOKIE"))
    if environ.get("CERTMONGER_CSR"):
        try:
            block.update(_csr(_bytes(environ["CERTMONGER_CSR"])))
        except CertificateError as error:
            problems.append(f"CERTMONGER_CSR: {error}")
            block["has_challenge_password"] = True  # it may have one: what is kept of the run is redacted accordingly
    if "spki_sha256" not in block and environ.get("CERTMONGER_SPKI"):
        try:
            spki = base64.b64decode(_bytes(environ["CERTMONGER_SPKI"]), validate=True)
            block["spki_sha256"] = hashlib.sha256(spki).hexdigest()
        except binascii.Error as error:
            problems.append(f"CERTMONGER_SPKI: not base64: {error}")
    if environ.get("CERTMONGER_CERTIFICATE"):
        try:
            block["previous"] = Certificate.from_pem(_bytes(environ["CERTMONGER_CERTIFICATE"])).as_event()
        except CertificateError as error:
            problems.append(f"CERTMONGER_CERTIFICATE: {error}")
    if problems:
        block["problems"] = problems
    return block


def _csr(pem: bytes) -> dict[str, Any]:
    request = SigningRequest.from_pem(pem)
    block: dict[str, Any] = {
        "nickname": request.friendly_name,
        "csr_subject": request.subject,
        "csr_sans": list(request.sans),
        "key_type": request.key_type,
        "key_size": request.key_size,
        "spki_sha256": request.spki_sha256,
        "has_challenge_password": request.has_challenge_password,
    }
    return block


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")

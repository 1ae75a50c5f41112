# SPDX-License-Identifier: MIT
"""FreeIPA's write to Dogtag's CS.cfg after a renewal (freeipa.md 4): the certificate as base64 DER on one line."""

from __future__ import annotations

import base64
import shutil

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.freeipa.server import Server
from tests.lab.services import ServiceError

DIRECTIVES = {
    "auditSigningCert cert-pki-ca": "ca.audit_signing.cert",
    "ocspSigningCert cert-pki-ca": "ca.ocsp_signing.cert",
    "caSigningCert cert-pki-ca": "ca.signing.cert",
    "subsystemCert cert-pki-ca": "ca.subsystem.cert",
    "Server-Cert cert-pki-ca": "ca.sslserver.cert",
    "transportCert cert-pki-kra": "ca.connector.KRA.transportCert",
}


def directive_line(nickname: str, certificate: x509.Certificate) -> str:
    """The line of CS.cfg for a certificate."""
    return f"{DIRECTIVES[nickname]}={base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}"


def update_cert_config(server: Server, nickname: str, certificate: x509.Certificate) -> None:
    """Set the certificate's directive, in place, after a backup whose failure is only logged."""
    if nickname not in DIRECTIVES:
        return
    path = server.settings.cs_cfg
    try:
        if server.faults.is_on("backup-cs-cfg-fails") or server.service("status", "pki-tomcatd") == "running":
            raise ServiceError("Dogtag must be stopped when creating backup of its config file")
        shutil.copy(path, path.with_name("CS.cfg.ipabkp"))
    except (ServiceError, OSError) as error:
        server.log("ERR", f"Failed to backup CS.cfg: {error}")
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{DIRECTIVES[nickname]}=")]
    path.write_text("\n".join([*kept, directive_line(nickname, certificate)]) + "\n")

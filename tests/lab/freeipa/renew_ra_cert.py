# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's post-save hook renew_ra_cert: brings ra-agent.pem to uid=ipara, on the renewal master."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import Server


def main(server: Server, _: Sequence[str]) -> int:
    """1 if the certificate cannot be read, else 0, whatever happened; releases the lock of renew_ra_cert_pre."""
    status = 0
    try:
        try:
            status = _renew(server)
        finally:
            server.lock("renew_ra_cert").release()
    except Exception:
        server.log_traceback()
    return status


def _renew(server: Server) -> int:
    from cryptography import x509

    from tests.lab.freeipa.updates import update_people_entry

    server.kinit()
    ldapi = server.connect()
    server.may_die()
    if not server.is_renewal_master(ldapi):
        return 0
    path = server.settings.ra_certificate
    try:
        text = path.with_suffix(".gone" if server.faults.is_on("certificate-missing") else path.suffix).read_bytes()
    except OSError:
        server.log("ERR", f"Can't open '{path}'")
        return 1
    try:
        certificate = x509.load_pem_x509_certificate(text)
    except ValueError:
        server.log("ERR", f"'{path}' is not a valid certificate file")
        return 1
    update_people_entry(server, certificate)
    return 0

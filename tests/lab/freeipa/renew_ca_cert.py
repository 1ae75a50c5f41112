# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's post-save hook renew_ca_cert NICKNAME: brings a renewed certificate of Dogtag's to CS.cfg and
to the directory, and starts pki-tomcatd again."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import CA_NICKNAME, Server

AUDIT = "auditSigningCert cert-pki-"


def main(server: Server, arguments: Sequence[str]) -> int:
    """1 if the certificate is not there, else 0, whatever happened; releases the lock that stop_pkicad took.

    Every way out but the last leaves pki-tomcatd stopped.
    """
    status = 0
    try:
        try:
            status = _renew(server, arguments[0])
        finally:
            server.lock("renew_ca_cert").release()
    except Exception:
        server.log_traceback()
    return status


def _renew(server: Server, nickname: str) -> int:
    from tests.lab.freeipa.cs_cfg import update_cert_config
    from tests.lab.freeipa.updates import update_authority_entry, update_ca_store, update_people_entry
    from tests.lab.ldapi import LdapError
    from tests.lab.nss import NssDatabase

    if server.service("status", "pki-tomcatd") == "running":
        server.stop_pki()
    database = NssDatabase(server.settings.nss_directory, server.settings.pin_file)
    certificate = None if server.faults.is_on("certificate-missing") else database.certificate(nickname)
    if certificate is None:
        server.log("ERR", f"No certificate {nickname} found.")
        return 1
    server.kinit()
    ldapi = server.connect()
    update_cert_config(server, nickname, certificate)
    server.may_die()
    if server.is_renewal_master(ldapi):
        update_people_entry(server, certificate)
        update_authority_entry(server, certificate)
    trust = "u,u,Pu" if nickname.startswith(AUDIT) else "CTu,Cu,Cu" if nickname == CA_NICKNAME else None
    if trust:
        try:
            database.set_trust("internal" if server.faults.is_on("trust-update-fails") else nickname, trust)
        except RuntimeError as error:
            where = server.settings.nss_directory
            server.log("ERR", f"Updating trust on certificate {nickname} failed in {where}: {error}")
    if nickname == CA_NICKNAME:
        try:
            update_ca_store(server, ldapi, certificate)
        except LdapError as error:
            server.log("ERR", f"Updating CA certificate failed: {error}")
    server.start_pki()
    return 0

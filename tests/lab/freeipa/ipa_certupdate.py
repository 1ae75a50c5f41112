# SPDX-License-Identifier: MIT
"""Stands in for ipa-certupdate: the CA certificates of the CA store go to ipa/ca.crt and both NSS databases.

The real one also restarts dirsrv, httpd and krb5kdc and resubmits the CA's own request with `-reuse`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.freeipa.server import CA_NICKNAME, Server
from tests.lab.settings import REALM


def main(server: Server, _: Sequence[str]) -> int:
    """0; 1 if the CA store is empty."""
    from cryptography import x509

    from tests.lab.ca import certificate_pem
    from tests.lab.freeipa.updates import CA_STORE_ENTRY
    from tests.lab.nss import NssDatabase

    store = server.connect().read(CA_STORE_ENTRY) or {}
    certificates = [x509.load_der_x509_certificate(value) for value in store.get("cacertificate;binary", [])]
    if not certificates:
        print("no CA certificate in LDAP")
        return 1
    settings = server.settings
    settings.ca_certificate.write_text("".join(map(certificate_pem, certificates)))
    for directory, pin_file, nickname, trust in (
        (settings.nss_directory, settings.pin_file, CA_NICKNAME, "CT,C,C"),
        (settings.dirsrv_configuration, settings.dirsrv_pin_file, f"{REALM} IPA CA", "CT,C,C"),
    ):
        database = NssDatabase(directory, pin_file)
        for certificate in certificates:
            database.add(nickname, certificate, trust)
    print("The ipa-certupdate command was successful")
    return 0

# SPDX-License-Identifier: MIT
"""FreeIPA's meaning of each certificate: found by what certmonger or a signing request says, not by a path."""

from __future__ import annotations

import pytest

from certwitness import catalogue
from certwitness.catalogue import Role, role_of, role_of_request

ALIAS = "/etc/pki/pki-tomcat/alias"
HOOKS = "/usr/libexec/ipa/certmonger"
SUB_CA = "caSigningCert cert-pki-ca 9b4d1c70-0e4c-4d6a-8a5b-0d2f6b1c7e11"


@pytest.mark.parametrize(
    ("nickname", "location", "post_save", "key"),
    [
        ("auditSigningCert cert-pki-ca", ALIAS, f'{HOOKS}/renew_ca_cert "auditSigningCert cert-pki-ca"', "audit"),
        ("ocspSigningCert cert-pki-ca", ALIAS, "", "ocsp"),
        ("subsystemCert cert-pki-ca", ALIAS, "", "subsystem"),
        ("caSigningCert cert-pki-ca", ALIAS, "", "ca"),
        ("Server-Cert cert-pki-ca", ALIAS, "", "pki-server"),
        ("auditSigningCert cert-pki-kra", ALIAS, "", "kra-audit"),
        ("transportCert cert-pki-kra", ALIAS, "", "kra-transport"),
        ("storageCert cert-pki-kra", ALIAS, "", "kra-storage"),
        (SUB_CA, ALIAS, "", "lightweight-ca"),
        ("HSM:subsystemCert cert-pki-ca", ALIAS, "", "subsystem"),
        ("", "/var/lib/ipa/ra-agent.pem", f"{HOOKS}/renew_ra_cert", "ra"),
        ("", "/var/lib/ipa/certs/httpd.crt", f"{HOOKS}/restart_httpd", "https"),
        ("Server-Cert", "/etc/dirsrv/slapd-X", f"{HOOKS}/restart_dirsrv X", "ldaps"),
        ("", "/var/kerberos/krb5kdc/kdc.crt", f"{HOOKS}/renew_kdc_cert", "kdc"),
        ("", "/srv/elsewhere/kdc.pem", '"/usr/lib/ipa/certmonger/renew_kdc_cert"', "kdc"),  # Debian, quoted
        ("", "/var/lib/ipa/ra-agent.pem", "", "ra"),  # its hook was taken away
        ("Server-Cert", "/etc/dirsrv/slapd-X", "", "ldaps"),
        # FreeIPA 4.4
        ("ipaCert", "/etc/httpd/alias", f"{HOOKS}/renew_ra_cert", "ra"),
        ("Server-Cert", "/etc/httpd/alias", f"{HOOKS}/restart_httpd", "https"),
        ("Server-Cert", "/etc/httpd/alias", "", "https"),
        # none of FreeIPA's
        ("Server-Cert", "/etc/pki/nssdb", "", ""),
        ("", "/etc/postfix/server.pem", "/usr/bin/systemctl reload postfix", ""),
        ("", "/etc/pki/tls/certs/www.crt", f"{HOOKS}/restart_httpd", ""),  # another virtual host
        ("subsystemCert cert-pki-tks", ALIAS, "", ""),
        ("caSigningCert cert-pki-ca not-an-uuid", ALIAS, "", ""),
        ("", "/srv/kdc.crt.old", "", ""),
        ("", "", "   ", ""),
    ],
)
def test_role_of_a_request(nickname: str, location: str, post_save: str, key: str) -> None:
    """Nickname first, then the post-save program, then where it is kept; a stranger otherwise."""
    assert role_of(nickname=nickname, location=location, post_save=post_save).key == key


@pytest.mark.parametrize(
    ("nickname", "subject", "principals", "profile", "key"),
    [
        ("subsystemCert cert-pki-ca", "CN=whatever", (), "", "subsystem"),
        (SUB_CA, "CN=VPN,O=X", (), "", "lightweight-ca"),
        ("", "CN=IPA RA,O=IPADOMAIN.COM", (), "caSubsystemCert", "ra"),
        ("ipaCert", "cn=ipa ra,O=IPADOMAIN.COM", (), "", "ra"),
        ("", "CN=KRA Transport Certificate,O=X", (), "", "kra-transport"),
        ("", "CN=ipa.ipadomain.com,O=X", ("HTTP/ipa.ipadomain.com@X",), "", "https"),
        ("", "CN=ipa.ipadomain.com,O=X", ("host/x@X", "ldap/ipa.ipadomain.com@X"), "", "ldaps"),
        ("", "CN=ipa.ipadomain.com,O=X", ("krbtgt/X@X",), "", "kdc"),
        ("Server-Cert cert-pki-ca", "CN=ipa.ipadomain.com,O=X", (), "caServerCert", "pki-server"),
        ("", "CN=IPA RA", (), "", ""),  # no subject base at all
        ("", "CN=IPA RA\\,O=X", (), "", ""),  # the comma belongs to the name
        ("", "CN=ipa.ipadomain.com,O=X", (), "caServerCert", ""),
        ("", "", (), "", ""),
    ],
)
def test_role_of_a_signing_request(
    nickname: str, subject: str, principals: tuple[str, ...], profile: str, key: str
) -> None:
    """By friendlyName, the shared certificates' subjects, or the principal."""
    found = role_of_request(nickname=nickname, subject=subject, principals=principals, profile=profile)
    assert found.key == key


@pytest.mark.parametrize(
    ("key", "stores"),
    [
        ("ca", "repository ca_renewal saved CS.cfg authority CA-store"),
        ("audit", "repository ca_renewal saved CS.cfg"),
        ("subsystem", "repository ca_renewal saved CS.cfg users"),
        ("kra-transport", "repository ca_renewal saved CS.cfg"),
        ("kra-storage", "repository ca_renewal saved CS.cfg"),
        ("pki-server", "repository saved CS.cfg served"),
        ("ra", "repository ca_renewal saved users"),
        ("https", "repository saved served"),
        ("ldaps", "repository saved served"),
        ("kdc", "saved"),
        ("lightweight-ca", "repository saved authority"),
    ],
)
def test_stores_of_each(key: str, stores: str) -> None:
    """In the order in which a renewal reaches them."""
    expected = tuple(store.replace("CA-store", catalogue.CA_STORE) for store in stores.split())
    assert catalogue.BY_KEY[key].stores == expected


def test_a_stranger_is_in_its_own_store_only() -> None:
    """Nothing is known of others."""
    assert catalogue.STRANGER.stores == (catalogue.SAVED,)


def test_the_connector_of_the_kra_is_in_the_ca_configuration() -> None:
    """The transport certificate is in both CS.cfg, under different keys."""
    assert catalogue.BY_KEY["kra-transport"].directives == (
        ("ca", "ca.connector.KRA.transportCert"),
        ("kra", "kra.transport.cert"),
    )


@pytest.mark.parametrize("role", catalogue.ROLES, ids=lambda role: role.key)
def test_shared_are_those_in_ca_renewal(role: Role) -> None:
    """A certificate is shared where it has a cn below cn=ca_renewal; of what is shared the subject is known."""
    assert role.shared == bool(role.ca_renewal)
    assert role.shared == bool(role.common_name or role.key == "ca")


def test_a_command_behind_our_hook() -> None:
    """A request whose hooks are ours keeps its role: it is told by the command behind them."""
    ours = (
        "/usr/libexec/certwitness/post-save --cert 'Server-Cert' -- /usr/libexec/ipa/certmonger/restart_dirsrv EXAMPLE"
    )
    role = catalogue.role_of(nickname="Server-Cert", location="/elsewhere", post_save=ours)
    assert role.key == "ldaps"
    assert catalogue.behind_our_hook("/opt/x --pre-save -- y") == "/opt/x --pre-save -- y"

# SPDX-License-Identifier: MIT
"""Renewals that land where a break wants them: a new certificate for the same key and subject, put into all the stores
that FreeIPA and Dogtag put it into, but for those that the break names."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from tests.lab import entries, full_entries
from tests.lab.ca import certificate_der, certificate_pem
from tests.lab.certmonger import settled
from tests.lab.directory import CA_NICKNAME as DIRSRV_CA
from tests.lab.freeipa.cs_cfg import DIRECTIVES
from tests.lab.freeipa.server import CA_NICKNAME, SHARED
from tests.lab.freeipa.updates import CA_STORE_ENTRY, LEGACY_CA
from tests.lab.full import KRA_DIRECTIVES
from tests.lab.issuing import TRUST
from tests.lab.ldapi import Ldapi
from tests.lab.nss import NssDatabase
from tests.lab.settings import AUTHORITY_ID, HOST, LIGHTWEIGHT_ID
from tests.lab.tracked import HTTP, KDC, LDAP, LIGHTWEIGHT, PKI_SERVER, RA, request_id
from tests.lab.world import World

SUBSYSTEM = "subsystemCert cert-pki-ca"
# DN of a user -> the certificate that it holds.
HOLDERS = {
    "uid=pkidbuser,ou=people,o=ipaca": SUBSYSTEM,
    f"uid=CA-{HOST}-8443,ou=people,o=ipaca": SUBSYSTEM,
    f"uid=KRA-{HOST}-8443,{full_entries.KRA_PEOPLE}": SUBSYSTEM,
    "uid=ipara,ou=people,o=ipaca": RA,
    f"uid=ipakra,{full_entries.KRA_PEOPLE}": RA,
}
AUTHORITY_DNS = {
    CA_NICKNAME: f"cn={AUTHORITY_ID},{entries.AUTHORITIES}",
    LIGHTWEIGHT: f"cn={LIGHTWEIGHT_ID},{entries.AUTHORITIES}",
}


def ldapi(world: World) -> Ldapi:
    """The world's directory."""
    assert world.directory_server is not None
    return world.directory_server.ldapi


def dirsrv_nss(world: World) -> NssDatabase:
    """389-ds's NSS database."""
    assert world.directory_server is not None
    return world.directory_server.nss


def held(world: World, name: str) -> x509.Certificate:
    """What the certificate's own store (NSS database or file) holds."""
    path = pem_path(world, name)
    if path is not None:
        return x509.load_pem_x509_certificate(path.read_bytes())
    certificate = dirsrv_nss(world).certificate(LDAP) if name == LDAP else world.nss_certificate(name)
    assert certificate is not None
    return certificate


def pem_path(world: World, name: str) -> Path | None:
    """The file of a certificate that is kept in one."""
    settings = world.settings
    return {RA: settings.ra_certificate, HTTP: settings.httpd_certificate, KDC: settings.kdc_certificate}.get(name)


def renewed(world: World, name: str) -> x509.Certificate:
    """A new certificate for the key and subject of `name`, of which only Dogtag's repository knows."""
    if name in (HTTP, LDAP, KDC):
        assert world.full is not None
        certificate = world.full.issue(name)
    else:
        certificate = world.issue(name)
    record(world, certificate)
    return certificate


def record(world: World, certificate: x509.Certificate) -> None:
    """Put it into Dogtag's repository."""
    ldapi(world).add(entries.record_of(certificate))


def forget(world: World, certificate: x509.Certificate) -> None:
    """Remove it from Dogtag's repository."""
    ldapi(world).delete(f"cn={certificate.serial_number},{entries.REPOSITORY}")


def land(world: World, name: str, certificate: x509.Certificate, *, but: tuple[str, ...] = ()) -> None:
    """Put `certificate` into every store of `name` but those in `but` (keys of STEPS, or a user's DN).

    The services that serve it are restarted, unless "restart" is among `but`.
    """
    for step, put in STEPS.items():
        if step not in but:
            put(world, name, certificate)
    for dn, what in HOLDERS.items():
        if what == name and dn not in but and "people" not in but:
            replace_person(world, dn, certificate)


def store(world: World, name: str, certificate: x509.Certificate) -> None:
    """The file, or the NSS database: there in place of the old one, with the trust flags that it had."""
    path = pem_path(world, name)
    if path is not None:
        path.write_text(certificate_pem(certificate))
    elif name == LDAP:
        replace_nss(dirsrv_nss(world), LDAP, certificate, "u,u,u")
    else:
        replace_nss(world.nss, name, certificate, TRUST.get(name, "u,u,u"))


def replace_nss(database: NssDatabase, nickname: str, certificate: x509.Certificate, trust: str) -> None:
    """Delete every certificate of that nickname and add the new one; its key stays where it is."""
    while database.certificate(nickname):
        database.delete(nickname)
    database.add(nickname, certificate, trust)


def ca_renewal(world: World, name: str, certificate: x509.Certificate) -> None:
    """cn=ca_renewal, for what is shared."""
    if name in (CA_NICKNAME, *SHARED.values()):
        der = certificate_der(certificate)
        ldapi(world).modify(entries.ca_renewal_dn(name), ("replace", "userCertificate", [der]))


def replace_person(world: World, dn: str, certificate: x509.Certificate) -> None:
    """What FreeIPA's hook does to a user: the certificate is added, the description replaced."""
    ldapi(world).modify(
        dn,
        ("add", "userCertificate", [certificate_der(certificate)]),
        ("replace", "description", [entries.description_of(certificate)]),
    )


def directive(path: Path, key: str, certificate: x509.Certificate | None) -> None:
    """Set a directive of a CS.cfg, or remove it."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}=")]
    if certificate is not None:
        lines.append(f"{key}={base64.b64encode(certificate_der(certificate)).decode()}")
    path.write_text("\n".join(lines) + "\n")


def _cs_cfg(world: World, name: str, certificate: x509.Certificate) -> None:
    if name in DIRECTIVES:
        directive(world.settings.cs_cfg, DIRECTIVES[name], certificate)


def _kra_cs_cfg(world: World, name: str, certificate: x509.Certificate) -> None:
    if name in KRA_DIRECTIVES:
        directive(world.settings.kra_cs_cfg, KRA_DIRECTIVES[name], certificate)


def _authority(world: World, name: str, certificate: x509.Certificate) -> None:
    if name in AUTHORITY_DNS:
        serial = [str(certificate.serial_number)]
        ldapi(world).modify(AUTHORITY_DNS[name], ("replace", "authoritySerial", serial))


def _ca_store(world: World, name: str, certificate: x509.Certificate) -> None:
    if name == CA_NICKNAME:
        ldapi(world).modify(
            CA_STORE_ENTRY,
            ("add", "cACertificate;binary", [certificate_der(certificate)]),
            ("add", "ipaCertIssuerSerial", [full_entries.issuer_and_serial(certificate)]),
        )


def _legacy_ca(world: World, name: str, certificate: x509.Certificate) -> None:
    if name == CA_NICKNAME:
        der = certificate_der(certificate)
        ldapi(world).modify(LEGACY_CA, ("replace", "cACertificate;binary", [der]))


def _ca_crt(world: World, name: str, certificate: x509.Certificate) -> None:
    if name == CA_NICKNAME:
        with open(world.settings.ca_certificate, "a", encoding="ascii") as file:
            file.write(certificate_pem(certificate))


def _dirsrv_ca(world: World, name: str, certificate: x509.Certificate) -> None:
    if name == CA_NICKNAME:
        dirsrv_nss(world).add(DIRSRV_CA, certificate, "CT,C,C")


def certmonger(world: World, name: str, certificate: x509.Certificate) -> None:
    """Let certmonger read the certificate anew: a change of any setting makes it stop and start the request.

    Raises TimeoutError if it does not know `certificate` after that.
    """
    identifier = request_id(name)
    world.certmonger.getcert("start-tracking", "-i", identifier)
    wanted = certificate.serial_number
    world.certmonger.wait_for(
        identifier,
        lambda request: (
            settled(request) and int(world.certmonger.stored(identifier, "cert_serial") or "0", 16) == wanted
        ),
    )


def restart(world: World, name: str, _: x509.Certificate | None = None) -> None:
    """Restart the service that shows this certificate."""
    if name == HTTP:
        world.httpd.stop()
        world.httpd.start()
    elif name == PKI_SERVER:
        world.pki.stop()
        world.pki.start()
    elif name == LDAP:
        assert world.directory_server is not None
        world.directory_server.kill()
        world.directory_server.start()


Step = Callable[[World, str, x509.Certificate], None]
STEPS: dict[str, Step] = {
    "store": store,
    "certmonger": certmonger,
    "ca_renewal": ca_renewal,
    "cs_cfg": _cs_cfg,
    "kra_cs_cfg": _kra_cs_cfg,
    "authority": _authority,
    "ca_store": _ca_store,
    "legacy_ca": _legacy_ca,
    "ca_crt": _ca_crt,
    "dirsrv_ca": _dirsrv_ca,
    "restart": restart,
}

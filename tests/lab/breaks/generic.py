# SPDX-License-Identifier: MIT
"""What can be wrong with any certificate: its dates, its key, its PIN, its issuer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509

from tests.lab.breaks.landing import dirsrv_nss, forget, held, land, record
from tests.lab.breaks.registry import GENERIC, breaks
from tests.lab.ca import TestCA, certificate_pem, key_of, key_pem, subject
from tests.lab.issuing import PIN, common_name
from tests.lab.settings import HOST
from tests.lab.tracked import KDC, LDAP, request_id
from tests.lab.world import World

OCSP = "ocspSigningCert cert-pki-ca"
STORAGE = "storageCert cert-pki-kra"
DAY = timedelta(days=1)


@breaks("expired", GENERIC, "The KDC's certificate expired ten days ago, and certmonger is told not to renew it.")
def _expired(world: World) -> None:
    _instead(world, lifetime=-10 * DAY, not_before=_now() - 730 * DAY)


@breaks("soon-expired", GENERIC, "The KDC's certificate expires in five days, and certmonger is told not to renew it.")
def _soon_expired(world: World) -> None:
    _instead(world, lifetime=5 * DAY, not_before=_now() - 725 * DAY)


@breaks("not-yet-valid", GENERIC, "The KDC's certificate is valid from tomorrow only.")
def _not_yet_valid(world: World) -> None:
    _instead(world, lifetime=720 * DAY, not_before=_now() + DAY)


@breaks("nss-key-missing", GENERIC, "The NSS database has lost the private key of ocspSigningCert.")
def _nss_key_missing(world: World) -> None:
    certificate = held(world, OCSP)
    world.nss.delete_pair(OCSP)
    world.nss.add(OCSP, certificate)


@breaks("pem-key-mismatch", GENERIC, "krb5kdc/kdc.key is not the key of kdc.crt.")
def _pem_key_mismatch(world: World) -> None:
    world.settings.kdc_key.write_bytes(key_pem(key_of("somebody else")))


@breaks("wrong-pin", GENERIC, "The PIN file of 389-ds's NSS database has the wrong PIN.")
def _wrong_pin(world: World) -> None:
    world.settings.dirsrv_pin_file.write_text("Wrong.123")


@breaks("pki-wrong-pin", GENERIC, "pki/password.conf has the wrong PIN for pki/alias, certmonger has the right one.")
def _pki_wrong_pin(world: World) -> None:
    path = world.settings.password_conf
    path.write_text(path.read_text().replace(PIN, "Wrong.123"))


@breaks("chain-foreign", GENERIC, "storageCert of the KRA was issued by another CA of the same name.")
def _chain_foreign(world: World) -> None:
    before = held(world, STORAGE)
    other = TestCA(first_serial=1000)
    other.key = key_of("somebody else")
    certificate = other.issue(subject(common_name(STORAGE)), key_of(STORAGE).public_key())
    record(world, certificate)
    land(world, STORAGE, certificate)
    forget(world, before)


@breaks("store-missing", GENERIC, "krb5kdc/kdc.crt is gone.")
def _store_missing(world: World) -> None:
    world.settings.kdc_certificate.unlink()


@breaks("store-not-pem", GENERIC, "krb5kdc/kdc.crt holds something that is no certificate.")
def _store_not_pem(world: World) -> None:
    pem = certificate_pem(held(world, KDC))
    world.settings.kdc_certificate.write_text(pem.replace("MII", "!!!", 1))


@breaks("nss-certificate-missing", GENERIC, "389-ds's NSS database has no Server-Cert any more.")
def _nss_certificate_missing(world: World) -> None:
    dirsrv_nss(world).delete(LDAP)


def _instead(world: World, *, lifetime: timedelta, not_before: datetime) -> x509.Certificate:
    """Give the KDC another certificate, as if it had always been that one; certmonger knows it and leaves it alone."""
    before = held(world, KDC)
    key = key_of(KDC).public_key()
    certificate = world.ca.issue(subject(HOST), key, lifetime=lifetime, not_before=not_before, server=True, dns=[HOST])
    record(world, certificate)
    forget(world, before)
    world.certmonger.getcert("start-tracking", "-i", request_id(KDC), "-R")
    world.certmonger.wait_for(request_id(KDC))
    land(world, KDC, certificate)
    return certificate


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)

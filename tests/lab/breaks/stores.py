# SPDX-License-Identifier: MIT
"""CS.cfg, the RA's files, authorities, CA certificates, trust flags and certmonger's own view: rows 9 to 16."""

from __future__ import annotations

from tests.lab.breaks.landing import directive, dirsrv_nss, land, renewed
from tests.lab.breaks.registry import breaks
from tests.lab.ca import key_of, key_pem
from tests.lab.directory import CA_NICKNAME as DIRSRV_CA
from tests.lab.freeipa.cs_cfg import DIRECTIVES
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.tracked import LIGHTWEIGHT
from tests.lab.world import World

OCSP = "ocspSigningCert cert-pki-ca"
AUDIT = "auditSigningCert cert-pki-ca"
TRANSPORT = "transportCert cert-pki-kra"
STORAGE = "storageCert cert-pki-kra"


@breaks("cs-cfg-old", 9, "A new ocspSigningCert landed everywhere but in the CA's CS.cfg.")
def _cs_cfg_old(world: World) -> None:
    land(world, OCSP, renewed(world, OCSP), but=("cs_cfg",))


@breaks("cs-cfg-missing-directive", 9, "The CA's CS.cfg has no ca.ocsp_signing.cert, but the other certificates.")
def _cs_cfg_missing(world: World) -> None:
    directive(world.settings.cs_cfg, DIRECTIVES[OCSP], None)


@breaks("connector-old", 10, "A new transportCert of the KRA landed everywhere but in the CA's connector to the KRA.")
def _connector_old(world: World) -> None:
    land(world, TRANSPORT, renewed(world, TRANSPORT), but=("cs_cfg",))


@breaks("kra-cs-cfg-old", 10, "A new storageCert landed everywhere but in the KRA's CS.cfg.")
def _kra_cs_cfg_old(world: World) -> None:
    land(world, STORAGE, renewed(world, STORAGE), but=("kra_cs_cfg",))


@breaks("ra-key-mismatch", 12, "ra-agent.key is not the key of ra-agent.pem.")
def _ra_key_mismatch(world: World) -> None:
    world.settings.ra_key.write_bytes(key_pem(key_of("somebody else")))


@breaks("ra-key-mode", 12, "ra-agent.key can be read by everybody.")
def _ra_key_mode(world: World) -> None:
    world.settings.ra_key.chmod(0o644)


@breaks(
    "authority-serial-old", 13, "A new caSigningCert landed everywhere but in authoritySerial of the host authority."
)
def _authority_old(world: World) -> None:
    land(world, CA_NICKNAME, renewed(world, CA_NICKNAME), but=("authority",))


@breaks(
    "lightweight-authority-serial-old",
    13,
    "A new certificate of the lightweight CA landed everywhere but in its authoritySerial.",
)
def _lightweight_old(world: World) -> None:
    land(world, LIGHTWEIGHT, renewed(world, LIGHTWEIGHT), but=("authority",))


@breaks("ca-store-old", 14, "A new caSigningCert landed everywhere but in the CA store, cn=certificates.")
def _ca_store_old(world: World) -> None:
    land(world, CA_NICKNAME, renewed(world, CA_NICKNAME), but=("ca_store",))


@breaks("legacy-ca-old", 14, "A new caSigningCert landed everywhere but in cn=CAcert.")
def _legacy_ca_old(world: World) -> None:
    land(world, CA_NICKNAME, renewed(world, CA_NICKNAME), but=("legacy_ca",))


@breaks("ca-crt-old", 14, "A new caSigningCert landed everywhere but in ipa/ca.crt.")
def _ca_crt_old(world: World) -> None:
    land(world, CA_NICKNAME, renewed(world, CA_NICKNAME), but=("ca_crt",))


@breaks("nss-ca-missing", 14, "389-ds's NSS database has no CA certificate any more.")
def _nss_ca_missing(world: World) -> None:
    dirsrv_nss(world).delete(DIRSRV_CA)


@breaks("nss-ca-old", 14, "A new caSigningCert landed everywhere but in 389-ds's NSS database.")
def _nss_ca_old(world: World) -> None:
    land(world, CA_NICKNAME, renewed(world, CA_NICKNAME), but=("dirsrv_ca",))


@breaks("trust-audit-lost", 15, "auditSigningCert has lost its trust flag P: u,u,u instead of u,u,Pu.")
def _trust_audit_lost(world: World) -> None:
    world.nss.set_trust(AUDIT, "u,u,u")


@breaks("trust-ca-lost", 15, "caSigningCert has lost its trust flags: u,u,u instead of CTu,Cu,Cu.")
def _trust_ca_lost(world: World) -> None:
    world.nss.set_trust(CA_NICKNAME, "u,u,u")


@breaks("certmonger-old-view", 16, "A new ocspSigningCert was put everywhere behind certmonger's back.")
def _certmonger_old_view(world: World) -> None:
    land(world, OCSP, renewed(world, OCSP), but=("certmonger",))

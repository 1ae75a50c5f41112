# SPDX-License-Identifier: MIT
"""Dogtag's users and the certificates that they must hold: rows 1 to 4, 8 and 11."""

from __future__ import annotations

from tests.lab import entries
from tests.lab.breaks.landing import HOLDERS, SUBSYSTEM, held, land, ldapi, renewed
from tests.lab.breaks.registry import breaks
from tests.lab.ca import certificate_der
from tests.lab.settings import HOST
from tests.lab.tracked import RA
from tests.lab.world import World

PKIDBUSER = entries.person_dn("pkidbuser")
CA_HOST = entries.person_dn(f"CA-{HOST}-8443")
IPARA = entries.person_dn("ipara")
IPAKRA = next(dn for dn in HOLDERS if dn.startswith("uid=ipakra,"))


@breaks(
    "pkidbuser-old-certificate",
    1,
    "A new subsystemCert landed everywhere but at pkidbuser, which has the previous certificate and serial number.",
)
def _old_certificate(world: World) -> None:
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM), but=(PKIDBUSER,))


@breaks(
    "subsystem-users-old-certificate",
    1,
    "A new subsystemCert landed everywhere but at all of its users: pkidbuser, CA-<host>-8443 and KRA-<host>-8443.",
)
def _old_at_all_users(world: World) -> None:
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM), but=("people",))


@breaks(
    "pkidbuser-old-description",
    2,
    "pkidbuser has the new subsystemCert, but its description still names the previous serial number.",
)
def _old_description(world: World) -> None:
    certificate = renewed(world, SUBSYSTEM)
    land(world, SUBSYSTEM, certificate, but=(PKIDBUSER,))
    ldapi(world).modify(PKIDBUSER, ("add", "userCertificate", [certificate_der(certificate)]))


@breaks("pkidbuser-no-seealso", 3, "pkidbuser has no seeAlso.")
def _no_see_also(world: World) -> None:
    ldapi(world).modify(PKIDBUSER, ("delete", "seeAlso", []))


@breaks("pkidbuser-wrong-seealso", 3, "pkidbuser's seeAlso names another subject.")
def _wrong_see_also(world: World) -> None:
    ldapi(world).modify(PKIDBUSER, ("replace", "seeAlso", ["CN=CA Subsystem,O=EXAMPLE.ORG"]))


# 389-ds 2.3.1 with `verifycert on` takes of several entries the one that holds the certificate; here both do, and it
# takes the other one.
@breaks(
    "pkidbuser-second-seealso",
    3,
    "CA-<host>-8443 has pkidbuser's seeAlso too, and 389-ds takes pki-tomcatd for that user.",
)
def _second_see_also(world: World) -> None:
    ldapi(world).modify(CA_HOST, ("add", "seeAlso", [entries.name_of(held(world, SUBSYSTEM).subject)]))


@breaks(
    "pkidbuser-binary-beside",
    4,
    "pkidbuser has the new subsystemCert in userCertificate, but the previous one in userCertificate;binary hides it.",
)
def _binary_beside(world: World) -> None:
    before = certificate_der(held(world, SUBSYSTEM))
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM))
    ldapi(world).modify(PKIDBUSER, ("add", "userCertificate;binary", [before]))


@breaks(
    "pkidbuser-binary-only",
    4,
    "pkidbuser has its certificate in userCertificate;binary only: 389-ds takes it, Dogtag does not see it.",
)
def _binary_only(world: World) -> None:
    _to_binary(world, PKIDBUSER)


@breaks("ipara-binary-only", 4, "ipara has its certificate in userCertificate;binary only.")
def _ipara_binary_only(world: World) -> None:
    _to_binary(world, IPARA)


@breaks("ra-old-at-ipara", 11, "A new RA certificate landed everywhere but at ipara.")
def _ra_old_at_ipara(world: World) -> None:
    land(world, RA, renewed(world, RA), but=(IPARA,))


@breaks("ra-old-at-ipakra", 11, "A new RA certificate landed everywhere but at ipakra, its user in the KRA.")
def _ra_old_at_ipakra(world: World) -> None:
    land(world, RA, renewed(world, RA), but=(IPAKRA,))


@breaks("ipara-old-description", 11, "ipara has the new RA certificate, but its description names the previous one.")
def _ipara_old_description(world: World) -> None:
    certificate = renewed(world, RA)
    land(world, RA, certificate, but=(IPARA,))
    ldapi(world).modify(IPARA, ("add", "userCertificate", [certificate_der(certificate)]))


def _to_binary(world: World, dn: str) -> None:
    entry = ldapi(world).read(dn)
    assert entry is not None
    ldapi(world).modify(
        dn, ("delete", "userCertificate", []), ("add", "userCertificate;binary", entry["usercertificate"])
    )

# SPDX-License-Identifier: MIT
"""cn=ca_renewal, the renewal master's role, and what lies between two CA servers: rows 4 to 8, 17, 21 and 24."""

from __future__ import annotations

from tests.lab import entries, full_entries
from tests.lab.breaks.landing import SUBSYSTEM, ca_renewal, forget, held, land, ldapi, renewed
from tests.lab.breaks.registry import breaks
from tests.lab.entries import IPA_CONFIG, MASTER
from tests.lab.settings import REPLICA
from tests.lab.world import World

OCSP = "ocspSigningCert cert-pki-ca"
ROLE = "caRenewalMaster"
OTHER = f"cn={REPLICA},{full_entries.MASTERS}"


@breaks("ca-renewal-binary", 4, "The subsystemCert of cn=ca_renewal is in userCertificate;binary only.")
def _binary(world: World) -> None:
    dn = entries.ca_renewal_dn(SUBSYSTEM)
    values = [entries.der(held(world, SUBSYSTEM))]
    ldapi(world).modify(dn, ("delete", "userCertificate", []), ("add", "userCertificate;binary", values))


@breaks("ca-renewal-older", 5, "A new subsystemCert landed everywhere but in cn=ca_renewal (the helper gave up).")
def _older(world: World) -> None:
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM), but=("ca_renewal",))


@breaks("ca-renewal-missing", 5, "cn=ca_renewal has no entry for ocspSigningCert.")
def _missing(world: World) -> None:
    ldapi(world).delete(entries.ca_renewal_dn(OCSP))


@breaks(
    "ca-renewal-newer",
    6,
    "cn=ca_renewal has a newer subsystemCert, which the renewal master did not save and pkidbuser does not have.",
)
def _newer(world: World) -> None:
    ca_renewal(world, SUBSYSTEM, renewed(world, SUBSYSTEM))


@breaks(
    "replica-older",
    7,
    "Another server is the renewal master and renewed subsystemCert; this one still has the previous certificate.",
)
def _replica_older(world: World) -> None:
    _other_is_master(world)
    land(world, SUBSYSTEM, renewed(world, SUBSYSTEM), but=("store", "certmonger", "cs_cfg", "kra_cs_cfg"))


@breaks(
    "ipaca-not-replicated",
    8,
    "This server fetched the new subsystemCert of another renewal master, but o=ipaca here has not heard of it.",
)
def _not_replicated(world: World) -> None:
    _other_is_master(world)
    certificate = renewed(world, SUBSYSTEM)
    land(world, SUBSYSTEM, certificate, but=("people",))
    forget(world, certificate)


@breaks("no-renewal-master", 17, "No CA server is the renewal master.")
def _no_master(world: World) -> None:
    ldapi(world).modify(MASTER, ("delete", "ipaConfigString", [ROLE]))


@breaks("two-renewal-masters", 17, "Two CA servers are the renewal master.")
def _two_masters(world: World) -> None:
    ldapi(world).modify(f"cn=CA,{OTHER}", ("add", "ipaConfigString", [ROLE]))


@breaks("master-without-kra", 17, "The renewal master is a CA server without KRA, while this one has a KRA.")
def _without_kra(world: World) -> None:
    ldapi(world).modify(MASTER, ("delete", "ipaConfigString", [ROLE]))
    ldapi(world).modify(f"cn=CA,{OTHER}", ("add", "ipaConfigString", [ROLE]))


@breaks("wrong-subject-base", 21, "cn=ipaConfig names another subject base than that of the certificates.")
def _subject_base(world: World) -> None:
    ldapi(world).modify(IPA_CONFIG, ("replace", "ipaCertificateSubjectBase", ["O=EXAMPLE.ORG"]))


@breaks("not-in-repository", 24, "Dogtag's repository does not know the ocspSigningCert that is in use.")
def _not_in_repository(world: World) -> None:
    forget(world, held(world, OCSP))


@breaks("issued-not-saved", 6, "Dogtag issued a newer ocspSigningCert that never reached this server's stores.")
def _issued_not_saved(world: World) -> None:
    renewed(world, OCSP)


def _other_is_master(world: World) -> None:
    """The role goes to the replica, which has a KRA too."""
    ldapi(world).modify(MASTER, ("delete", "ipaConfigString", [ROLE]))
    ldapi(world).modify(f"cn=CA,{OTHER}", ("add", "ipaConfigString", [ROLE]))
    service = {"objectClass": ["top", "nsContainer", "ipaConfigObject"], "ipaConfigString": ["enabledService"]}
    ldapi(world).add((f"cn=KRA,{OTHER}", service))

# SPDX-License-Identifier: MIT
"""What certmonger has been told, and how its requests fare: row 18, and a failure that looks like health."""

from __future__ import annotations

from tests.lab.breaks.registry import GENERIC, breaks
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.tracked import RENEW_AGENT
from tests.lab.world import World, request_id

OCSP = "ocspSigningCert cert-pki-ca"
REUSE = f"{RENEW_AGENT}-reuse"


@breaks("request-on-reuse", 18, "The request of caSigningCert was left on the CA dogtag-ipa-ca-renew-agent-reuse.")
def _on_reuse(world: World) -> None:
    _getcert(world, "start-tracking", "-i", request_id(CA_NICKNAME), "-c", REUSE)
    world.certmonger.wait_for(request_id(CA_NICKNAME))


@breaks("ca-definition-missing", 18, "certmonger has no CA dogtag-ipa-ca-renew-agent-reuse.")
def _ca_missing(world: World) -> None:
    _getcert(world, "remove-ca", "-c", REUSE)


@breaks("tracking-missing", 18, "certmonger does not track ocspSigningCert.")
def _tracking_missing(world: World) -> None:
    _getcert(world, "stop-tracking", "-i", request_id(OCSP))


@breaks(
    "ca-error-monitoring",
    GENERIC,
    "Dogtag refused the renewal of ocspSigningCert: the request is MONITORING again, and only its ca-error tells.",
)
def _ca_error(world: World) -> None:
    with world.faults.active("ra-refused"):
        world.renew(OCSP)


def _getcert(world: World, command: str, *arguments: str) -> None:
    done = world.certmonger.getcert(command, *arguments)
    if done.returncode:
        raise RuntimeError(f"getcert {command} ended with {done.returncode}: {done.stdout}{done.stderr}")

# SPDX-License-Identifier: MIT
"""Every certificate of a CA server, renewed under our eyes: by the hooks, and by `certwitness watch` alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import broken
from tests.integration.witnessing import BY_HOOKS, BY_WATCH, Saves
from tests.lab.tracked import ALL
from tests.lab.world import World

pytestmark = pytest.mark.lab

CA = "caSigningCert cert-pki-ca"
# The CA's own certificate is in all stores but this host's copies of it: FreeIPA leaves them to ipa-certupdate.
# FreeIPA never writes the KRA's CS.cfg.
KRA_CS_CFG = {("cs-cfg", name) for name in ALL if name.endswith("cert-pki-kra")}
WARNING = 1
VERDICTS = {**dict.fromkeys(ALL, "landed"), CA: "did not land: CA store"}


@pytest.fixture(scope="module")
def saves() -> Iterator[Saves]:
    """One world for the module."""
    with World(full=True) as world:
        yield Saves(world)


@pytest.mark.parametrize("mode", [BY_HOOKS, BY_WATCH])
def test_a_good_renewal_of_every_certificate(saves: Saves, mode: str) -> None:
    """Hooks and `watch` come to the same verdict about each of the thirteen, nothing is blocked, and all is well when
    ipa-certupdate has done its part."""
    world = saves.world
    with saves.by(mode):
        assert {name: saves.outcome(name) for name in ALL} == VERDICTS
        events = saves.events()
        assert not [event for event in events if event["event"] in ("hold.placed", "noticed") or "skipped" in event]
        assert not [event for event in events if "observer" in event]
        assert {event["by"] for event in events if event["event"] == "verified"} == {
            {BY_HOOKS: "post-save", BY_WATCH: "watch"}[mode]
        }
        world.certmonger.getcert("list")
        assert (world.pki.running, world.httpd.running, world.krb5kdc.running) == (True, True, True)
        saves.admin("ipa-certupdate")
        assert saves.certwitness("verify").returncode == WARNING
        assert broken.accusing(broken.examine(world)) == KRA_CS_CFG
        assert saves.certwitness("renewals").returncode == 0
        told = [event for event in saves.events() if event["event"] == "verified" and event["nickname"] == CA]
        assert [event["outcome"] for event in told] == ["did not land", "landed"]

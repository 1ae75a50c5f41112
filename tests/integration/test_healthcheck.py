# SPDX-License-Identifier: MIT
"""What the real ipa-healthcheck says of certmonger's requests once certwitness is registered."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwitness.cli import run
from tests.integration.conftest import REPOSITORY
from tests.lab.tracked import ALL, PKI, request_id, tracking
from tests.lab.world import World

pytestmark = pytest.mark.lab

PROGRAM = REPOSITORY / "tests" / "lab" / "ipa_healthcheck.py"
PYTHON = "/usr/bin/python3"
MISSING = 3


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A full one."""
    with World(full=True) as world:
        yield world


def expected(world: World) -> list[dict[str, str]]:
    """What IPACertTracking expects of this server: the properties that it compares, as FreeIPA sets them."""
    found = []
    for name in ALL:
        how, properties = tracking(world.settings, name), {}
        options = dict(zip(how.where[::2], how.where[1::2]))
        if "-n" in options:
            properties = {"cert-database": options["-d"], "cert-nickname": options["-n"]}
        else:
            properties = {"cert-file": options["-f"], "key-file": options["-k"]}
        properties.update({"ca-name": how.ca, "cert-postsave-command": how.after})
        if how.before:
            properties["cert-presave-command"] = how.before
        if name in PKI:
            properties["template-profile"] = how.profile
        found.append(properties)
    return found


def healthcheck(world: World) -> list[list[str]]:
    """IPACertTracking's results: (result, key)."""
    environment = {"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": world.certmonger.bus_address}
    done = subprocess.run(
        [PYTHON, "-I", str(PROGRAM)], input=json.dumps(expected(world)), env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode == MISSING:
        pytest.skip(f"no ipa-healthcheck for {PYTHON}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"no {PYTHON}")
def test_only_hooks_are_reported(world: World) -> None:
    """Helpers and gate change nothing for IPACertTracking; with --hooks each request is an ERROR and a WARNING, as the
    plan says, and without them all is well again."""
    config = ["--config", str(world.certwitness_config)]
    well = Counter({"SUCCESS": len(ALL)})
    try:
        assert Counter(result for result, _ in healthcheck(world)) == well
        assert run([*config, "register", "--gate", "--yes"]) == 0
        assert Counter(result for result, _ in healthcheck(world)) == well
        assert run([*config, "register", "--hooks", "--yes"]) == 0
        found = healthcheck(world)
        assert Counter(result for result, _ in found) == {"ERROR": len(ALL), "WARNING": len(ALL)}
        assert {key for result, key in found if result == "WARNING"} == {request_id(name) for name in ALL}
        assert run([*config, "unregister", "--hooks", "--yes"]) == 0
        assert Counter(result for result, _ in healthcheck(world)) == well
    finally:
        run([*config, "unregister", "--yes"])

# SPDX-License-Identifier: MIT
"""Examine a world of the lab, say what the checks accuse, and heal it with the commands of its own findings.

In-process: the configuration is the one that the world wrote for certwitness, the stores are the real ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from datetime import datetime

from certwitness import config, host, verification
from certwitness.certificates import Certificate
from certwitness.checks import CHECKS
from certwitness.checks.check import Check
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.findings import UNKNOWN as COULD_NOT_LOOK
from certwitness.verification import Result
from tests.lab.world import World

ACCUSING = (CRITICAL, ERROR, WARNING)
HEALING_S = 240  # a healing may restart every service, and renew once more


def examine(
    world: World,
    *,
    checks: Iterable[Check] = CHECKS,
    certificates: Sequence[str] = (),
    expect: Certificate | None = None,
    now: datetime | None = None,
) -> list[Result]:
    """Run the checks (all without `checks`) on the world, as ``certwitness check`` does."""
    there = host.load(config.load(str(world.certwitness_config)))
    with Evidence(there, expect=expect, now=now) as evidence:
        return list(verification.run(evidence, checks, certificates))


def findings(results: Iterable[Result], *levels: str) -> list[Finding]:
    """The findings of these levels (all without any), in the checks' order."""
    return [one for result in results for one in result.findings if not levels or one.level in levels]


def accusing(results: Iterable[Result]) -> set[tuple[str, str]]:
    """(check, certificate) of all that says that something is wrong."""
    return {(one.check, one.certificate) for one in findings(results, *ACCUSING)}


def levels(results: Iterable[Result]) -> set[tuple[str, str, str]]:
    """(check, certificate, level) of all that says that something is wrong."""
    return {(one.check, one.certificate, one.level) for one in findings(results, *ACCUSING)}


def unknown(results: Iterable[Result]) -> set[tuple[str, str]]:
    """(check, certificate) of all that could not be looked at."""
    return {(one.check, one.certificate) for one in findings(results, COULD_NOT_LOOK)}


def commands(results: Iterable[Result]) -> list[str]:
    """The commands of all that accuses, each once, in order."""
    return list(dict.fromkeys(line for one in findings(results, *ACCUSING) for line in one.commands))


def heal(world: World, results: Iterable[Result]) -> str:
    """Run the commands of all accusing findings as an administrator pastes them, with the world's tools first on PATH.
    Returns what they printed. Raises AssertionError, with that, where one fails."""
    script = "\n".join(commands(results))
    done = subprocess.run(
        ["sh", "-e"],
        input=script,
        env={**os.environ, "PATH": f"{world.settings.path('bin')}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HEALING_S,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n\nexit {done.returncode}: {done.stdout}"
    return done.stdout

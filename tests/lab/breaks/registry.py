# SPDX-License-Identifier: MIT
"""The catalogue of breaks, and how a break gets into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.world import World

GENERIC = 0  # the row of what holds for every certificate, and so is in no row of freeipa.md section 6


@dataclass(frozen=True)
class Break:
    """One inconsistency: `row` of freeipa.md section 6, what is wrong then in one sentence, and how to make it in a
    healthy full world (or in one with other breaks)."""

    name: str
    row: int
    description: str
    apply: Callable[[World], None]


BREAKS: dict[str, Break] = {}


def breaks(name: str, row: int, description: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Enter the function below into the catalogue."""

    def enter(apply: Callable[[World], None]) -> Callable[[World], None]:
        BREAKS[name] = Break(name, row, description, apply)
        return apply

    return enter

# SPDX-License-Identifier: MIT
"""`certwitness checks`: what is compared, what a failure means, and who else would find it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from certwitness.cli.options import config_option, json_option
from certwitness.render.findings import STYLES, labelled
from certwitness.render.runs import Line
from certwitness.render.tables import on_terminal, styled, width

if TYPE_CHECKING:
    from certwitness.checks.check import Check


@click.command("checks")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Every check of `certwitness verify`: its name, the worst that it can find, what it compares, what its failure
    means, and which other tool finds that.

    Exit status: 0.
    """
    from certwitness.checks import CHECKS

    if as_json:
        click.echo(json.dumps([as_object(check) for check in CHECKS], indent=1))
    else:
        terminal = on_terminal()
        for line in lines(CHECKS, width() if terminal else 0):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
    ctx.exit(0)


def as_object(check: Check) -> dict[str, Any]:
    """A check's stable form for programs; "of" is "host" or "certificate"."""
    return {
        "check": check.name,
        "level": check.level,
        "of": "host" if check.of_host else "certificate",
        "compares": check.compares,
        "failure": check.failure,
        "found_by": check.found_by,
        "rows": list(check.rows),
    }


def lines(checks: Iterable[Check], columns: int = 0) -> Iterator[Line]:
    """The checks for people, a paragraph each, with a blank line between them."""
    for number, check in enumerate(checks):
        if number:
            yield Line("")
        scope = "the host" if check.of_host else "each certificate"
        yield Line(f"{check.name}  {check.level}, {scope}", STYLES[check.level])
        yield from labelled("  compares  ", check.compares, columns)
        yield from labelled("  failure   ", check.failure, columns)
        yield from labelled("  found by  ", check.found_by, columns)

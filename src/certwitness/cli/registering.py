# SPDX-License-Identifier: MIT
"""What `register`, `unregister` and `registration --reapply` share: show a plan, ask, carry it out, tell the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from certwitness import places
from certwitness.render.tables import on_terminal, styled

if TYPE_CHECKING:
    from certwitness.config import Config
    from certwitness.registration.apply import Outcome
    from certwitness.registration.plan import Change, Plan
    from certwitness.render.runs import Line

WARNING, FAILED, UNKNOWN = 1, 2, 3
# What follows up each save, compares the stores daily, and looks hourly whether all is still registered.
UNITS = ("certwitness-watch.service", "certwitness-verify.timer", "certwitness-registration.timer")
# For certmonger's answers: it gives none while it waits for a helper.
READ_S = 60.0


def bus_of(config: Config) -> str:
    """certmonger's bus. `host.load` would need a realm, and a server that has lost it must get rid of us, too."""
    return config.values.get("certmonger", {}).get("bus", "system")


def show(lines: Iterable[Line]) -> None:
    """Print lines, marked on a terminal."""
    terminal = on_terminal()
    for line in lines:
        sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
    sys.stdout.flush()


def carry_out(
    ctx: click.Context,
    config: Config,
    it: Plan,
    why: str,
    flags: Mapping[str, bool],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Show the plan, ask, make the changes. Returns the exit status. Raises CertwitnessError: nothing was changed."""
    from certwitness.registration import apply
    from certwitness.render import registration as render

    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: add --yes or --dry-run.", ctx)
    status = WARNING if it.left else 0
    if not as_json:
        show(render.plan(it, why))
    if dry_run:
        told = f"{len(it.changes)} to be changed; nothing was" if it.changes else _nothing(it, why)
        _end(it, None, status, as_json, told)
        return status
    if it.changes and not yes:
        _ask(ctx, len(it.changes))

    def tell(change: Change) -> None:
        if not as_json:
            show([render.made(change)])

    outcome = apply.apply(it, config, bus_of(config), why, flags, tell)
    if not as_json:
        show(render.outcome(outcome, why))
    if outcome.stopped:
        status = FAILED
    elif it.left or outcome.left or outcome.problems:
        status = WARNING
    if outcome.done:
        told = "" if outcome.stopped else _done(len(outcome.done), why)
    else:
        told = "" if outcome.stopped or outcome.left else _nothing(it, why)
    _end(it, outcome, status, as_json, told)
    return status


def _ask(ctx: click.Context, count: int) -> None:
    """Leave with UNKNOWN if the answer is anything but yes."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked, the input is no terminal: add --yes, or --dry-run to look.", ctx)
    try:
        agreed = click.confirm(f"Make {'this change' if count == 1 else f'these {count} changes'}?")
    except click.Abort:
        click.echo()
        agreed = False
    if not agreed:
        click.echo("nothing was changed")
        ctx.exit(UNKNOWN)


def _done(count: int, why: str) -> str:
    if why != "register":
        return f"{count} changed; see: certwitness registration"
    steps = [
        f"{count} changed. Next:",
        "  certwitness registration    whether it is still so",
        f"  systemctl enable --now {' '.join(UNITS)}",
        "  certwitness unregister      puts back what was there",
    ]
    return "\n".join(step for step in steps if places.is_installed or "systemctl" not in step)


def _nothing(it: Plan, why: str) -> str:
    if it.left:
        return "nothing else to change"
    return "nothing to do: nothing is registered" if why == "unregister" else "nothing to do: all is as it is to be"


def _end(it: Plan, outcome: Outcome | None, status: int, as_json: bool, told: str) -> None:
    from certwitness.render import registration as render

    if not as_json:
        if told:
            click.echo(told)
        return
    answer: dict[str, Any] = {"plan": render.plan_as_json(it), "status": status}
    if outcome is not None:
        answer["done"] = [render.change_as_json(change) for change in outcome.done]
        answer["not_done"] = [render.change_as_json(change) for change in outcome.undone]
        answer["left"] = render.left_as_json(outcome.left)
        answer["problems"] = outcome.problems
        answer["stopped"] = outcome.stopped or None
    click.echo(json.dumps(answer, indent=1))

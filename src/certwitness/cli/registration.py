# SPDX-License-Identifier: MIT
"""`certwitness registration`: what is wrapped, what is not, and what became of it since."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from certwitness.cli.options import config_option, configuration, json_option
from certwitness.cli.registering import FAILED, READ_S, WARNING, bus_of, carry_out, show

if TYPE_CHECKING:
    from certwitness.config import Config
    from certwitness.registration.drift import Standing
    from certwitness.registration.plan import Plan
    from certwitness.registration.state import State
    from certwitness.registration.wrapping import Wrapping

CANNOT_RUN = 2


@click.command("registration")
@click.option("--reapply", is_flag=True, help="Put back what drifted, if the configuration permits it: for the timer.")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, reapply: bool, as_json: bool) -> None:
    """What is registered, what is not, what drifted since and why: an upgrade tracked the certificates anew, somebody
    changed a helper, a program is gone.

    --reapply puts back what drifted, and nothing else, if [registration] reapply = yes. Each change is an event.

    Exit status: 0 as registered, 1 drifted, 2 something registered cannot be run: renewals fail, 3 certmonger cannot be
    asked.
    """
    from certwitness.registration import state
    from certwitness.registration.wrapping import Wrapping
    from certwitness.render import registration as render

    config = configuration(ctx)
    wrapping = Wrapping(config)
    known, problem = state.read(config)
    if problem:
        click.echo(f"certwitness: {problem}", err=True)
    found = _look(config, known, wrapping)
    status = max(_status(found), WARNING if problem else 0)
    if not (reapply and status):
        if as_json:
            click.echo(json.dumps({"status": status, "registration": [one.as_json() for one in found]}, indent=1))
        else:
            show([*render.standings(found), render.summary(found)])
        ctx.exit(status)
    if not as_json:
        show(render.standings(found))
    if not config.reapply:
        click.echo("certwitness: nothing was put back: [registration] reapply is not yes", err=True)
        if as_json:
            click.echo(json.dumps({"status": status, "registration": [one.as_json() for one in found]}, indent=1))
        ctx.exit(status)
    from certwitness.registration.apply import REAPPLY

    it = _mending(config, known, wrapping)
    ended = carry_out(ctx, config, it, REAPPLY, {}, dry_run=False, yes=True, as_json=as_json)
    after = _status(_look(config, state.read(config)[0], wrapping))
    ctx.exit(ended if ended == FAILED else after)


def _look(config: Config, known: State, wrapping: Wrapping) -> list[Standing]:
    """Everything, as it stands. Raises StoreError: certmonger cannot be asked."""
    from certwitness import certmonger
    from certwitness.registration import drift

    there = certmonger.read(bus_of(config), timeout_s=READ_S)
    return [*drift.cas(there, known, wrapping), *drift.hooks(there, known, wrapping), *drift.gate(config, known)]


def _mending(config: Config, known: State, wrapping: Wrapping) -> Plan:
    """What it takes to have everything as it was registered."""
    from certwitness import certmonger
    from certwitness.bus import Connection
    from certwitness.registration import plan

    it = plan.Plan()
    with Connection(bus_of(config), READ_S) as connection:
        there = certmonger.read_all(connection)
        plan.register_cas(it, there, known, wrapping, plan.names_of_cas(known))
        if known.hooks:
            plan.register_hooks(it, there, known, wrapping, plan.uids(connection, there))
    if known.gate:
        plan.register_gate(it, config)
    return it


def _status(found: list[Standing]) -> int:
    from certwitness.registration import drift

    standings = {one.standing for one in found}
    return CANNOT_RUN if drift.CANNOT_RUN in standings else WARNING if drift.DRIFTED in standings else 0

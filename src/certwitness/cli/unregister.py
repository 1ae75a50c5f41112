# SPDX-License-Identifier: MIT
"""`certwitness unregister`: put back what was there before."""

from __future__ import annotations

import click

from certwitness.cli.options import config_option, configuration, json_option
from certwitness.cli.registering import READ_S, bus_of, carry_out


@click.command("unregister")
@click.option("--hooks", is_flag=True, help="Only the hooks of the requests, as before an upgrade of FreeIPA.")
@click.option("--gate", is_flag=True, help="Only the gate's drop-ins.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, hooks: bool, gate: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take certwitness out of certmonger and systemd: helpers, hooks and drop-ins are what they were, byte for byte.
    Without --hooks and --gate: all of it.

    What somebody changed since is not overwritten but named; if our part is still in it, only that goes. Where the
    state file is lost, the original is read from the wrapped command.

    Exit status: 0 done or nothing to do, 1 something was left as it is, 2 failed, 3 nothing was changed.
    """
    from certwitness import certmonger
    from certwitness.registration import plan, state
    from certwitness.registration.apply import UNREGISTER
    from certwitness.registration.wrapping import Wrapping

    config = configuration(ctx)
    wrapping = Wrapping(config)
    known, problem = state.read(config)
    if problem:
        click.echo(f"certwitness: {problem}", err=True)
    everything = not (hooks or gate)
    it = plan.Plan()
    if hooks or everything:
        there = certmonger.read(bus_of(config), timeout_s=READ_S)
        plan.unregister_hooks(it, there, known, wrapping)
        if everything:
            plan.unregister_cas(it, there, known, wrapping)
    if gate or everything:
        plan.unregister_gate(it, config, known)
    flags = {name: False for name, wanted in (("hooks", hooks), ("gate", gate)) if wanted or everything}
    ctx.exit(carry_out(ctx, config, it, UNREGISTER, flags, dry_run=dry_run, yes=yes, as_json=as_json))

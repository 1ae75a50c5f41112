# SPDX-License-Identifier: MIT
"""`certwitness register`: put our helpers, and if asked to our hooks and the gate, in front of what is there."""

from __future__ import annotations

import click

from certwitness.cli.options import config_option, configuration, json_option
from certwitness.cli.registering import READ_S, bus_of, carry_out


@click.command("register")
@click.option("--ca", "cas", metavar="NAME", multiple=True, help="Another CA of certmonger's, too; repeatable.")
@click.option("--hooks", is_flag=True, help="All pre- and post-save commands, too, at a price: see above.")
@click.option("--gate", is_flag=True, help="The gate's drop-ins for systemd, too.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
@click.pass_context
def command(
    ctx: click.Context, cas: tuple[str, ...], hooks: bool, gate: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Have certmonger run certwitness in front of the helpers of FreeIPA's CAs: all arguments stay, and no request is
    touched. What is replaced is kept: `certwitness unregister` puts it back.

    --hooks also wraps the hooks of the requests. ipa-healthcheck then reports each of them, and ipa-server-upgrade
    tracks all certificates anew: `certwitness unregister --hooks` before an upgrade. Without, `certwitness watch` looks
    after each save.

    Exit status: 0 done or nothing to do, 1 something was left as it is, 2 failed, 3 nothing was changed.
    """
    from certwitness import certmonger
    from certwitness.bus import Connection
    from certwitness.registration import plan, state
    from certwitness.registration.apply import REGISTER
    from certwitness.registration.state import CA
    from certwitness.registration.wrapping import CAS, Wrapping

    config = configuration(ctx)
    wrapping = Wrapping(config)
    known, problem = state.read(config)
    if problem:
        click.echo(f"certwitness: {problem}", err=True)
    it = plan.Plan()
    with Connection(bus_of(config), READ_S) as connection:
        there = certmonger.read_all(connection)
        plan.check_names(cas, there)
        plan.register_cas(it, there, known, wrapping, plan.names_of_cas(known, CAS, cas))
        # Told as gone so far; the timer goes on expecting them.
        it.forget += [entry for entry in known.of(CA) if entry.name in it.absent]
        if hooks:
            plan.register_hooks(it, there, known, wrapping, plan.uids(connection, there))
    if gate:
        plan.register_gate(it, config)
    flags = {name: True for name, wanted in (("hooks", hooks), ("gate", gate)) if wanted}
    ctx.exit(carry_out(ctx, config, it, REGISTER, flags, dry_run=dry_run, yes=yes, as_json=as_json))

# SPDX-License-Identifier: MIT
"""`certwitness gate`: is it safe to restart or upgrade now?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from certwitness.catalogue import PKI
from certwitness.cli.options import config_option, configuration, json_option
from certwitness.errors import CertwitnessError
from certwitness.render.tables import on_terminal, styled, width
from certwitness.render.text import clean

if TYPE_CHECKING:
    from certwitness.gate import Service
    from certwitness.host import Host

# Nobody waits for a boot here: as long as the slowest reader may take.
LIMIT_S = 20.0
BLOCK = 2


@click.command("gate")
@click.argument("services", metavar="[SERVICE]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All services: what to ask before an upgrade.")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, services: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Whether the start of a service is proven to fail: is it safe to restart or to upgrade now?

    SERVICE is pki-tomcatd, httpd, dirsrv or krb5kdc, or its unit. Nothing is started, stopped or held; a hold whose
    cause is gone is ended. Only what proves that the start fails blocks: see `certwitness verify` for everything else.
    Judged is what a start would read now, though a renewal that is under way may still mend it: the answer says so.

    Exit status: 0 allow, 2 block, 3 wrong usage, or nothing can be judged.
    """
    from certwitness import gate, holds, host, judging
    from certwitness.evidence import Evidence
    from certwitness.render.verdict import whole

    there = host.load(configuration(ctx))
    if every == bool(services):
        raise click.UsageError("name the services, or --all." if not every else "services, or --all: not both.", ctx)
    asked = list(gate.SERVICES.values()) if every else [_service(word, there) for word in dict.fromkeys(services)]
    known, problems = holds.every(there.config, [service.name for service in asked])
    held = {hold.service: hold for hold in known}
    verdicts = judging.verdicts(Evidence(there, everything=False), asked, held, LIMIT_S)
    for verdict in verdicts:
        try:
            if judging.end_if_gone(there.config, verdict, held.get(verdict.service)):
                problems.append(f"{verdict.service}: the hold is ended, its cause is gone")
        except CertwitnessError as error:
            problems.append(f"{verdict.service}: the cause of its hold is gone, and it cannot be ended: {error}")
    if as_json:
        click.echo(json.dumps([verdict.as_json() for verdict in verdicts], indent=1))
    else:
        terminal = on_terminal()
        for line in whole(verdicts, width() if terminal else 0):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
    for problem in problems:
        click.echo(f"certwitness: {clean(problem)}", err=True)
    ctx.exit(0 if all(verdict.allow for verdict in verdicts) else BLOCK)


def _service(word: str, there: Host) -> Service:
    from certwitness import gate

    service = gate.named(word, there)
    if service is None:
        raise CertwitnessError(f"{word}: not IPA's instance; known: dirsrv@{there.instance}, {PKI}")
    return service

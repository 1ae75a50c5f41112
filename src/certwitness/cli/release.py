# SPDX-License-Identifier: MIT
"""`certwitness release`: let a service start though the gate blocks it."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import click

from certwitness.cli.options import config_option, configuration
from certwitness.errors import CertwitnessError
from certwitness.render.text import clean, moment, shorten

_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
LONGEST_S, LONGEST_REASON = 30 * 86400, 500


@click.command("release")
@click.argument("service", metavar="SERVICE")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded with your name.")
@click.option("--for", "lasting", metavar="TIME", help="How long, as 30m, 2h or 1d; without: until the cause is gone.")
@config_option
@click.pass_context
def command(ctx: click.Context, service: str, reason: str, lasting: str | None) -> None:
    """Let a service start though the gate blocks it: pki-tomcatd, httpd, dirsrv or krb5kdc.

    The start is still judged, and the journal tells each time that it was released, by whom and why. The release ends
    with its time, or as soon as nothing stands against the start.
    """
    from certwitness import holds

    config = configuration(ctx)
    name = _name(service)
    now = datetime.now(timezone.utc)
    words = shorten(clean(" ".join(reason.split())), LONGEST_REASON)
    if not words:
        raise click.UsageError("--reason: say why.", ctx)
    until = (now + timedelta(seconds=seconds(lasting))).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if lasting else ""
    before, problem = holds.read(config, name)
    if problem:
        click.echo(f"certwitness: {clean(problem)}", err=True)
    hold = holds.release(config, name, who(os.environ), words, until, now)
    end = f"until {moment(until)} UTC" if until else "until the cause is gone"
    held = "" if before and before.findings else " (nothing held it)"
    by = hold.release.by if hold.release else ""
    click.echo(f"{name}: released by {by} {end}{held}; start it with: systemctl start {_unit(name)}")


def seconds(text: str) -> float:
    """Seconds of "30m", "2h", "1d". Raises CertwitnessError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text.strip())
    if match is None:
        raise CertwitnessError(f"--for {text!r}: give a number and m, h or d, as 30m, 2h or 1d")
    found = int(match[1]) * _UNITS_S[match[2]]
    if found > LONGEST_S:
        raise CertwitnessError(f"--for {text}: at most 30d")
    return found


def who(environment: Mapping[str, str]) -> str:
    """Who asks: the user behind sudo, and the uid."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    behind = environment.get("SUDO_USER", "")
    return shorten(clean(f"{behind} ({name} by sudo)" if behind and uid == 0 else name), 100)


def _name(word: str) -> str:
    from certwitness import gate

    service = gate.named(word)
    if service is None:
        raise CertwitnessError(f"{word}: not IPA's instance; name the service: {', '.join(gate.SERVICES)}")
    return service.name


def _unit(name: str) -> str:
    return {"pki-tomcatd": "pki-tomcatd@pki-tomcat", "dirsrv": "dirsrv.target"}.get(name, name)

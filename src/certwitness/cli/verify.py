# SPDX-License-Identifier: MIT
"""`certwitness verify`: run the checks, tell what is wrong and how to mend it, write the outcome into the log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from certwitness.cli.options import config_option, configuration, json_option
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.findings import Finding, exit_status
from certwitness.render.findings import checks_named, headline, plural, report
from certwitness.render.runs import Line
from certwitness.render.tables import on_terminal, styled, width
from certwitness.render.text import clean, shorten

if TYPE_CHECKING:
    from certwitness.cli.looking import Look
    from certwitness.evidence import Evidence

# A day: whoever waits longer wants monitoring.
LONGEST_WAIT_S = 86400
# What is read has been read; a bind may have to be waited for.
HOLDS_S = 5.0


@click.command("verify")
@click.argument("certificates", metavar="[CERT]...", nargs=-1)
@click.option("--only", metavar="CHECK", multiple=True, help="Run only this check; may be given several times.")
@click.option("--skip", metavar="CHECK", multiple=True, help="Leave this check out; may be given several times.")
@click.option("--expect", metavar="PEM", help="The certificate in this file is the one that must have landed.")
@click.option("--wait", "wait_s", metavar="SECONDS", type=click.IntRange(0, LONGEST_WAIT_S), default=0,
              help="Look again until all is well, at most so long.")  # fmt: skip
@json_option
@config_option
@click.pass_context
def command(
    ctx: click.Context,
    certificates: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    expect: str | None,
    wait_s: int,
    as_json: bool,
) -> None:
    """Compare every store with the certificate that must be in it, and say what is wrong and how to mend it.

    CERT is a nickname, a PEM file or the id of a request; without any all are verified, and the host. Nothing is
    changed but the event log: it hears whether each renewal landed, where all checks were run. --expect names a
    certificate that takes the place of what is saved, for its key or subject. --json prints what ipa-healthcheck
    would. See `certwitness checks` for what is compared.

    Exit status: the worst finding: 0 none, or too early to judge; 1 WARNING; 2 CRITICAL or ERROR; 3 UNKNOWN.
    """
    from certwitness import host
    from certwitness.checks import CHECKS
    from certwitness.cli import looking
    from certwitness.evidence import Evidence

    checks = looking.chosen(CHECKS, only, skip)
    there = host.load(configuration(ctx))
    expected = looking.expected_certificate(expect) if expect else None
    with Progress() as progress:
        progress("looking at the stores")
        last = looking.settled(
            lambda: looking.look(Evidence(there, expect=expected), checks, certificates), wait_s, progress.waiting
        )
        everything = len(checks) == len(CHECKS)
        trouble = _record(last) if everything else ""
        last.evidence.close()
    if as_json:
        found = [one for result in last.results for one in result.as_healthcheck()]
        click.echo(json.dumps(found, indent=1))
    else:
        terminal = on_terminal()
        for line in story(last, everything, width() if terminal else 0):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
    if trouble:
        click.echo(f"certwitness: {clean(trouble)}", err=True)
    ctx.exit(exit_status(last.findings))


def story(last: Look, everything: bool, columns: int = 0) -> Iterator[Line]:
    """The look for people: one headline, the findings, one line when all is well. `everything`: all checks were run."""
    certificates = len(last.tracked)
    checks = len({result.check.name for result in last.results})
    yield headline(last.findings, certificates, checks, last.evidence.host.name)
    yield from report(last.findings, columns)
    if last.findings:
        return
    if not certificates:
        yield Line("certmonger tracks no certificate on this host: there is nothing to verify", "warn")
    elif everything:
        yield Line(f"{plural(certificates, 'certificate')} landed everywhere they must be", "good")
    else:
        yield Line("nothing wrong found, but not all checks were run", "good")


def _record(last: Look) -> str:
    """Tell the event log what landed; what went wrong with that, or ""."""
    from certwitness import verification

    try:
        verification.record(last.evidence, last.results, last.names)
    except (LogError, StoreError) as error:
        return f"the outcome is not in the event log: {error}"
    return _end_holds(last.evidence)


def _end_holds(evidence: Evidence) -> str:
    """End the gate's holds whose cause is gone; what went wrong with that, or ""."""
    from certwitness import gate, holds, judging

    config = evidence.host.config
    held = {hold.service: hold for hold in holds.every(config, gate.SERVICES)[0]}
    services = [gate.SERVICES[name] for name in held]
    try:
        for verdict in judging.verdicts(evidence, services, held, HOLDS_S) if held else ():
            judging.end_if_gone(config, verdict, held[verdict.service])
    except CertwitnessError as error:
        return str(error)
    return ""


class Progress:
    """A line on stderr that says what goes on, where stderr is a terminal; gone at the end."""

    def __init__(self) -> None:
        self._shown = on_terminal(sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        self._write("")

    def __call__(self, words: str) -> None:
        """Show `words` in the place of what was there."""
        self._write(styled(shorten(clean(words), max(width() - 1, 1)), "dim", self._shown))

    def waiting(self, awaited: Sequence[Finding], left_s: float) -> None:
        """Show what is awaited, and for how long still."""
        self(f"waiting, {left_s:.0f} s left, for {checks_named(awaited)}")

    def _write(self, words: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{words}")
            sys.stderr.flush()

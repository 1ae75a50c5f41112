# SPDX-License-Identifier: MIT
"""`certwitness status`: one screen, which certificate is in which store."""

from __future__ import annotations

import json
import locale
import sys
from collections.abc import Iterator, Sequence

import click

from certwitness.cli.options import config_option, configuration, json_option
from certwitness.findings import LEVELS, PENDING, UNKNOWN, Finding, exit_status, worst
from certwitness.render.findings import headline, plural, report, verify_command
from certwitness.render.runs import Line
from certwitness.render.tables import on_terminal, styled, width
from certwitness.render.text import clean

# What is longer pushes the table off the screen: an LDIF with a certificate in it.
LONGEST_COMMANDS = 500


@click.command("status")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Which certificate is in which store, the worst first: a mark for each store that must hold it, when it expires,
    certmonger's state, the last renewal and the next try; and what to do about the worst.

    Nothing is changed. Exit status as that of `certwitness verify`: 0 all is well, or too early to judge; 1 WARNING;
    2 CRITICAL or ERROR; 3 UNKNOWN.
    """
    from certwitness import gate, holds, host, overview
    from certwitness.checks import CHECKS
    from certwitness.cli import looking
    from certwitness.evidence import Evidence
    from certwitness.render.matrix import matrix
    from certwitness.render.verdict import standing

    there = host.load(configuration(ctx))
    held, problems = holds.every(there.config, gate.SERVICES)
    for problem in problems:
        click.echo(f"certwitness: {clean(problem)}", err=True)
    with Evidence(there) as evidence:
        seen = looking.look(evidence, CHECKS)
        rows = overview.rows(evidence, seen.findings)
        if as_json:
            answer = {
                "host": there.name,
                "when": evidence.stamp,
                "status": worst(seen.findings) or "OK",
                "holds": [one.as_json() for one in held],
                "certificates": [row.as_json() for row in rows],
                "host_findings": [one.as_event() for one in seen.findings if not one.certificate],
            }
            click.echo(json.dumps(answer, indent=1))
            ctx.exit(exit_status(seen.findings))
        terminal = on_terminal()
        columns = width() if terminal else 0
        for line in standing(held, evidence.now):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
        top = headline(seen.findings, len(rows), len(CHECKS), there.name)
        sys.stdout.write(styled(top.text, top.style, terminal) + "\n\n")
        if not rows:
            sys.stdout.write("certmonger tracks no certificate on this host\n")
        else:
            for row in rows:
                if overview.waits_for_hook(row.state, row.renewal):
                    words = clean(f"{row.tracked.name}: {row.next_try.text}")
                    sys.stdout.write(styled(words, "warn", terminal) + "\n\n")
            for parts in matrix(rows, evidence.now, columns, prints_unicode()):
                sys.stdout.write("".join(styled(part.text, part.style, terminal) for part in parts) + "\n")
        for line in below(seen.findings, columns):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
    ctx.exit(exit_status(seen.findings))


def below(findings: Sequence[Finding], columns: int) -> Iterator[Line]:
    """What to do about the worst, and how to see the rest; nothing where all is well."""
    if not findings:
        return
    shown = first(findings)
    yield from report(shown, columns, LONGEST_COMMANDS)
    rest = len(findings) - len(shown)
    # Commands that are too long for this screen have been pointed to already.
    told = sum(map(len, shown[0].commands)) > LONGEST_COMMANDS
    certificate = shown[0].certificate if len(shown) == 1 and not told else ""
    yield Line("")
    if certificate:
        yield Line(clean(f"this certificate: {verify_command(certificate)}"))
    more = f" ({plural(rest, 'more finding')})" if rest else ""
    yield Line(f"everything{more}: {verify_command('')}")


def first(findings: Sequence[Finding]) -> list[Finding]:
    """The worst finding, with all of its level where those accuse nobody: they are told together."""
    worst_one = min(findings, key=lambda finding: LEVELS.index(finding.level))
    if worst_one.level in (UNKNOWN, PENDING):
        return [finding for finding in findings if finding.level == worst_one.level]
    return [worst_one]


def prints_unicode() -> bool:
    """Whether what reads the output takes UTF-8: Python writes it in the locale C as well."""
    encodings = (sys.stdout.encoding or "", locale.nl_langinfo(locale.CODESET))
    return all(name.lower().replace("-", "") == "utf8" for name in encodings)

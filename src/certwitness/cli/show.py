# SPDX-License-Identifier: MIT
"""`certwitness show`: one renewal as a timeline."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timezone

import click

from certwitness.cli.options import (
    config_option,
    configuration,
    empty_log,
    json_option,
    problems_as_json,
    report_problems,
)
from certwitness.errors import CertwitnessError
from certwitness.events import fold, reader, renewals
from certwitness.events.renewals import Renewal
from certwitness.render.runs import Event
from certwitness.render.tables import on_terminal, styled, width
from certwitness.render.timeline import timeline


@click.command("show")
@click.argument("which", metavar="[TRACE|CERT]", required=False)
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, which: str | None, as_json: bool) -> None:
    """One renewal as a timeline: every run, what it answered, what it led to; the save with its hooks; the certificate
    before and after; and whether it landed, as was found last.

    TRACE is a trace id or its first 6 or more digits; CERT a nickname, of which the latest renewal is shown. Without
    either it is the latest of all. Exit status: that renewal's own, as in `certwitness renewals`.
    """
    path = configuration(ctx).events_file
    problems = reader.Problems()
    folding = fold.Fold()
    for event in reader.read_log(path, problems.report, reader.is_data_operation):
        folding.add(event)
    found = folding.finish()
    if not found and which is None:
        click.echo(empty_log(path), err=as_json)
        report_problems(problems)
        ctx.exit(renewals.UNKNOWN)
    renewal = choose(found, which)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    # A second time through the log: of one renewal every run is wanted, of the others none.
    mark = renewal.trace_id.encode()
    events = (
        event
        for event in reader.read_log(path, _ignore, lambda line: mark not in line)
        if event["trace_id"] == renewal.trace_id
    )
    if as_json:
        _print_json(renewal, events, problems, now)
    else:
        terminal = on_terminal()
        for line in timeline(renewal, events, now, width() if terminal else 0):
            sys.stdout.write(styled(line.text, line.style, terminal) + "\n")
        report_problems(problems)
    ctx.exit(renewal.status(now))


def _ignore(_: reader.Problem) -> None:
    """The first reading has reported it."""


def choose(found: list[Renewal], which: str | None) -> Renewal:
    """The renewal that ``which`` names: a nickname (the latest), a trace id or its beginning, None (the latest of all).

    Raises CertwitnessError if there is none, or more than one trace begins so.
    """
    newest = list(fold.newest_first(found))
    if which is None:
        return newest[0]
    named = [renewal for renewal in newest if renewal.nickname == which]
    if named:
        return named[0]
    if re.fullmatch("[0-9a-fA-F]{6,32}", which):
        traces = [renewal for renewal in newest if renewal.trace_id.startswith(which.lower())]
        if len(traces) == 1:
            return traces[0]
        if traces:
            some = ", ".join(f"{renewal.trace_id[: len(which) + 4]} ({renewal.name})" for renewal in traces[:5])
            raise CertwitnessError(f"{len(traces)} traces begin with {which}: {some}; give more digits")
    raise CertwitnessError(
        f"no renewal of a certificate {which!r}, no trace that begins so (6 digits or more); see certwitness renewals"
    )


def _print_json(renewal: Renewal, events: Iterable[Event], problems: reader.Problems, now: str) -> None:
    head = {"renewal": renewal.as_json(now), "problems": problems_as_json(problems)}
    sys.stdout.write(json.dumps(head)[:-1] + ', "events": [')
    for index, event in enumerate(events):
        sys.stdout.write((",\n" if index else "\n") + json.dumps(event))
    sys.stdout.write("]}\n")

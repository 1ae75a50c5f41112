# SPDX-License-Identifier: MIT
"""`certwitness show`: one renewal as a timeline."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import click

from certwitness import operations
from certwitness.cli.options import (
    config_option,
    configuration,
    empty_log,
    json_option,
    problems_as_json,
    report_problems,
)
from certwitness.errors import CertwitnessError
from certwitness.events import reader, renewals
from certwitness.events.fields import mapping, text
from certwitness.events.renewals import Renewal
from certwitness.render.outcomes import outcome_lines
from certwitness.render.runs import Event, Line, certificate_lines, run_lines
from certwitness.render.tables import on_terminal, styled, width
from certwitness.render.text import clean, moment


@click.command("show")
@click.argument("which", metavar="[TRACE|CERT]", required=False)
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, which: str | None, as_json: bool) -> None:
    """One renewal as a timeline: every run, what it answered, what it led to; the certificate before and after; and
    whether it landed, as `certwitness verify` found last.

    TRACE is a trace id or its first 6 or more digits; CERT a nickname, of which the latest renewal is shown. Without
    either it is the latest of all. Exit status: that renewal's own, as in `certwitness renewals`.
    """
    path = configuration(ctx).events_file
    problems = reader.Problems()
    folding = renewals.Fold()
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
    newest = list(renewals.newest_first(found))
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


def timeline(renewal: Renewal, events: Iterable[Event], now: str, columns: int = 0) -> Iterator[Line]:
    """The renewal as lines for people; `columns` is the width to wrap findings at, 0 for none."""
    yield Line(clean(f"{renewal.name} from {renewal.ca or '?'}"), "head")
    style = ("good", "warn", "bad", "warn")[renewal.status(now)]
    yield Line(clean(f"{renewal.state}: {renewal.meaning()}"), style)
    attempts = f"{renewal.attempts} attempt{'' if renewal.attempts == 1 else 's'}"
    yield Line(f"trace {clean(renewal.trace_id)}, {attempts}, {_span(renewal.first, renewal.last)}")
    if renewal.continued_by:
        yield Line(f"continued as trace {clean(renewal.continued_by)}", "dim")
    yield Line("")
    yield Line("before", "head")
    yield from _certificate(renewal.previous, "no certificate was held")
    seen = _Verified()
    for first, last, count in _alike(seen.passing(events)):
        yield Line("")
        yield from _runs(first, last, count)
    yield Line("")
    yield Line("after", "head")
    missing = "no new certificate" if renewal.state != "issued" else "the log does not say which"
    yield from _certificate(renewal.new, missing)
    yield Line("")
    yield Line("next", "head")
    yield Line(clean("  " + (renewal.next_text() or "see above: this renewal is not the latest, or still runs")))
    if renewal.state == "issued" and (renewal.outcome or not renewal.continued_by):
        yield Line("")
        yield from outcome_lines(seen.last if renewal.outcome else None, renewal.nickname or "", columns)


class _Verified:
    """Keeps the last look at the stores out of the events that pass; ``last`` is None until there is one."""

    def __init__(self) -> None:
        self.last: Event | None = None

    def passing(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if event["event"] == "verified":
                self.last = event
            else:
                yield event


def _span(first: str, last: str) -> str:
    if first[:19] == last[:19]:
        return f"{clean(moment(first))} UTC"
    return f"{clean(moment(first))} to {clean(moment(last))} UTC"


def _certificate(certificate: dict[str, Any] | None, missing: str) -> Iterator[Line]:
    if not certificate:
        yield Line(f"  {missing}")
        return
    for line in certificate_lines(certificate):
        yield Line(f"  {line.text}", line.style)


def _alike(events: Iterable[Event]) -> Iterator[tuple[Event, Event, int]]:
    """Runs in their order, those that ended alike one after the other as one: the first, the last, how many.

    A run without an end (yet) is its run.started. A helper that runs every 30 seconds for weeks is so borne.
    """
    started: Event | None = None
    group: tuple[Event, Event, int] | None = None
    for event in events:
        if event["event"] == "run.started":
            if started is not None:
                # Its end was never written; another run follows.
                if group:
                    yield group
                group = (started, started, 1)
            started = event
        elif event["event"] == "run.ended":
            started = None
            if group and _same(group[1], event):
                group = (group[0], event, group[2] + 1)
                continue
            if group:
                yield group
            group = (event, event, 1)
    if group:
        yield group
    if started is not None:
        yield started, started, 1


def _same(before: Event, after: Event) -> bool:
    for name in ("stdout", "stderr"):
        stream = mapping(after.get(name))
        if stream.get("size") != 0 and stream.get("same_as_previous") is not True:
            return False
    fields = ("event", "operation", "ca", "exit", "findings", "observer", "renewal")
    return "request" not in after and all(before.get(name) == after.get(name) for name in fields)


def _runs(first: Event, last: Event, count: int) -> Iterator[Line]:
    begun = text(first.get("started")) or first["timestamp"]
    operation = text(first.get("operation"))
    number = f"#{first.get('attempt', '?')}"
    what = operation or "(no operation)"
    words = clean(operations.OPERATIONS.get(operation, "an operation that certmonger does not define"))
    yield Line(clean(f"{moment(begun)}  {number} {what}") + f": {words if operation else 'taken as SUBMIT'}", "head")
    command = first.get("command")
    if isinstance(command, list) and first.get("attempt") == 1:
        yield Line("  ran: " + " ".join(clean(text(word)) for word in command), "dim")
    if first["event"] == "run.started":
        yield Line("  no end is recorded: it still runs, or the host went down", "warn")
        return
    for line in run_lines(first):
        yield Line(f"  {line.text}", line.style)
    if count > 1:
        until = clean(moment(last["timestamp"]))
        yield Line(
            f"  … and {count - 1} more such runs, the last #{last.get('attempt', '?')} until {until} UTC", "warn"
        )
        following = clean(text(mapping(last.get("next")).get("text")))
        yield Line(f"  next after the last: {following}")


def _print_json(renewal: Renewal, events: Iterable[Event], problems: reader.Problems, now: str) -> None:
    head = {"renewal": renewal.as_json(now), "problems": problems_as_json(problems)}
    sys.stdout.write(json.dumps(head)[:-1] + ', "events": [')
    for index, event in enumerate(events):
        sys.stdout.write((",\n" if index else "\n") + json.dumps(event))
    sys.stdout.write("]}\n")

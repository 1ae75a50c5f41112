# SPDX-License-Identifier: MIT
"""One renewal as a timeline, from its first run to "landed"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from certwitness import operations
from certwitness.events import outcomes
from certwitness.events.fields import mapping, seconds_between, text
from certwitness.events.renewals import Renewal
from certwitness.render.hooks import hook_lines, other_line
from certwitness.render.outcomes import outcome_lines
from certwitness.render.runs import Event, Line, certificate_lines, run_lines
from certwitness.render.text import clean, moment
from certwitness.schedule import duration


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
    seen = _Told()
    for first, last, count in _alike(seen.passing(events)):
        yield Line("")
        yield from _runs(first, last, count)
    for hook in seen.hooks.values():
        yield Line("")
        yield from hook_lines(*hook)
    if seen.others:
        yield Line("")
        yield from map(other_line, seen.others)
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
        if renewal.outcome == outcomes.LANDED:
            took = duration(seconds_between(renewal.first, renewal.outcome_at))
            yield Line(f"{took} from the first run until that was seen", "dim")


class _Told:
    """Keeps out of the events that pass what is no run: `last`, the last look at the stores (None until there is one);
    `hooks`, start and end by span; `others`."""

    def __init__(self) -> None:
        self.last: Event | None = None
        self.hooks: dict[str, tuple[Event | None, Event | None]] = {}
        self.others: list[Event] = []

    def passing(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            kind = event["event"]
            if kind in ("run.started", "run.ended"):
                yield event
            elif kind == "verified":
                self.last = event
            elif kind in ("hook.started", "hook.ended"):
                started, ended = self.hooks.get(event["span_id"], (None, None))
                self.hooks[event["span_id"]] = (event, ended) if kind == "hook.started" else (started, event)
            else:
                self.others.append(event)


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
        if text(first.get("lock")):
            yield Line(clean(f"  FreeIPA's renewal lock was held by {text(first.get('lock'))} when it began"), "warn")
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

# SPDX-License-Identifier: MIT
"""A save in words: what a hook saw and ran, and the steps that certmonger took."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from certwitness.events.fields import mapping, mappings, text, texts
from certwitness.render.runs import Event, Line, finding_lines, one_line, seconds, stream_lines
from certwitness.render.text import clean, moment

# Steps that took less are told by their name alone.
SHORT_S = 0.1
LONGEST_JOURNAL = 20


def hook_lines(started: Event | None, ended: Event | None) -> Iterator[Line]:
    """A hook's run as a paragraph, from its two events; one of them may be missing."""
    event = started or ended or {}
    begun = text((ended or {}).get("started")) or text(event.get("timestamp"))
    words = [text(word) for word in event.get("command") or []]
    program = words[0].rpartition("/")[2] if words else "no command"
    yield Line(clean(f"{moment(begun)}  {text(event.get('phase'))}: {program}"), "head")
    if words:
        yield Line(clean(f"  ran: {shlex.join(words)}"), "dim")
    for line in (*_seen(started or {}), *(_end(ended) if ended else _no_end())):
        yield Line(f"  {line.text}", line.style)


def other_line(event: Event) -> Line:
    """Any other event of the renewal: the states that certmonger went through, with the seconds of those that took
    some; what the gate said; what was noticed."""
    if event["event"] != "request.moved":
        return one_line(event)
    steps = [_step(step) for step in mappings(event.get("steps"))]
    return Line(clean(f"certmonger: {' > '.join((*steps, text(event.get('status'))))}"), "dim")


def _step(step: dict[str, Any]) -> str:
    lasted = step.get("duration_s")
    long = isinstance(lasted, (int, float)) and lasted >= SHORT_S
    return text(step.get("status")) + (f" {seconds(lasted)}" if long else "")


def _seen(event: Event) -> Iterator[Line]:
    """What a hook saw before its command ran."""
    if event.get("trace_found") is False:
        yield Line("no run of a helper that the log knows issued this certificate", "warn")
    replaced = mapping(event.get("replaced"))
    if replaced:
        serial = f"serial {text(replaced.get('serial'))} ({text(replaced.get('serial_hex'))})"
        yield Line(clean(f"replaces: {serial}, valid until {moment(text(replaced.get('not_after')))} UTC"))
    if text(event.get("lock")):
        yield Line(clean(f"FreeIPA's renewal lock: held by {text(event.get('lock'))}"), "warn")
    findings = mappings(event.get("findings"))
    if findings and event.get("phase") == "pre-save":
        yield Line("latent before this save:", "warn")
    for finding in findings:
        yield from finding_lines(finding)
    for unseen in texts(event.get("unseen")):
        yield Line(clean(f"not seen: {unseen}"), "dim")


def _end(event: Event) -> Iterator[Line]:
    if event.get("skipped") is True:
        yield Line("skipped: the service runs on with what it has in memory", "bad")
        for finding in mappings(event.get("findings")):
            yield from finding_lines(finding)
        return
    ended = mapping(event.get("exit"))
    how = f"exit {ended['code']}" if isinstance(ended.get("code"), int) else f"signal {ended.get('signal')}"
    good = ended.get("code") == 0
    yield Line(clean(f"{how} after {seconds(event.get('duration_s'))}"), "" if good else "warn")
    for name in ("stdout", "stderr"):
        yield from stream_lines(name, mapping(event.get(name)))
    journal = texts(event.get("journal"))
    for told in journal[-LONGEST_JOURNAL:]:
        yield Line(clean(f"journal: {told}"), "dim")
    for finding in mappings(event.get("findings")):
        yield from finding_lines(finding)
    for problem in texts(event.get("observer")):
        yield Line(clean(f"certwitness itself: {problem}"), "warn")


def _no_end() -> Iterator[Line]:
    yield Line("no end is recorded: it still runs, or was cut off (certmonger never runs a post-save again)", "warn")

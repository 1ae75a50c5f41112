# SPDX-License-Identifier: MIT
"""Plans, outcomes and standings of the registration, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from certwitness.redaction import MARK
from certwitness.registration.apply import REGISTER, UNREGISTER, Outcome
from certwitness.registration.command_line import shown
from certwitness.registration.drift import CANNOT_RUN, DRIFTED, NOT_REGISTERED, REGISTERED, Standing
from certwitness.registration.plan import HOOKS, Change, Left, Plan, command_of
from certwitness.registration.state import CA, REQUEST, UNIT
from certwitness.render.findings import plural
from certwitness.render.runs import Line
from certwitness.render.text import clean

_KINDS = {CA: "CA", REQUEST: "request", UNIT: "unit"}
_MARKS = {REGISTERED: "good", NOT_REGISTERED: "dim", DRIFTED: "warn", CANNOT_RUN: "bad"}
EXCLUDES = ("[excludes]", "check=IPACertTracking")
HEALTHCHECK = "/etc/ipahealthcheck/ipahealthcheck.conf"


def plan(it: Plan, why: str) -> Iterator[Line]:
    """What is to be changed, and what that does besides."""
    if it.changes:
        by_hand = ", = the same by hand" if any(change.entry.what == CA for change in it.changes) else ""
        yield Line(f"- is there now, + shall be there{by_hand}", "dim")
    for _, group in groupby(it.changes, key=lambda change: (change.entry.what, change.path)):
        yield from _object(list(group))
    yield from _consequences(it, why)
    yield from left(it.left)
    if it.absent:
        yield Line(clean(f"not there: CA {', '.join(it.absent)}"), "dim")
    if it.changes and it.same:
        yield Line(f"as it is to be: {plural(len(it.same), 'other value')}", "dim")


def left(those: Sequence[Left]) -> Iterator[Line]:
    """What stays as it is, and why."""
    for one in dict.fromkeys(those):
        yield Line(clean(f"left as it is: {_KINDS[one.what]} {one.name}: {one.why}"), "warn")


def made(change: Change) -> Line:
    """A change that was just made."""
    return Line(clean(f"done: {_named(change)}"), "good")


def outcome(it: Outcome, why: str) -> Iterator[Line]:
    """How it ended, after the lines of what was made."""
    yield from left(it.left)
    for problem in it.problems:
        yield Line(clean(problem), "warn")
    if it.stopped:
        yield Line(clean(f"stopped: {it.stopped}"), "bad")
        for change in it.undone:
            yield Line(clean(f"not done: {_named(change)}"), "bad")
        if why == UNREGISTER:
            yield Line("what was done is recorded; run the same command again to put back the rest")
        else:
            yield Line("what was done is recorded: run the same command again for the rest, or certwitness unregister")


def standings(those: Sequence[Standing]) -> Iterator[Line]:
    """What is wrapped, what is not, what drifted and why."""
    shown = [one for one in those if one.what == CA or one.standing != NOT_REGISTERED]
    for key, group in groupby(shown, key=lambda one: (one.what, one.name, one.certificate, one.standing, one.why)):
        values = list(group)
        what, name, certificate, standing, why = key
        words = f"{_KINDS[what]} {name}" + (f" ({certificate})" if certificate not in ("", name) else "")
        fields = ", ".join(HOOKS[one.field] for one in values) if what == REQUEST else ""
        told = f"{words}{f' {fields}' if fields else ''}{f': {why}' if why else ''}"
        yield Line(clean(f"{standing:<14}  {told}"), _MARKS[standing])
        for one in values:
            if standing in (DRIFTED, CANNOT_RUN) and what != UNIT:
                yield Line(clean(f"    now     {_visible(one.now)}"))
                if one.wanted not in ("", one.now):
                    yield Line(clean(f"    wanted  {_visible(one.wanted)}"))
    for what, told in ((REQUEST, "the hooks of {} (certwitness register --hooks)"),
                       (UNIT, "the gate in {} (certwitness register --gate)")):  # fmt: skip
        names = {one.name for one in those if one.what == what and one.standing == NOT_REGISTERED}
        if names:
            yield Line(f"{NOT_REGISTERED:<14}  {told.format(plural(len(names), _KINDS[what]))}", _MARKS[NOT_REGISTERED])


def summary(those: Sequence[Standing]) -> Line:
    """All of it in one line, with the next step."""
    counts = {name: sum(one.standing == name for one in those) for name in _MARKS}
    if not (counts[DRIFTED] or counts[CANNOT_RUN]):
        if counts[REGISTERED]:
            return Line("everything is as it was registered", "good")
        return Line("nothing is registered; to begin: certwitness register", "dim")
    told = [f"{counts[CANNOT_RUN]} cannot run: renewals fail, or starts are not judged"] if counts[CANNOT_RUN] else []
    told += [f"{counts[DRIFTED]} drifted"] if counts[DRIFTED] else []
    flags = [flag for flag, what in (("--hooks", REQUEST), ("--gate", UNIT)) if any(
        one.what == what and one.standing in (DRIFTED, CANNOT_RUN) for one in those)]  # fmt: skip
    command = " ".join(["certwitness register", *flags])
    return Line(f"{'; '.join(told)}. To put back what can be: {command}", "bad" if counts[CANNOT_RUN] else "warn")


def plan_as_json(it: Plan) -> dict[str, Any]:
    """A plan for programs."""
    return {
        "changes": [change_as_json(change) for change in it.changes],
        "left": left_as_json(it.left),
        "same": [{"what": one.what, "name": one.name, "field": one.field} for one in it.same],
        "absent": it.absent,
    }


def change_as_json(change: Change) -> dict[str, Any]:
    """A change for programs."""
    entry = change.entry
    return {
        "what": entry.what, "name": entry.name, "field": entry.field, "certificate": entry.certificate or None,
        "before": shown(change.before), "after": shown(change.after), "command": command_of([change]) or None,
        "status": change.status or None,
    }  # fmt: skip


def left_as_json(those: Iterable[Left]) -> list[dict[str, str]]:
    """What stays as it is, for programs."""
    return [{"what": one.what, "name": one.name, "why": one.why} for one in those]


def _object(changes: Sequence[Change]) -> Iterator[Line]:
    entry = changes[0].entry
    name = entry.certificate if entry.certificate not in ("", entry.name) else ""
    facts = ", ".join(fact for fact in (name, changes[0].status) if fact)
    yield Line(clean(f"{_KINDS[entry.what]} {entry.name}{f' ({facts})' if facts else ''}"), "head")
    if entry.what == UNIT:
        yield Line(clean(f"    {changes[0].path}"))
    for change in changes:
        if entry.what == REQUEST:
            yield Line(f"    {HOOKS[change.entry.field]}")
        yield from (Line(clean(f"  - {_visible(text)}"), "bad") for text in _lines(change.before, entry.what))
        yield from (Line(clean(f"  + {_visible(text)}"), "good") for text in _lines(change.after, entry.what))
    if entry.what == CA:
        yield Line(clean(f"  = {command_of(changes)}"), "dim")


def _named(change: Change) -> str:
    entry = change.entry
    return f"{_KINDS[entry.what]} {entry.name}" + (f" {HOOKS[entry.field]}" if entry.what == REQUEST else "")


def _lines(text: str, what: str) -> list[str]:
    """A command is one line; of a drop-in its comments are left out."""
    return [text] if what != UNIT else [line for line in text.splitlines() if line and not line.startswith("#")]


def _consequences(it: Plan, why: str) -> Iterator[Line]:
    if not it.changes:
        return
    helpers = any(change.entry.what == CA for change in it.changes)
    yield Line("")
    if any(shown(text) != text for change in it.changes for text in (change.before, change.after)):
        yield Line(f"{MARK} stands for what looks like a secret: it stays in the command, and is not shown.")
    if helpers:
        yield Line("certmonger runs a changed helper eight times at once to ask what it can do, not for certificates.")
    if any(change.entry.what == UNIT for change in it.changes):
        yield Line("A drop-in counts from the next start of its service; systemd is told (systemctl daemon-reload).")
    for name, status in dict.fromkeys((change.entry.name, change.status) for change in it.woken):
        yield Line(clean(f"request {name} is waiting ({status}): certmonger sends it to its helper at once."), "warn")
    for name, status in dict.fromkeys((change.entry.name, change.status) for change in it.busy):
        yield Line(clean(f"certmonger is working on request {name} ({status}): that is waited for."), "warn")
    if why == REGISTER and any(change.entry.what == REQUEST for change in it.changes):
        yield Line("Wrapped hooks have a price on a FreeIPA server:", "warn")
        yield Line(
            "  ipa-healthcheck's IPACertTracking compares them: an ERROR and a WARNING for each, until this is in"
        )
        yield Line(f"  {HEALTHCHECK}:")
        for text in EXCLUDES:
            yield Line(f"    {text}")
        yield Line("  ipa-server-upgrade tracks all certificates anew when one differs: before an upgrade, run")
        yield Line("    certwitness unregister --hooks")
        yield Line("  and after it: certwitness register --hooks")
        yield Line("  Without --hooks nothing of a request is changed, and certwitness watch looks after each save.")
    yield Line("")


def _visible(command: str) -> str:
    """Secrets cannot be seen, a blank at the end can."""
    command = shown(command)
    return f"{command}   (with the blank at its end)" if command[-1:].isspace() else command or "(nothing)"

# SPDX-License-Identifier: MIT
"""The gate's verdicts for people: short for the journal, whole for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from certwitness.events.fields import text
from certwitness.findings import Finding
from certwitness.gate import Verdict
from certwitness.holds import Hold
from certwitness.render.findings import checks_named, plural, report, verify_command
from certwitness.render.runs import Line
from certwitness.render.text import clean, moment, shorten

# What `systemctl status` shows of the journal is ten lines; longer commands (an LDIF) are no lines at all.
LONGEST_COMMAND, LONGEST_LINE = 160, 300
_MOST_TOLD = 3


def headline(verdict: Verdict) -> Line:
    """The verdict in one line."""
    if not verdict.allow:
        block = f"{verdict.service}: BLOCK: {verdict.reasons[0].breaks}"
        return Line(clean(shorten(block, LONGEST_LINE)), "bad")
    if verdict.release:
        return Line(clean(f"{verdict.service}: ALLOW, though it will fail: {released(verdict)}"), "warn")
    words = []
    if verdict.warnings:
        words.append(f"it starts, but {plural(len(verdict.warnings), 'finding')} of it will hurt")
    if verdict.unseen:
        words.append(f"not everything was seen ({checks_named(verdict.unseen)})")
    why = "; ".join(words) or "nothing stands against its start"
    return Line(clean(f"{verdict.service}: ALLOW: {why}"), "warn" if words else "good")


def released(verdict: Verdict) -> str:
    """Who let it start all the same; "" where nobody did."""
    release = verdict.release
    if release is None:
        return ""
    until = f"until {moment(release.until)} UTC" if release.until else "until the cause is gone"
    return f"{release.by} released it on {moment(release.at)} UTC, {until}: {release.reason}"


def under_way(verdict: Verdict) -> Iterator[str]:
    """That certmonger may itself mend what blocks."""
    for name, status in verdict.under_way.items():
        words = "it may mend this by itself; ask again when it is done"
        yield clean(shorten(f"a renewal of {name} is under way: certmonger is at {status}; {words}", LONGEST_LINE))


def whole(verdicts: Sequence[Verdict], columns: int = 0) -> Iterator[Line]:
    """For the terminal: one headline a service with its note, then its findings with their remedies."""
    for number, verdict in enumerate(verdicts):
        if number:
            yield Line("")
        yield headline(verdict)
        if verdict.note and (verdict.warnings or verdict.unseen):
            yield Line(clean(f"    {verdict.note}"), "dim")
        yield from report((*verdict.reasons, *verdict.warnings, *verdict.unseen), columns)
        for words in under_way(verdict):
            yield Line("")
            yield Line(words, "warn")
        if not verdict.allow:
            yield Line("")
            yield Line(clean(f"start it all the same: {release_command(verdict.service)}"))


def journal(verdict: Verdict) -> Iterator[str]:
    """For the journal: at most 15 plain lines."""
    yield f"certwitness: {headline(verdict).text}"
    yield from (f"  {words}" for words in under_way(verdict))
    for finding in verdict.reasons[:1]:
        yield from _first(finding)
    others = verdict.reasons[1:]
    for finding in others[:_MOST_TOLD]:
        yield _short(finding)
    if len(others) > _MOST_TOLD:
        yield f"  and {plural(len(others) - _MOST_TOLD, 'more finding')}: certwitness gate {verdict.service}"
    if not verdict.allow:
        yield clean(f"  start it all the same: {release_command(verdict.service)}")
    if verdict.allow:
        for finding in verdict.warnings[:_MOST_TOLD]:
            yield _short(finding)
        reasons = dict.fromkeys(f"{one.where}: {one.found}" if one.where else one.found for one in verdict.unseen)
        for reason in [reason for reason in reasons if reason][:_MOST_TOLD]:
            yield clean(shorten(f"  not seen: {reason}", LONGEST_LINE))
        if verdict.note and (verdict.warnings or verdict.unseen):
            yield f"  {verdict.note}"


def standing(held: Iterable[Hold], now: datetime) -> Iterator[Line]:
    """The holds, for the top of `certwitness status`: which service, since when, why, and what to do."""
    for hold in held:
        breaks = next((text(finding.get("breaks")) for finding in hold.findings), "")
        if hold.release and hold.release.lasts(now):
            words = f"released by {hold.release.by}: {hold.release.reason}"
            yield Line(
                clean(f"RELEASED  {hold.service}: {words}{f' (it was held: {breaks})' if breaks else ''}"), "warn"
            )
        elif hold.findings:
            yield Line(clean(f"HELD  {hold.service} since {moment(hold.since)} UTC: {breaks}"), "bad")
            yield Line(
                clean(f"    see and mend it: certwitness gate {hold.service}; or {release_command(hold.service)}")
            )


def release_command(service: str) -> str:
    """What an administrator types to have it started all the same."""
    return f"certwitness release {shlex.quote(service)} --reason TEXT"


def _first(finding: Finding) -> Iterator[str]:
    """One finding: what was found, where, what to do, and the first command."""
    yield clean(f"  {finding.check}: {finding.certificate or 'this host'}")
    facts = (("found", finding.found), ("expected", finding.expected), ("where", finding.where),
             ("what to do", finding.remedy))  # fmt: skip
    for label, words in facts:
        if words:
            yield clean(shorten(f"  {label}: {words}", LONGEST_LINE))
    first = finding.commands[0] if finding.commands else ""
    if first and "\n" not in first and len(first) <= LONGEST_COMMAND:
        yield clean(f"  first: {first}")
    else:
        yield clean(f"  first: {verify_command(finding.certificate)}")


def _short(finding: Finding) -> str:
    return clean(shorten(f"  {finding.check}: {finding.certificate or 'this host'}: {finding.found}", LONGEST_LINE))

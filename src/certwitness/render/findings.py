# SPDX-License-Identifier: MIT
"""Findings for people: the worst first, each with what it breaks, and commands that can be copied as they stand."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from certwitness.findings import CRITICAL, ERROR, LEVELS, PENDING, UNKNOWN, WARNING, Finding, worst
from certwitness.render.runs import Line
from certwitness.render.text import clean, moment

STYLES = {CRITICAL: "bad", ERROR: "bad", WARNING: "warn", UNKNOWN: "warn", PENDING: "dim", "": "good"}
_NOUNS = ("error", "warning")
_LABEL = 10
_NARROWEST = 40


def headline(findings: Sequence[Finding], certificates: int, checks: int, host: str) -> Line:
    """How much was looked at, and how bad the worst of it is."""
    level = worst(findings)
    counts = [(sum(finding.level == one for finding in findings), one.lower()) for one in LEVELS]
    words = ", ".join(plural(count, name) if name in _NOUNS else f"{count} {name}" for count, name in counts if count)
    text = f"{host}: {plural(certificates, 'certificate')}, {plural(checks, 'check')}: {level or 'OK'}"
    return Line(clean(f"{text} ({words})" if words else text), STYLES[level])


def report(findings: Sequence[Finding], columns: int = 0, longest: int = 0) -> Iterator[Line]:
    """All findings by level, certificate and check. `columns` is the width to wrap prose at, 0 for none; commands of
    more than `longest` characters (0: any) are not shown, but where to see them.

    Those that could not look for one and the same reason are one block, and so are those that it is too early to judge.
    """
    certificates = list(dict.fromkeys(finding.certificate for finding in findings))
    ordered = sorted(findings, key=lambda one: (LEVELS.index(one.level), certificates.index(one.certificate)))
    before = ("", "")
    seen: dict[tuple[str, ...], Finding] = {}
    for finding in ordered:
        if finding.level in (UNKNOWN, PENDING):
            continue
        if (finding.level, finding.certificate) != before:
            before = (finding.level, finding.certificate)
            yield Line("")
            yield Line(clean(f"{finding.level}  {finding.certificate or 'this host'}"), STYLES[finding.level])
        yield Line("")
        yield from _paragraph(finding, columns)
        yield from _to_paste(finding, seen, longest)
    yield from _shared([one for one in ordered if one.level == UNKNOWN], columns)
    yield from _shared([one for one in ordered if one.level == PENDING], columns)


def checks_named(findings: Iterable[Finding]) -> str:
    """The checks of findings, each once, and its certificate, or how many they are."""
    certificates: dict[str, list[str]] = {}
    for finding in findings:
        certificates.setdefault(finding.check, []).append(finding.certificate)
    return ", ".join(_named(check, [name for name in names if name]) for check, names in certificates.items())


def labelled(label: str, words: str, columns: int, style: str = "") -> Iterator[Line]:
    """A label and what it says; more lines than one stand under its first word."""
    indent = " " * len(label)
    whole = label + clean(words)
    if not columns or len(whole) <= columns:
        yield Line(whole, style)
        return
    lines = textwrap.wrap(
        clean(words), max(columns - len(label), _NARROWEST), break_long_words=False, break_on_hyphens=False
    )
    for number, line in enumerate(lines):
        yield Line((indent if number else label) + line, style)


def verify_command(certificate: str) -> str:
    """How to look at a certificate again, or at everything ("")."""
    dashes = "-- " if certificate.startswith("-") else ""
    return f"certwitness verify {dashes}{shlex.quote(certificate)}" if certificate else "certwitness verify"


def plural(count: int, name: str) -> str:
    """A number of things: "1 check", "13 certificates"."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def _paragraph(finding: Finding, columns: int) -> Iterator[Line]:
    """One finding but for its commands, without level and certificate."""
    yield Line(clean(f"  {finding.check}"), "head")
    since = f"{moment(finding.since)} UTC" if finding.since else ""
    facts = (("found", finding.found), ("expected", finding.expected), ("breaks", finding.breaks), ("since", since),
             ("where", finding.where))  # fmt: skip
    for label, words in facts:
        if words:
            style = STYLES[finding.level] if label == "breaks" else ""
            yield from labelled(f"    {label.ljust(_LABEL)}", words, columns, style)
    if finding.remedy:
        yield Line("")
        yield from labelled("    what to do: ", finding.remedy, columns)


def _to_paste(finding: Finding, seen: dict[tuple[str, ...], Finding], longest: int) -> Iterator[Line]:
    """A finding's commands, or where they are. `seen` holds those that were printed so far."""
    if not finding.commands:
        return
    first = seen.setdefault(finding.commands, finding)
    yield Line("")
    if first is not finding:
        other = f" of {first.certificate or 'this host'}" if first.certificate != finding.certificate else ""
        yield Line(clean(f"        the same commands as for {first.check}{other} above"), "dim")
    elif longest and sum(map(len, finding.commands)) > longest:
        yield Line(clean(f"        the commands: {verify_command(finding.certificate)}"))
    else:
        yield from _commands(finding.commands)


def _named(check: str, certificates: list[str]) -> str:
    if not certificates:
        return check
    return f"{check} ({certificates[0] if len(certificates) == 1 else plural(len(certificates), 'certificate')})"


def _shared(findings: Sequence[Finding], columns: int) -> Iterator[Line]:
    """Blocks of findings without a verdict: each reason once, then the checks that it keeps from judging."""
    blocks: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        # The reason why it is too early stands in the place of what breaks, why nobody could look in what was found.
        unknown = f"{finding.where}: {finding.found}" if finding.where else finding.found
        reason = finding.breaks if finding.level == PENDING else unknown
        blocks.setdefault((reason, finding.remedy, *finding.commands), []).append(finding)
    for (reason, remedy, *commands), members in blocks.items():
        level = members[0].level
        style = STYLES[level]
        yield Line("")
        yield from labelled(f"{level}  ", reason, columns, style)
        label = "not judged" if level == PENDING else "not known"
        yield from labelled(f"    {label}  ", checks_named(members), columns, style if level == PENDING else "")
        if remedy and level == UNKNOWN:
            yield from labelled("    what to do: ", remedy, columns)
        if commands and level == UNKNOWN:
            yield Line("")
            yield from _commands(commands)


def _commands(commands: Iterable[str]) -> Iterator[Line]:
    """Commands to copy: never wrapped, never marked. One of several lines, as a here-document is, begins at the margin:
    its last line ends it only there, and LDIF takes a blank in front for the line before going on."""
    commands = list(commands)
    margin = "" if any("\n" in command for command in commands) else "        "
    for command in commands:
        for line in command.split("\n"):
            yield Line(margin + clean(line))

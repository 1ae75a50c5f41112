# SPDX-License-Identifier: MIT
"""`certwitness renewals`: one row a renewal."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase

import click

from certwitness.cli.options import (
    config_option,
    configuration,
    empty_log,
    json_option,
    problems_as_json,
    report_problems,
)
from certwitness.events import fold, reader, renewals
from certwitness.events.renewals import CRITICAL, OK, UNKNOWN, WARNING, Renewal
from certwitness.render.tables import Cell, Column, on_terminal, print_table, width
from certwitness.render.text import moment, shorten

STATUS_NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
STATUS_STYLES = {OK: "good", WARNING: "warn", CRITICAL: "bad", UNKNOWN: "warn"}
# What is worse comes later; to know a failure is worse than not to know.
SEVERITY = (OK, UNKNOWN, WARNING, CRITICAL)
LONGEST_MEANING = 240
WIDE = 150

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command("renewals")
@click.option(
    "--since", metavar="WHEN", help="Only what went on since then: 7d, 12h, 30m, 2026-11-01, 2026-11-01T12:00 (UTC)."
)
@click.option("--cert", metavar="NAME", help="Only this certificate: its nickname, or a pattern with * and ?.")
@click.option("--ca", metavar="NAME", help="Only this CA, as certmonger calls it.")
@click.option("--state", metavar="STATE", type=click.Choice(list(renewals.STATES)), help="Only renewals in this state.")
@json_option
@config_option
@click.pass_context
def command(
    ctx: click.Context, since: str | None, cert: str | None, ca: str | None, state: str | None, as_json: bool
) -> None:
    """One row a renewal, newest first: when, certificate, CA, attempts, state, what it means, next try.

    \b
    Exit status: the worst of the latest renewal of each certificate shown:
      0 issued, waiting, running, or a new key is made
      1 unreachable, rejected or unconfigured; issued, but did not land, or perhaps
        not in LDAP; a helper that runs for over two hours
      2 stuck; or failing, and the certificate has expired; or it is proved what will break
      3 nothing recorded yet, or the log cannot be read

    \b
    States: issued, waiting, running, new-key, superseded, unreachable, rejected,
            unconfigured, needs-scep, stuck, unknown
    """
    now = datetime.now(timezone.utc)
    earliest = _stamp(moment_of(since, now)) if since is not None else ""
    path = configuration(ctx).events_file
    problems = reader.Problems()
    folding = fold.Fold()
    skipped = _Counter()
    for event in reader.read_log(path, problems.report, skipped.skip):
        folding.add(event)
    found = [
        renewal
        for renewal in fold.newest_first(folding.finish())
        if renewal.last >= earliest
        and (cert is None or fnmatchcase(renewal.nickname or "", cert) or renewal.nickname == cert)
        and (ca is None or renewal.ca == ca)
        and (state is None or renewal.state == state)
    ]
    events = folding.events + skipped.count
    status = overall_status(found, _stamp(now)) if events else UNKNOWN
    if as_json:
        _print_json(path, status, found, problems, _stamp(now))
    elif events == 0:
        click.echo(empty_log(path))
    elif not found:
        filtered = earliest or cert or ca or state
        click.echo("No renewal matches." if filtered else f"No renewal yet; other events in the log: {events}.")
    else:
        _print_rows(found, _stamp(now))
    report_problems(problems)
    ctx.exit(status)


class _Counter:
    """Skips data operations, and counts them: a log that holds nothing else is not empty."""

    def __init__(self) -> None:
        self.count = 0

    def skip(self, line: bytes) -> bool:
        if reader.is_data_operation(line):
            self.count += 1
            return True
        return False


def overall_status(found: list[Renewal], now: str) -> int:
    """The worst status among those that no newer renewal of the same certificate continues; OK without any."""
    statuses = [renewal.status(now) for renewal in found if not renewal.continued_by]
    return max(statuses, key=SEVERITY.index, default=OK)


def moment_of(text: str, now: datetime) -> datetime:
    """The moment that ``--since`` names: an age counted back from ``now``, or an ISO 8601 date. Raises BadParameter."""
    ago = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if ago:
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            return datetime.min.replace(tzinfo=timezone.utc)
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither like 7d, 12h, 30m nor an ISO 8601 date.", param_hint="--since"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _stamp(moment: datetime) -> str:
    """In the log's form, so that texts compare as times do."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _print_json(path: str, status: int, found: list[Renewal], problems: reader.Problems, now: str) -> None:
    head = {"log": path, "status": STATUS_NAMES[status], "problems": problems_as_json(problems)}
    out = sys.stdout
    out.write(json.dumps(head)[:-1] + ', "renewals": [')
    for index, renewal in enumerate(found):
        out.write((",\n" if index else "\n") + json.dumps(renewal.as_json(now)))
    out.write("]}\n")


def _print_rows(found: list[Renewal], now: str) -> None:
    narrow = on_terminal() and width() < WIDE
    if narrow:
        columns = [Column("when (UTC)"), Column("certificate, CA"), Column("tries", True), Column("state", True),
                   Column("meaning, next try")]  # fmt: skip
    else:
        columns = [Column("when (UTC)", True), Column("certificate"), Column("CA"), Column("attempts", True),
                   Column("state", True), Column("meaning"), Column("next try"), Column("trace", True)]  # fmt: skip
    rows = []
    for renewal in found:
        status = renewal.status(now)
        state = Cell(renewal.state, "dim" if renewal.continued_by else STATUS_STYLES[status])
        when, trace = moment(renewal.last)[:16], renewal.trace_id[:8]
        meaning = shorten(renewal.meaning(), LONGEST_MEANING)
        following = renewal.next_text() or "-"
        if narrow:
            rows.append(
                [Cell(when, below=trace), Cell(renewal.name, below=renewal.ca), Cell(str(renewal.attempts)), state,
                 Cell(meaning, below="" if following == "-" else following)]
            )  # fmt: skip
        else:
            rows.append(
                [Cell(when), Cell(renewal.name), Cell(renewal.ca), Cell(str(renewal.attempts)), state, Cell(meaning),
                 Cell(following), Cell(trace)]
            )  # fmt: skip
    print_table(columns, rows)

# SPDX-License-Identifier: MIT
"""`certwitness explain`: what an exit code or a message means, what certmonger does next, what to do."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from certwitness import operations, protocol, signals
from certwitness.cli.options import config_option, json_option
from certwitness.render.text import clean, shorten

OK, UNKNOWN = 0, 3
# Of a journal that is piped in by mistake not all is kept.
LONGEST_INPUT = 4 << 20


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="CODE|TEXT...|-", nargs=-1, required=True)
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """What an exit code or a message of a helper means, what certmonger does next, what to do.

    CODE is an exit status (0 to 255), a name such as UNREACHABLE, or a death such as "signal 9" or SIGKILL. TEXT is
    what getcert list shows as ca-error, or a line of the journal; with - it is read from standard input, line by line.

    Exit status: 0 explained, 3 not known.
    """
    if words == ("-",):
        lines = sys.stdin.buffer.read(LONGEST_INPUT).decode(errors="replace").splitlines()
    else:
        lines = [" ".join(words)]
    answers = [answer for line in lines if line.strip() for answer in explain(line.strip())]
    if as_json:
        click.echo(json.dumps({"answers": answers}, indent=1))
    else:
        for index, answer in enumerate(answers):
            click.echo(("\n" if index else "") + _in_words(answer))
        if not answers:
            given = shorten(clean(" ".join(lines)), 120)
            click.echo(f"Nothing is known about {given!r}." if given.strip() else "Nothing was given to explain.")
            click.echo("An exit code (0 to 255), signal 9, or the text of ca-error from getcert list can be explained.")
    ctx.exit(OK if answers else UNKNOWN)


def explain(line: str) -> list[dict[str, Any]]:
    """The answers to one line, [] if nothing is known about it."""
    number = re.fullmatch(r"(?:exit(?:ed)?(?: code| status)?|code|status)?[ =:]*(\d{1,3})", line, re.IGNORECASE)
    if number and int(number[1]) <= 255:
        return [_of_exit(protocol.outcome(int(number[1])), line)]
    signal = _signal(line)
    if signal is not None:
        return [_of_exit(protocol.outcome(signal=signal), line)]
    named = [entry for entry in protocol.TABLE if entry.name == line.upper() and entry.name != "RESERVED"]
    if named:
        return [_of_exit(named[0], line)]
    from certwitness.diagnosis import messages

    return [_of_message(message, line) for message in messages.find(line)[:1]]


def _signal(line: str) -> int | None:
    match = re.fullmatch(r"(?:(?:killed by |died of )?signal )(\d{1,3})", line, re.IGNORECASE)
    if match:
        return int(match[1]) if 1 <= int(match[1]) <= 64 else None
    name = re.sub("^KILLED BY ", "", line.upper())
    for number in range(1, 65):
        if signals.signal_name(number) == name:
            return number
    return None


def _of_exit(entry: protocol.Outcome, line: str) -> dict[str, Any]:
    return {
        "given": line,
        "kind": "exit",
        "code": entry.code,
        "signal": entry.signal,
        "name": entry.name,
        "meaning": entry.meaning,
        "promise": entry.promise,
        "operations": list(entry.operations),
        "first": {"state": entry.state_first, "stuck": entry.stuck_first},
        "renewal": {"state": entry.state_renewal, "stuck": entry.stuck_renewal},
        "next": entry.retry,
        "shows_ca_error": entry.shows_ca_error,
        "to_do": entry.look_at,
        "data_operation": operations.for_data_operation(entry.code, entry.signal),
        "without_promise": protocol.outcome(entry.code, kept=False).meaning if entry.code in (0, 1, 5) else None,
    }


def _of_message(message: Any, line: str) -> dict[str, Any]:
    following = "" if message.exit is None else protocol.outcome(message.exit).retry
    return {
        "given": line,
        "kind": "message",
        "name": message.key,
        "meaning": message.meaning,
        "source": message.source,
        "code": message.exit,
        "next": following or None,
        "to_do": message.next_step,
    }


def _in_words(answer: dict[str, Any]) -> str:
    if answer["kind"] == "message":
        lines = [
            shorten(clean(answer["given"]), 200),
            f"  said by    {answer['source']}",
            f"  meaning    {answer['meaning']}",
        ]
        if answer["next"]:
            exit_name = protocol.outcome(answer["code"]).name
            lines.append(
                f"  next       with exit {answer['code']} ({exit_name}) certmonger tries again: {answer['next']}"
            )
        return "\n".join([*lines, f"  to do      {answer['to_do']}"])
    title = answer["name"] if answer["code"] is None else f"exit {answer['code']}: {answer['name']}"
    lines = [title, f"  meaning    {answer['meaning']}", f"  stdout     {_PROMISES[answer['promise']]}"]
    if answer["operations"] and len(answer["operations"]) < len(operations.OPERATIONS):
        lines.append(f"  for        {', '.join(answer['operations'])}")
    lines += [
        f"  first      {_state(answer['first'])}",
        f"  renewal    {_state(answer['renewal'])}",
        f"  try again  {answer['next']}",
        f"  ca-error   {'the first line of stdout' if answer['shows_ca_error'] else 'none'}",
        f"  look at    {answer['to_do']}",
        f"  otherwise  as a data operation (IDENTIFY, FETCH-ROOTS, ...): {answer['data_operation']}",
    ]
    if answer["without_promise"]:
        lines.append(f"  beware     {answer['without_promise']} NEED_GUIDANCE, stuck for ever.")
    return "\n".join(lines)


_PROMISES = {
    "certificate": "must hold the certificate",
    "cookie": "must hold a cookie, on one line",
    "delay+cookie": "must hold a number of seconds, then a cookie on the second line",
    "message": "may hold the reason",
    "text": "may hold anything",
    "nothing": "is thrown away",
}


def _state(state: dict[str, Any]) -> str:
    return f"{state['state']}{', stuck' if state['stuck'] else ''}"

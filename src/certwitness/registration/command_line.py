# SPDX-License-Identifier: MIT
"""A helper's or hook's command line, split and quoted as certmonger does it (certmonger.md, 1; seen with 0.79.17).

No shell: blanks separate; '…' and "…" group, and a backslash within them is an ordinary character; outside of them it
escapes quotes and itself. Empty arguments are dropped. An escape of anything else stays switched on, blanks and one
quote included, until the next quote or backslash: so nothing is ever quoted with a backslash here.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

from certwitness.errors import CertwitnessError
from certwitness.redaction import redact_command, redact_line, redact_text

_BLANKS = " \t\r\n"
_QUOTES = "'\""


class CommandLineError(CertwitnessError):
    """certmonger could not split the command: it would run nothing, and say so only in its log."""


class Word(NamedTuple):
    """An argument: what the program gets, and where it stands in the command line, quotes included."""

    text: str
    start: int
    end: int


def words(command: str) -> list[Word]:  # noqa: PLR0912  (one state machine reads best in one piece)
    """The arguments of `command`. Raises CommandLineError."""
    found: list[Word] = []
    text, start, quote, escaped = "", -1, "", False
    for position, character in enumerate(command):
        if start < 0 and character not in _BLANKS:
            start = position
        if quote:
            if character == quote:
                quote = ""
            else:
                text += character
        elif escaped:
            text += character
            escaped = character not in "\\'\""
        elif character == "\\":
            escaped = True
        elif character in _QUOTES:
            quote = character
        elif character in _BLANKS:
            if text:
                found.append(Word(text, start, position))
            text, start = "", -1
        else:
            text += character
    if quote:
        raise CommandLineError(f"{redact_line(command)!r}: unmatched {quote}")
    if escaped:
        told = "a backslash escapes nothing; certmonger knows no '\\ ': use quotes"
        raise CommandLineError(f"{redact_line(command)!r}: {told}")
    if text:
        found.append(Word(text, start, len(command)))
    return found


def split(command: str) -> list[str]:
    """The arguments of `command` as the program gets them. Raises CommandLineError."""
    return [word.text for word in words(command)]


def shown(command: str) -> str:
    """A command for people, programs and logs: without secrets, and byte for byte where it holds none."""
    try:
        argv = split(command)
    except CommandLineError:
        return redact_line(command)
    safe = redact_command(argv)
    return redact_text(command if safe == argv else " ".join(map(quote, safe)))


def quote(word: str) -> str:
    """`word` so that certmonger makes one argument of it. Raises CommandLineError for "", which it drops."""
    if not word:
        raise CommandLineError("certmonger passes no empty argument")
    if not any(character in _BLANKS + _QUOTES + "\\" for character in word):
        return word
    if "'" not in word:
        return f"'{word}'"
    if '"' not in word:
        return f'"{word}"'
    return '"\'"'.join(f"'{part}'" if part else "" for part in word.split("'"))


def modify_ca(name: str, command: str) -> str:
    """The command of an administrator's shell that sets a CA's helper to the same."""
    return f"getcert modify-ca -c {shlex.quote(name)} -e {shlex.quote(command)}"


def modify_hooks(identifier: str, before: str | None, after: str | None) -> str:
    """The same for a request's pre-save and post-save commands; None leaves one as it is."""
    options = [f" {option} {shlex.quote(text)}" for option, text in (("-B", before), ("-C", after)) if text is not None]
    return f"getcert start-tracking -i {shlex.quote(identifier)}{''.join(options)}"

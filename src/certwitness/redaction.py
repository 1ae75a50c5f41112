# SPDX-License-Identifier: MIT
r"""Secrets taken out of what is kept: command lines and text that helpers print.

What carries secrets (certmonger 0.79.17, ``--help`` and output of its helpers):

- dogtag-submit and dogtag-ipa-renew-agent-submit: ``-P/--sslpin``, ``-W/--userpwd``, ``-Y/--userpin`` and name=value
  pairs given with ``-o`` and ``-O``; ipa-submit: ``-W/--pwd`` (its ``-P`` is a principal). ``-p`` is the path of a file
  with the PIN, which stays; other programs take a password there, which goes.
- With ``-v`` the Dogtag helpers print each URL: ``…cert_request=-----BEGIN+CERTIFICATE+REQUEST-----…&pwd=…&pin=…``;
  with ``-v -v`` libcurl adds the request's headers. A signing request may hold a challenge password in clear text.

Imports nothing: the helpers load it on every run. `re` is loaded by `redact_text` alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence
    from typing import Union

    Replacement = Union[str, Callable[[re.Match[str]], str]]

MARK = "***"
NOTHING, SECRET, SECRET_OR_PATH = range(3)

_SECRET_PARTS = ("pin", "pwd", "passw", "passin", "passphrase", "secret", "token", "credential", "challenge")
_SECRET_ENDS = ("pass", "pw")
_SECRET_LETTERS = "PWY"  # noqa: S105 (letters of options, no password)
_FLAG_LETTERS = "vtNRaK"  # the helpers' short options without a value: they may stand before another in one word
_QUOTES = "\"'"


def redact_command(argv: Sequence[str]) -> list[str]:
    """`argv` with the value of each secret option and each secret name=value pair replaced by `MARK`.

    In doubt a value goes: the word after a secret option is its value, and if it looks like an option, that too.
    """
    letters = _SECRET_LETTERS
    redacted: list[str] = []
    follows = NOTHING
    for word in argv:
        if word.rpartition("/")[2] == "ipa-submit":
            letters = letters.replace("P", "")
        shown, next_follows = _word(word, letters)
        redacted.append(MARK if _is_value(word, follows) else shown)
        follows = next_follows
    return redacted


def redact_line(command: str) -> str:
    """A command that is one text, byte for byte where it holds no secret."""
    words = command.split()
    safe = redact_command(words)
    return redact_text(command if safe == words else " ".join(safe))


def _word(word: str, letters: str) -> tuple[str, int]:
    """One word as it may be shown, and what the next one is: NOTHING, SECRET or SECRET_OR_PATH."""
    if not word.startswith("-"):
        return _operand(word, letters), NOTHING
    name, equals, value = word.partition("=")
    is_secret = _is_secret(name) and name.replace("-", "").replace("_", "").isalnum()
    if not word.startswith("--"):
        rest = word[1:].lstrip(_FLAG_LETTERS)
        if rest and rest[0] in letters:
            return word[: len(word) - len(rest) + 1] + (MARK if rest[1:] else ""), NOTHING if rest[1:] else SECRET
        if rest == "p":
            return word, SECRET_OR_PATH
        if rest[:1] == "p" and not is_secret and rest[1] != "/":
            return word[: len(word) - len(rest) + 1] + MARK, NOTHING
    if is_secret:
        return name + equals + (MARK if equals else ""), NOTHING if equals else SECRET
    return (name + equals + _operand(value, letters) if equals else _operand(word, letters)), NOTHING


def _is_value(word: str, follows: int) -> bool:
    """Whether `word` is a secret, where the word before says that `follows`."""
    return follows == SECRET or (follows == SECRET_OR_PATH and not word.startswith("/"))


def _operand(word: str, letters: str) -> str:
    """A word that is no option: a name=value pair, a URL, a signing request, a command line for a shell."""
    name, equals, _value = word.partition("=")
    if equals and _is_secret(name) and name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return name + equals + MARK
    if "BEGIN" in word or ("://" in word and ("@" in word or "=" in word)):
        word = redact_text(word)
    plain = word.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    if " " in plain:
        shown = " ".join(_command_line(plain.split(" "), letters))
        return word if shown == plain else shown
    return word


def _command_line(parts: list[str], letters: str) -> list[str]:
    """The words of a command line that is itself one argument (``sh -c '…'``), redacted as `redact_command` does; a
    quoted secret reaches to the closing quote."""
    redacted: list[str] = []
    follows = NOTHING
    open_quote = ""
    for part in parts:
        if open_quote:
            open_quote = "" if open_quote in part else open_quote
            continue
        core = part.strip(_QUOTES)
        shown, next_follows = _word(core, letters)
        if core and _is_value(core, follows):
            shown = MARK
        if shown != core:
            value = part[len(part.partition("=")[0]) + 1 :] if "=" in core and follows == NOTHING else part
            open_quote = value[:1] if value[:1] in _QUOTES and value.count(value[:1]) == 1 else ""
        redacted.append(part if shown == core else shown)
        follows = next_follows if core else follows
    return redacted


def _is_secret(name: str) -> bool:
    """Whether an option or variable of this name holds a secret; names of files do not (``--sslpinfile``)."""
    name = name.lower()
    return name.endswith(_SECRET_ENDS) or (not name.endswith("file") and any(part in name for part in _SECRET_PARTS))


def redact_text(text: str, has_challenge_password: bool = False, *, is_tail: bool = False) -> str:
    """`text` without private keys, signing requests, passwords in URLs, and credentials in HTTP headers.

    Keys and requests are found as PEM, also percent-encoded or JSON-escaped, also with beginning or end cut off.
    With `has_challenge_password` all other long base64 but certificates goes, too: it may be the request, or its
    SPKAC, which holds the same password. `text` that `is_tail`, the end of a stream whose middle is not kept, loses
    all up to the end of a block that began before it. What was left out is said in brackets. Never raises.
    """
    rules = _rules()
    for pattern, replacement in rules.always:
        text = pattern.sub(replacement, text)
    text = _without_cut_blocks(text, rules.end, is_tail)
    if not has_challenge_password:
        return text
    parts = rules.certificate.split(text)  # every second part is a certificate
    parts[::2] = [rules.base64.sub("[base64 left out]", part) for part in parts[::2]]
    return "".join(parts)


def _without_cut_blocks(text: str, end: re.Pattern[str], is_tail: bool) -> str:
    """Remove blocks whose beginning is missing."""
    shown = ""
    position = 0
    for match in end.finditer(text):
        # Where the beginning was cut off, the block reaches back to the cut, whatever stands between its lines.
        before = "" if is_tail else text[position : match.start()].rstrip(_BODY_CHARACTERS)
        shown = ("" if is_tail else shown) + before + _left_out(match)
        position = match.end()
    return shown + text[position:]


_BODY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=%\\ \t\r\n"
_loaded: list[_Rules] = []


def _left_out(match: re.Match[str]) -> str:
    return f"[{match['label'].replace('+', ' ').replace('%20', ' ')} left out]"


class _Rules:
    """The patterns. None of them backtracks over more than a bounded stretch."""

    def __init__(self) -> None:
        import re

        # Spaces and hyphens of a PEM marker as they are, in a URL, and in JSON.
        dashes, space = r"(?:-|%2[dD]|\\u002[dD]){5}", r"(?:[ +]|%20)"
        words = rf"(?:[A-Z0-9]{{1,20}}{space}){{0,3}}?(?:PRIVATE{space}KEY|CERTIFICATE{space}REQUEST)"
        begin, end = (rf"{dashes}{edge}{space}(?P<label>{words}){dashes}" for edge in ("BEGIN", "END"))
        secret, ends = "|".join(_SECRET_PARTS), "|".join(_SECRET_ENDS)
        name = r"[\w.%-]{0,64}"
        self.always: list[tuple[re.Pattern[str], Replacement]] = [
            (re.compile(rf"(?s){begin}.*?(?:{dashes}END{space}{words}{dashes}|\Z)"), _left_out),
            (
                re.compile(rf"(?im)(^|[?&;,\s\"'])((?!{name}file=){name}?(?:(?:{secret}){name}|{ends})=)[^&;\s\"'<>]+"),
                rf"\1\2{MARK}",
            ),
            (re.compile(r"(://[^/\s:@\"'<>]*:)[^/\s@\"'<>]+@"), rf"\1{MARK}@"),
            (
                re.compile(r"(?im)^([<>]?[ \t]*(?:(?:proxy-)?authorization:[ \t]*\w+|(?:set-)?cookie:))[ \t][^\r\n]*"),
                rf"\1 {MARK}",
            ),
        ]
        self.end = re.compile(end)
        edges = (rf"{dashes}{edge}{space}CERTIFICATE{dashes}" for edge in ("BEGIN", "END"))
        self.certificate = re.compile(rf"(?s)({'.*?'.join(edges)})")
        self.base64 = re.compile(r"(?:[A-Za-z0-9+/=\r\n]|%2[BbFf]|%3[Dd]|%0[AaDd]|\\[nr/]){60,}")


def _rules() -> _Rules:
    if not _loaded:
        _loaded.append(_Rules())
    return _loaded[0]

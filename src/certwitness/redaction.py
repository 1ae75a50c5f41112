# SPDX-License-Identifier: MIT
r"""Secrets taken out of what is kept: command lines and text that helpers print.

What carries secrets (certmonger 0.79.17, ``--help`` and output of its helpers):

- dogtag-submit and dogtag-ipa-renew-agent-submit: ``-P/--sslpin``, ``-W/--userpwd``, ``-Y/--userpin`` and name=value
  pairs given with ``-o`` and ``-O``; ipa-submit: ``-W/--pwd`` (its ``-P`` is a principal).
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

_SECRET_PARTS = ("pin", "pwd", "passw", "passin", "passphrase", "secret", "token", "credential", "challenge")
_SECRET_LETTERS = "PWY"  # noqa: S105 (letters of options, no password)
_FLAG_LETTERS = "vtNRaK"  # the helpers' short options without a value: they may stand before another in one word


def redact_command(argv: Sequence[str]) -> list[str]:
    """`argv` with the value of each secret option and each secret name=value pair replaced by `MARK`.

    In doubt a value goes: the word after a secret option is its value, and if it looks like an option, that too.
    """
    letters = _SECRET_LETTERS
    redacted: list[str] = []
    value_follows = False
    for word in argv:
        if word.rpartition("/")[2] == "ipa-submit":
            letters = letters.replace("P", "")
        shown, next_follows = _word(word, letters)
        redacted.append(MARK if value_follows else shown)
        value_follows = next_follows
    return redacted


def _word(word: str, letters: str) -> tuple[str, bool]:
    """One word as it may be shown, and whether the next one is a secret value."""
    if not word.startswith("-"):
        return _operand(word, letters), False
    if not word.startswith("--"):
        rest = word[1:].lstrip(_FLAG_LETTERS)
        if rest and rest[0] in letters:
            return word[: len(word) - len(rest) + 1] + (MARK if rest[1:] else ""), not rest[1:]
    name, equals, value = word.partition("=")
    if _is_secret(name) and name.replace("-", "").replace("_", "").isalnum():
        return name + equals + (MARK if equals else ""), not equals
    return (name + equals + _operand(value, letters) if equals else _operand(word, letters)), False


def _operand(word: str, letters: str) -> str:
    """A word that is no option: a name=value pair, a URL, a signing request, a command line for a shell."""
    name, equals, _value = word.partition("=")
    if equals and _is_secret(name) and name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return name + equals + MARK
    if "BEGIN" in word or ("://" in word and ("@" in word or "=" in word)):
        word = redact_text(word)
    if " " in word:
        return " ".join(_command_line(word.split(" "), letters))
    return word


def _command_line(parts: list[str], letters: str) -> list[str]:
    """The words of a command line that is itself one argument (``sh -c '…'``), redacted as `redact_command` does."""
    redacted: list[str] = []
    value_follows = False
    for part in parts:
        shown, next_follows = _word(part, letters)
        redacted.append(MARK if value_follows and part else shown)
        value_follows = next_follows or (value_follows and not part)
    return redacted


def _is_secret(name: str) -> bool:
    """Whether an option or variable of this name holds a secret; names of files do not (``--sslpinfile``)."""
    name = name.lower()
    return not name.endswith("file") and any(part in name for part in _SECRET_PARTS)


def redact_text(text: str, has_challenge_password: bool = False) -> str:
    """`text` without private keys, signing requests, passwords in URLs, and credentials in HTTP headers.

    Keys and requests are found as PEM, also percent-encoded or JSON-escaped, also with beginning or end cut off.
    With `has_challenge_password` all other long base64 but certificates goes, too: it may be the request, or its
    SPKAC, which holds the same password. What was left out is said in brackets. Never raises.
    """
    rules = _rules()
    for pattern, replacement in rules.always:
        text = pattern.sub(replacement, text)
    text = _without_cut_blocks(text, rules.end)
    if not has_challenge_password:
        return text
    parts = rules.certificate.split(text)  # every second part is a certificate
    parts[::2] = [rules.base64.sub("[base64 left out]", part) for part in parts[::2]]
    return "".join(parts)


def _without_cut_blocks(text: str, end: re.Pattern[str]) -> str:
    """Remove blocks whose beginning is missing: the end of a long stream is kept without its middle."""
    shown = ""
    position = 0
    for match in end.finditer(text):
        before = text[position : match.start()].rstrip(_BODY_CHARACTERS)
        shown += before + _left_out(match)
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
        secret = "|".join(_SECRET_PARTS)
        name = r"[\w.%-]{0,64}"
        self.always: list[tuple[re.Pattern[str], Replacement]] = [
            (re.compile(rf"(?s){begin}.*?(?:{dashes}END{space}{words}{dashes}|\Z)"), _left_out),
            (
                re.compile(rf"(?im)(^|[?&;,\s\"'])((?!{name}file=){name}?(?:{secret}){name}=)[^&;\s\"'<>]+"),
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

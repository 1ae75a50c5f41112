# SPDX-License-Identifier: MIT
"""Text from the network made safe to show. Everything that comes from an event passes here before it is printed."""

from __future__ import annotations

import re

# C0, DEL and C1 controls (newline and tab too); marks, overrides and isolates of the bidirectional algorithm; line and
# paragraph separators; invisible and deprecated format characters; surrogates, which cannot be printed at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """``text`` with everything that could steer a terminal or break a line shown as \\x1b, \\u202e or \\n."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    common = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if character in common:
        return common[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def clean_lines(text: str) -> list[str]:
    """The lines of ``text``, each cleaned; a carriage return before a newline belongs to it, empty lines go."""
    return [clean(line.rstrip("\r")) for line in text.split("\n") if line.strip()]


def shorten(text: str, longest: int) -> str:
    """``text`` cut to ``longest`` characters, with … in the place of the rest."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def moment(timestamp: str) -> str:
    """A timestamp of the log as people read it, in UTC: "2026-11-23 19:26:00"."""
    return timestamp[:19].replace("T", " ")

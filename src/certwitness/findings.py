# SPDX-License-Identifier: MIT
"""A finding: one result of a check, with what it breaks and how to mend it. And the exit status of several.

CRITICAL proves that something will fail at the next start or renewal, ERROR is a store that is wrong, WARNING a risk,
UNKNOWN says that we could not look, PENDING that it is too early to judge: a renewal is between its steps, or
replication may still heal it. UNKNOWN and PENDING accuse nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

CRITICAL, ERROR, WARNING, UNKNOWN, PENDING = "CRITICAL", "ERROR", "WARNING", "UNKNOWN", "PENDING"
# The worst first.
LEVELS = (CRITICAL, ERROR, WARNING, UNKNOWN, PENDING)
# Exit statuses of the monitoring plugins.
EXIT = {CRITICAL: 2, ERROR: 2, WARNING: 1, UNKNOWN: 3, PENDING: 0}
OK = 0
_ALWAYS = ("check", "level", "expected", "found", "breaks", "remedy")


@dataclass(frozen=True)
class Finding:
    """What a check found.

    `check` is its stable name, `level` one of LEVELS. `certificate` is the tracked certificate as certmonger names it
    (nickname or PEM file), "" for a finding about the host. `where` names the store: an entry's DN, a file, a database.
    `expected`, `found` and `breaks` are one sentence or less each, `remedy` says what to do, `commands` are the lines
    to paste as root, each complete (a here-document is one of them). `since` is a timestamp as in the log, "" if not
    known.
    """

    check: str
    level: str
    certificate: str = ""
    where: str = ""
    expected: str = ""
    found: str = ""
    breaks: str = ""
    remedy: str = ""
    commands: tuple[str, ...] = ()
    since: str = ""

    def pending(self, reason: str) -> Finding:
        """The same, not judged yet because of `reason`."""
        return replace(self, level=PENDING, breaks=reason)

    @classmethod
    def from_event(cls, fields: Mapping[str, Any]) -> Finding:
        """What `as_event` gave."""
        return cls(**{**fields, "commands": tuple(fields.get("commands", ()))})

    def as_event(self) -> dict[str, Any]:
        """As events and ``--json`` have it; certificate, where, commands and since only where they say something."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["commands"] = list(self.commands)
        return {name: value for name, value in fields.items() if value or name in _ALWAYS}


def worst(findings: Iterable[Finding]) -> str:
    """The worst level among them, "" without any."""
    return min((finding.level for finding in findings), key=LEVELS.index, default="")


def exit_status(findings: Iterable[Finding]) -> int:
    """0 OK, 1 WARNING, 2 CRITICAL (an ERROR too), 3 UNKNOWN where nothing worse is known."""
    level = worst(findings)
    return EXIT[level] if level else OK

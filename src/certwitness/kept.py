# SPDX-License-Identifier: MIT
"""Text from a store, and findings with such text, as the event log keeps them: without secrets, and not without end."""

from __future__ import annotations

from typing import Any

from certwitness.findings import CRITICAL, ERROR, WARNING, Finding
from certwitness.redaction import redact_text

LONGEST_TEXT = 1000
# A finding's level: that of an event that tells it, and that of a line in the journal.
LEVELS = {CRITICAL: ("critical", "crit"), ERROR: ("error", "err"), WARNING: ("warning", "warning")}


def text(words: str) -> str:
    """The first LONGEST_TEXT characters, with … where there were more."""
    kept = redact_text(words[:LONGEST_TEXT])
    return kept if len(words) <= LONGEST_TEXT else f"{kept}…"


def finding(found: Finding) -> dict[str, Any]:
    """Its fields in an event."""
    kept = found.as_event()
    kept.update({name: redact_text(kept[name]) for name in ("where", "breaks", "remedy") if name in kept})
    kept.update(expected=text(found.expected), found=text(found.found))
    return {**kept, "commands": list(map(redact_text, found.commands))} if found.commands else kept

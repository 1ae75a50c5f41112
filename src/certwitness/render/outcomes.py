# SPDX-License-Identifier: MIT
"""Whether a renewed certificate landed, as the end of its timeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certwitness.events import outcomes
from certwitness.events.fields import mappings, text, texts
from certwitness.findings import ERROR, LEVELS, Finding
from certwitness.render.findings import report, verify_command
from certwitness.render.runs import Event, Line
from certwitness.render.text import clean, moment

_FOUND = {"older": "an older certificate", "newer": "a newer certificate", "other": "something different"}


def outcome_lines(event: Event | None, name: str, columns: int = 0) -> Iterator[Line]:
    """What the last `verified` event says (None: there is none) of the certificate `name` ("" where that is not known).

    A line at first that begins "landed" or "did not land"; then the places that missed it, and the findings with their
    remedies.
    """
    verify = verify_command(name)
    if event is None:
        yield Line(clean(f"landed? nobody has looked since; see {verify}"))
        return
    outcome = outcomes.of_event(event)
    at = moment(outcome.at)
    if outcome.outcome != outcomes.ASTRAY:
        stores = dict.fromkeys(text(place.get("store")) for place in mappings(event.get("stores")))
        yield Line(clean(f"landed: {', '.join(stores)} (seen {at} UTC)"), "good")
        return
    yield Line(clean(f"{outcome.words()} (seen {at} UTC)"), "bad" if outcome.critical else "warn")
    for place in outcomes.places_astray(event):
        mark, reason = text(place.get("mark")), text(place.get("reason"))
        yield Line(
            clean(f"  {text(place.get('store'))}: {text(place.get('where'))}: {reason or _FOUND.get(mark, mark)}")
        )
    yield from report([_finding(fields) for fields in mappings(event.get("findings"))], columns)
    yield Line("")
    yield Line(clean(f"when it is mended: {verify}"))


def _finding(fields: dict[str, Any]) -> Finding:
    words = {name: text(fields.get(name)) for name in Finding.__dataclass_fields__}
    level = words["level"] if words["level"] in LEVELS else ERROR
    return Finding(**{**words, "level": level, "commands": tuple(texts(fields.get("commands")))})  # type: ignore[arg-type]

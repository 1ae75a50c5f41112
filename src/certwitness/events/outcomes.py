# SPDX-License-Identifier: MIT
"""Whether a renewed certificate landed, as a `verified` event tells it."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from certwitness.events.fields import mappings, text

LANDED, ASTRAY = "landed", "did not land"


class Outcome(NamedTuple):
    """What the last `verified` event of a renewal says.

    outcome: "landed", "did not land", or "" where nobody has looked yet; at: the event's timestamp; stores: those that
    do not hold the certificate, in the order in which a renewal reaches them; critical: whether a finding proves what
    will fail because of it.
    """

    outcome: str = ""
    at: str = ""
    stores: tuple[str, ...] = ()
    critical: bool = False

    def words(self) -> str:
        """One line (not cleaned): "landed", "did not land: users, CS.cfg"; "" where nobody has looked yet."""
        return f"{self.outcome}: {', '.join(self.stores)}" if self.stores else self.outcome

    def as_json(self) -> dict[str, Any]:
        """Its part of a renewal's stable form."""
        return {"outcome": self.outcome or None, "outcome_at": self.at or None, "astray": list(self.stores)}


UNSEEN = Outcome()


def of_event(event: dict[str, Any]) -> Outcome:
    """The outcome in a `verified` event; UNSEEN where it holds none that this version knows."""
    outcome = text(event.get("outcome"))
    if outcome == LANDED:
        return Outcome(LANDED, text(event.get("timestamp")))
    if outcome != ASTRAY:
        return UNSEEN
    stores = [sys.intern(text(place.get("store"))) for place in places_astray(event)]
    critical = any(finding.get("level") == "CRITICAL" for finding in mappings(event.get("findings")))
    return Outcome(ASTRAY, text(event.get("timestamp")), tuple(dict.fromkeys(stores)), critical)


def places_astray(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The places in a `verified` event that do not hold the certificate; one where nobody could look accuses nobody."""
    places = mappings(event.get("stores"))
    return [one for one in places if text(one.get("store")) and one.get("mark") not in (LANDED, "unknown", None)]

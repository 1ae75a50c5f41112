# SPDX-License-Identifier: MIT
"""What the event log knows of certmonger's requests: their renewals, and what has been noticed and told already."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from certwitness.errors import LogError
from certwitness.events import fold, reader
from certwitness.events.fields import mapping, mappings, text
from certwitness.events.renewals import Renewal

# (check, where) -> level, found and the time of the newest finding of that kind.
Told = dict[tuple[str, str], tuple[str, str, str]]


class History:
    """One reading of the log. `renewals`, the newest last; `told`: by request what was noticed since it was last well;
    `hooks`: by certificate when a post-save command under our hook ended last."""

    def __init__(self) -> None:
        self.renewals: list[Renewal] = []
        self.told: dict[str, Told] = {}
        self.hooks: dict[str, str] = {}
        self._nicknames: dict[str, str] = {}

    @classmethod
    def read(cls, path: str) -> History:
        """Of the log at `path`; without any, nothing is known. Raises LogError where it cannot be read."""
        history, folding = cls(), fold.Fold()
        try:
            for event in reader.read_log(path, lambda _: None, reader.is_data_operation):
                folding.add(event)
                history._add(event)
        except LogError:
            if os.path.lexists(path):
                raise
        history.renewals = sorted(folding.finish(), key=lambda renewal: renewal.last)
        return history

    def renewal(self, names: Collection[str], key: str, since: str, until: str = "") -> Renewal | None:
        """The newest renewal under one of these names (nickname, request id) of this key that went on after `since`, a
        timestamp; where there is none, one with a new key that would have replaced it. Without `since`: of this key.
        One that began after `until`, a timestamp, is taken only where there is no other (a clock was set)."""
        found = [one for one in self.renewals if one.nickname in names and one.last >= since]
        exact = [one for one in found if one.key == key]
        chosen = exact or [one for one in found if since and _replaces(one, key)]
        chosen = [one for one in chosen if one.first <= until] or chosen
        return chosen[-1] if chosen else None

    def _add(self, event: dict[str, Any]) -> None:
        kind, request, nickname = event["event"], text(event.get("request")), text(event.get("nickname"))
        if kind == "noticed":
            self._nicknames[request] = nickname
            told = self.told.setdefault(request, {})
            for finding in mappings(event.get("findings")):
                level, found = text(finding.get("level")), text(finding.get("found"))
                told[text(finding.get("check")), text(finding.get("where"))] = level, found, event["timestamp"]
        elif kind == "request.moved" and (event.get("level"), event.get("status")) == ("info", "MONITORING"):
            self.told.pop(request, None)
        elif kind == "run.ended" and event.get("renewal") == "issued":
            for one in [one for one, name in self._nicknames.items() if name == nickname]:
                self.told.pop(one, None)
        elif kind == "hook.ended" and event.get("phase") == "post-save":
            self.hooks[text(event.get("certificate"))] = event["timestamp"]


def _replaces(renewal: Renewal, key: str) -> bool:
    """Whether a renewal may be of a certificate with this key ("": not known): another one may have the same name."""
    return text(mapping(renewal.previous).get("spki_sha256")) in ("", key) or not key

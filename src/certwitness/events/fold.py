# SPDX-License-Identifier: MIT
"""Fold the events of the log into renewals, one a trace.

Memory grows with the number of renewals: of its runs a renewal keeps the count and what the last one said.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from certwitness import operations
from certwitness.events import outcomes
from certwitness.events.fields import mapping, mappings, shared, text
from certwitness.events.renewals import STATES, Renewal

# In these nothing is decided yet: a newer renewal of the same certificate supersedes them.
_OPEN = ("waiting", "unreachable", "new-key", "needs-scep", "running")


class Fold:
    """Renewals as they grow event by event. ``events`` counts what was added, of any kind."""

    def __init__(self) -> None:
        self._renewals: dict[str, Renewal] = {}
        self.events = 0

    def add(self, event: dict[str, Any]) -> None:
        """Take in one event; only runs of SUBMIT and POLL, hooks, and what tells whether a renewal landed, change
        anything."""
        self.events += 1
        kind = event["event"]
        known = self._renewals.get(event["trace_id"])
        if kind == "verified" and known:
            known.verified = outcomes.of_event(event)
        elif kind == "hook.started" and known:
            known.hook = {name: event.get(name) for name in ("phase", "command", "pid", "timestamp", "span_id")}
        elif kind == "hook.ended" and known and event["span_id"] == known.hook.get("span_id"):
            known.hook = {}
        if kind not in ("run.started", "run.ended") or not operations.is_enrollment(text(event.get("operation"))):
            return
        renewal = known
        if renewal is None:
            renewal = self._renewals[event["trace_id"]] = Renewal(event["trace_id"], event["timestamp"])
        renewal.last = event["timestamp"]
        renewal.ca = sys.intern(text(event.get("ca")))
        renewal.nickname = sys.intern(text(event.get("nickname"))) or renewal.nickname
        renewal.key = sys.intern(text(event.get("key"))) or renewal.key
        attempt = event.get("attempt")
        if isinstance(attempt, int) and attempt > renewal.attempts:
            renewal.attempts = attempt
        if kind == "run.started":
            # One run at a time: an earlier one without an end never gets one.
            renewal.running_since, renewal.running_span = event["timestamp"], event["span_id"]
        else:
            if event["span_id"] == renewal.running_span:
                renewal.running_since = renewal.running_span = ""
            _end(renewal, event)

    def finish(self) -> list[Renewal]:
        """The renewals in the order of their beginning, with what only the whole log tells: running, superseded."""
        latest: dict[object, Renewal] = {}
        aliases: dict[object, object] = {}
        for renewal in self._renewals.values():
            if renewal.running_since:
                renewal.state = "running"
            identity = _identity(renewal, aliases)
            before = latest.get(identity)
            if before is not None:
                before.continued_by = renewal.trace_id
                if before.state in _OPEN:
                    before.state = "superseded"
            latest[identity] = renewal
        return list(self._renewals.values())


def fold(events: Iterable[dict[str, Any]]) -> list[Renewal]:
    """The renewals in ``events``, in the order of their beginning."""
    folding = Fold()
    for event in events:
        folding.add(event)
    return folding.finish()


def newest_first(renewals: Iterable[Renewal]) -> Iterator[Renewal]:
    """By the time of the last event."""
    return iter(sorted(renewals, key=lambda renewal: renewal.last, reverse=True))


def _identity(renewal: Renewal, aliases: dict[object, object]) -> object:
    """What renewals of one certificate have in common: nickname and key, or the key it had before (rekey)."""
    if not renewal.nickname and not renewal.key:
        return renewal.trace_id
    identity: object = (renewal.nickname, renewal.key)
    if identity in aliases:
        return aliases[identity]
    held = text(mapping(renewal.previous).get("spki_sha256"))
    if held and held != renewal.key:
        before = (renewal.nickname, held)
        aliases[identity] = aliases.get(before, before)
        return aliases[identity]
    return identity


def _end(renewal: Renewal, event: dict[str, Any]) -> None:
    result = mapping(event.get("result"))
    state = text(event.get("renewal"))
    renewal.state = renewal.ended = sys.intern(state) if state in STATES else "unknown"
    renewal.exit = shared(event.get("exit"))
    renewal.message = text(result.get("message"))
    renewal.next = shared(event.get("next"))
    renewal.killed = event.get("killed") is True
    renewal.promise_kept = event.get("promise_kept") is not False
    renewal.findings = mappings(event.get("findings"))
    renewal.verified = outcomes.UNSEEN
    if "request" in event:
        renewal.previous = shared(mapping(event["request"]).get("previous")) or None
    if "certificate" in result:
        renewal.new = shared(result["certificate"]) or None
    failures = mapping(result.get("cookie")).get("store_attempts")
    if isinstance(failures, int) and failures > renewal.store_failures:
        renewal.store_failures = failures

# SPDX-License-Identifier: MIT
"""The state of every tracked certificate in one row: where it landed, when it ends, what certmonger does about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from certwitness import catalogue, landing, schedule
from certwitness.certificates import Certificate
from certwitness.certmonger import Request
from certwitness.errors import StoreError
from certwitness.events.fields import text, texts
from certwitness.events.renewals import Renewal
from certwitness.evidence import Evidence
from certwitness.findings import LEVELS, Finding, worst
from certwitness.landing import Holding
from certwitness.save import STATUSES
from certwitness.tracked import AT_REST, Tracked

NOT_ASKED = "?"
# Statuses in which certmonger asks the CA again when schedule.ca_delay is over (certmonger 0.79.17).
_ASKS_AGAIN = ("CA_UNREACHABLE", "CA_WORKING")


@dataclass(frozen=True)
class NextTry:
    """When the helper runs next: `at` (aware, None where it never does by itself or nobody knows), and that in words;
    `short` is a word that stands for it where there is no `at`."""

    at: datetime | None
    short: str
    text: str


@dataclass(frozen=True)
class Row:
    """One tracked certificate: its places, the findings about it, the end of its validity (aware, None if not known)
    and the whole days until then, negative once it is over; certmonger's `state` ("?" where certmonger could not be
    asked); its newest renewal in the log; the next try."""

    tracked: Tracked
    holdings: tuple[Holding, ...]
    findings: tuple[Finding, ...]
    not_after: datetime | None
    days: int | None
    state: str
    renewal: Renewal | None
    next_try: NextTry

    @property
    def level(self) -> str:
        """The worst level of its findings, "" where all is well."""
        return worst(self.findings)

    def mark(self, store: str) -> str:
        """The worst mark of a store's places; "" where the certificate need not be there."""
        there = [holding for holding in self.holdings if holding.store == store]
        if there or store not in self.tracked.role.stores:
            return landing.worst(there)
        # Without the certificate itself there is nothing to compare the other stores with.
        alone = [(one.store, one.mark == landing.LANDED) for one in self.holdings] == [(catalogue.SAVED, False)]
        return landing.UNKNOWN if alone else ""

    def as_json(self) -> dict[str, Any]:
        """The stable form for programs."""
        request, renewal = self.tracked.request, self.renewal
        return {
            "certificate": self.tracked.name,
            "location": self.tracked.location,
            "role": self.tracked.role.key or None,
            "level": self.level or "OK",
            "stores": {store: self.mark(store) for store in catalogue.STORES if self.mark(store)},
            "places": [_place(holding) for holding in self.holdings],
            "not_after": _stamp(self.not_after),
            "days": self.days,
            "request": {
                "id": request.id,
                "state": request.status,
                "stuck": request.stuck,
                "ca": request.ca,
                "ca_error": request.ca_error or None,
            }
            if request
            else None,
            "last_renewal": {
                "trace_id": renewal.trace_id,
                "at": renewal.last,
                "state": renewal.state,
                "outcome": renewal.outcome or None,
            }
            if renewal
            else None,
            "next_try": {"at": _stamp(self.next_try.at), "text": self.next_try.text},
            "findings": [finding.as_event() for finding in self.findings],
        }


def rows(evidence: Evidence, findings: Sequence[Finding]) -> tuple[Row, ...]:
    """A row for each tracked certificate, the worst first. Raises StoreError."""
    found = [_row(evidence, tracked, findings) for tracked in evidence.tracked]
    return tuple(sorted(found, key=_badness))


def next_try(request: Request | None, renewal: Renewal | None, not_after: datetime | None, now: datetime) -> NextTry:
    """When certmonger runs the helper of a request next: from its state, from the log where that knows better, else by
    certmonger's own rules. `not_after` is the end of the certificate held, `now` an aware time."""
    if request is None:
        return NextTry(None, NOT_ASKED, "certmonger could not be asked")
    if renewal and waits_for_hook(request.status, renewal):
        return NextTry(now, "", f"certmonger waits for {hook_words(renewal.hook)}; all other saves wait for it, too")
    if request.stuck:
        return NextTry(None, "never", f"certmonger never tries again by itself: it is stuck at {request.status}")
    logged = _logged(renewal, now)
    if logged:
        return logged
    if request.status == "MONITORING":
        return _monitored(request, not_after, now)
    if request.status in _ASKS_AGAIN:
        latest = now + timedelta(seconds=schedule.ca_delay(not_after, now))
        return NextTry(latest, "", f"certmonger asks again until {latest:%Y-%m-%d %H:%M} UTC at the latest")
    if request.status in AT_REST:
        return NextTry(None, "never", f"certmonger waits at {request.status} until somebody helps it")
    return NextTry(now, "", f"it is under way: certmonger is at {request.status}")


def waits_for_hook(state: str, renewal: Renewal | None) -> bool:
    """Whether certmonger, at `state`, waits for a hook of which the log knows the beginning: one that was killed before
    has no end there either."""
    return renewal is not None and bool(renewal.hook) and STATUSES.get(text(renewal.hook.get("phase"))) == state


def hook_words(hook: Mapping[str, Any]) -> str:
    """A hook that runs, from Renewal.hook (not cleaned)."""
    program = next(iter(texts(hook.get("command"))), "no command").rpartition("/")[2]
    since = text(hook.get("timestamp"))[:19].replace("T", " ")
    return f"the {text(hook.get('phase'))} command {program} (pid {hook.get('pid')}), which runs since {since} UTC"


def _row(evidence: Evidence, tracked: Tracked, findings: Iterable[Finding]) -> Row:
    request = tracked.request
    held, renewal = _held(evidence, tracked), _renewal(evidence, tracked)
    not_after = held.not_after if held else request.not_after if request else None
    return Row(
        tracked,
        landing.holdings(evidence, tracked),
        tuple(finding for finding in findings if finding.certificate == tracked.name),
        not_after,
        (not_after - evidence.now).days if not_after else None,
        request.status if request else NOT_ASKED,
        renewal,
        next_try(request, renewal, not_after, evidence.now),
    )


def _badness(row: Row) -> tuple[int, int]:
    level = LEVELS.index(row.level) if row.level else len(LEVELS)
    marks = [landing.MARKS.index(mark) for mark in map(row.mark, catalogue.STORES) if mark]
    return level, min(marks, default=len(landing.MARKS))


def _held(evidence: Evidence, tracked: Tracked) -> Certificate | None:
    try:
        return evidence.held(tracked)
    except StoreError:
        return None  # its holdings say so


def _renewal(evidence: Evidence, tracked: Tracked) -> Renewal | None:
    try:
        return evidence.renewal(tracked)
    except StoreError:
        return None


def _logged(renewal: Renewal | None, now: datetime) -> NextTry | None:
    """What the log says of the next try, where that has not been overtaken."""
    if renewal is None or renewal.continued_by or renewal.state in ("issued", "running"):
        return None
    try:
        at = datetime.fromisoformat(text(renewal.next.get("retry_at"))[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return NextTry(at, "", renewal.next_text()) if at > now else None


def _monitored(request: Request, not_after: datetime | None, now: datetime) -> NextTry:
    if not request.autorenew:
        return NextTry(None, "never", "certmonger does not renew it by itself (auto-renew: no)")
    if not_after is None:
        return NextTry(None, NOT_ASKED, "the end of its validity is not known")
    at = schedule.next_monitoring(not_after, now)
    if at is None:
        return NextTry(now, "", "it has expired: certmonger tries at every look, at least once a day")
    return NextTry(at, "", f"certmonger renews it at its look about {at:%Y-%m-%d %H:%M} UTC")


def _place(holding: Holding) -> dict[str, Any]:
    serial = holding.found.serial_text if holding.found else None
    return {"store": holding.store, "where": holding.where, "mark": holding.mark, "serial": serial,
            "reason": holding.reason or None}  # fmt: skip


def _stamp(moment: datetime | None) -> str | None:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None

# SPDX-License-Identifier: MIT
"""When certmonger tries again: its own rules as pure functions.

Observed on certmonger 0.79.17 and read in iterate.c (``cm_decide_ca_delay``, ``cm_decide_monitor_delay``). Every
function takes the time; none looks at a clock. Times are aware datetimes in UTC, delays whole seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from certwitness.protocol import Outcome

_HOUR = 3600
_DAY = 24 * _HOUR

# enroll_ttls and notify_ttls of certmonger.conf, as seconds before expiry (man page, 0.79.17).
DEFAULT_TTLS = (28 * _DAY, 7 * _DAY, 3 * _DAY, 2 * _DAY, _DAY, 12 * _HOUR, 6 * _HOUR, 2 * _HOUR, _HOUR)

CA_DELAY = 7 * _DAY
CA_DELAY_MINIMUM = 300
LOOK_MINIMUM = 1800
LOOK_MAXIMUM = _DAY
LOOK_AFTER_TTL = 5
SOONISH = 30


class NextTry(NamedTuple):
    """When certmonger runs the helper again. at and after_s are both None where it never does by itself."""

    at: datetime | None
    after_s: int | None
    text: str


def ca_delay(not_after: datetime | None, now: datetime) -> int:
    """Seconds until an unreachable CA, or one that has no answer yet, is asked again.

    Depends only on the remaining life of the certificate held (None: none is held). No counter, no back-off.
    """
    if not_after is None:
        return CA_DELAY
    remaining = int((not_after - now).total_seconds())
    if remaining >= 2 * CA_DELAY:
        return CA_DELAY
    return max(remaining // 2, CA_DELAY_MINIMUM)


def next_monitoring(not_after: datetime, now: datetime, ttls: tuple[int, ...] = DEFAULT_TTLS) -> datetime | None:
    """The look at which certmonger starts the next renewal, after one that began at or before ``now``.

    That is the first look after the next of ``ttls`` (seconds before expiry) is crossed; each look is placed 5 s
    after that, but at least 1800 s and at most 86400 s away. When all are crossed, expiry itself is the last mark:
    an expired certificate is renewed at any look. None when it has expired already.
    """
    remaining = (not_after - now).total_seconds()
    if remaining <= 0:
        return None
    mark = max((ttl for ttl in ttls if ttl < remaining), default=0)
    until_mark = remaining - mark
    # Looks go by days until the mark is less than a day away; one of them may fall on it before the last does.
    days = int(until_mark // LOOK_MAXIMUM)
    rest = until_mark - days * LOOK_MAXIMUM
    if days and rest == 0:
        return now + timedelta(days=days)
    if rest + LOOK_AFTER_TTL > LOOK_MAXIMUM:
        return now + timedelta(days=days + 1)
    return now + timedelta(days=days, seconds=max(rest + LOOK_AFTER_TTL, LOOK_MINIMUM))


def next_try(outcome: Outcome, *, not_after: datetime | None, now: datetime, delay_s: int | None = None) -> NextTry:
    """What certmonger does after a SUBMIT or POLL ended with ``outcome`` at ``now``.

    ``not_after`` is the end of the certificate held when the helper ran, None for a first request; ``delay_s`` the
    number on the first line of an exit 5.
    """
    kind = outcome.renewal
    if kind == "issued":
        return NextTry(None, None, "certmonger saves the certificate and goes on watching it")
    if kind == "waiting":
        if outcome.code == 5 and delay_s is not None and delay_s >= 0:
            return _after(now, delay_s, "certmonger asks again")
        return _after(now, ca_delay(not_after, now), "certmonger asks again")
    if kind == "unreachable":
        again = _after(now, ca_delay(not_after, now), "certmonger tries again")
        return NextTry(again.at, again.after_s, f"{again.text}, at getcert refresh, and when it starts")
    if kind == "new-key":
        return _after(now, SOONISH, "certmonger makes a new key and tries again")
    if kind in ("rejected", "unconfigured"):
        return _after_refusal(kind, not_after, now)
    if kind == "needs-scep":
        return NextTry(None, None, "certmonger waits for the SCEP server's certificates")
    return NextTry(None, None, "certmonger never tries again by itself: it needs getcert resubmit or rekey")


def _after_refusal(kind: str, not_after: datetime | None, now: datetime) -> NextTry:
    if not_after is None:
        if kind == "unconfigured":
            return NextTry(None, None, "certmonger tries again only when it is restarted, or at getcert resubmit")
        return NextTry(None, None, "certmonger never tries again by itself: it needs getcert resubmit")
    if not_after <= now:
        return _after(now, SOONISH, "the certificate has expired: certmonger tries again every 30 seconds, next")
    # 30 s pass before the request is monitored again.
    at = next_monitoring(not_after, now + timedelta(seconds=SOONISH))
    if at is None:
        at = now + timedelta(seconds=SOONISH)
    return _after(now, int((at - now).total_seconds()), "certmonger goes back to monitoring and tries again")


def _after(now: datetime, seconds: int, what: str) -> NextTry:
    try:
        at = now + timedelta(seconds=seconds)
    except OverflowError:
        # The helper may print any number; certmonger takes what its long holds.
        return NextTry(None, seconds, f"{what} in {seconds} seconds, in effect never")
    if seconds == 0:
        return NextTry(at, 0, f"{what} at once")
    return NextTry(at, seconds, f"{what} in {duration(seconds)} ({at:%Y-%m-%d %H:%M:%S} UTC)")


def duration(seconds: float) -> str:
    """Seconds as people say them, two units at most: "7 days", "2 hours 5 minutes", "30 seconds", "0.31 seconds"."""
    if seconds < 1:
        return f"{seconds:.2f} seconds" if seconds else "0 seconds"
    rest = round(seconds)
    parts = []
    for name, size in (("day", _DAY), ("hour", _HOUR), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def times(count: int) -> str:
    """A number of times as people say it: "once", "9 times"."""
    return "once" if count == 1 else f"{count} times"

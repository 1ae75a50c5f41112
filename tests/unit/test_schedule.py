# SPDX-License-Identifier: MIT
"""certmonger's retry rules against the delays that were observed on 0.79.17."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness import protocol, schedule

NOW = datetime(2026, 11, 23, 19, 26, tzinfo=timezone.utc)
MINUTE, HOUR, DAY = 60, 3600, 86400


def in_(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("remaining", "delay"),
    [
        (20 * DAY, 604800),
        (14 * DAY, 604800),
        (10 * DAY, 432000),
        (3 * DAY, 129600),
        (6 * HOUR, 10800),
        (15 * MINUTE, 450),
        (5 * MINUTE, 300),
        (30, 300),
        (-DAY, 300),
    ],
)
def test_ca_delay(remaining: int, delay: int) -> None:
    """The delay is half of the remaining life, between 5 minutes and 7 days, as it was seen."""
    assert schedule.ca_delay(in_(remaining), NOW) == delay


def test_ca_delay_of_first_request() -> None:
    """Without a certificate the CA is asked again after 7 days."""
    assert schedule.ca_delay(None, NOW) == 604800


@pytest.mark.parametrize(
    ("remaining", "after"),
    [
        (10 * DAY, 3 * DAY),  # a daily look falls on the mark itself
        (10 * DAY + 1, 3 * DAY + 1800),  # the daily look comes a second early: half an hour more
        (7 * DAY, 4 * DAY),  # the mark crossed just now is not the next one
        (29 * DAY - 2, DAY),  # the mark lies between 86395 and 86400 s away
        (25 * HOUR, HOUR + 5),
        (DAY + 600, 1800),  # the mark is nearer than the next look can be
        (2 * HOUR - 1, 3604),
        (40 * MINUTE, 40 * MINUTE + 5),  # no mark left but expiry
        (60, 1800),
    ],
)
def test_next_monitoring(remaining: int, after: int) -> None:
    """A renewal starts at the first look after the next mark, looks being 30 minutes to a day apart."""
    assert schedule.next_monitoring(in_(remaining), NOW) == in_(after)


def test_next_monitoring_of_an_expired_certificate() -> None:
    """The marks say nothing about an expired certificate."""
    assert schedule.next_monitoring(NOW, NOW) is None


def _by_looking(remaining: int) -> int:
    """The rule as it is stated, look by look."""
    mark = max((ttl for ttl in schedule.DEFAULT_TTLS if ttl < remaining), default=0)
    at = 0
    while remaining - at > mark or at == 0:
        at += min(max(remaining - at - mark + 5, 1800), 86400)
    return at


@given(st.integers(min_value=1, max_value=800 * DAY))
def test_next_monitoring_equals_looking(remaining: int) -> None:
    """The closed form gives the same time as following the looks one by one."""
    assert schedule.next_monitoring(in_(remaining), NOW) == in_(_by_looking(remaining))


@pytest.mark.parametrize(
    ("code", "remaining", "delay_s", "after"),
    [
        (0, DAY, None, None),
        (1, 10 * DAY, None, 432000),
        (1, None, None, 604800),
        (2, None, None, None),
        (2, 10 * DAY, None, 3 * DAY + 5),
        (2, -DAY, None, 30),
        (2, 10, None, 30),  # expires while certmonger goes back to monitoring
        (3, None, None, 604800),
        (3, 20 * DAY, None, 604800),
        (3, -DAY, None, 300),
        (4, None, None, None),
        (4, 20 * HOUR, None, 8 * HOUR + 5),
        (4, -1, None, 30),
        (5, DAY, 0, 0),
        (5, DAY, 30, 30),
        (5, 10 * DAY, -1, 432000),
        (6, DAY, None, None),
        (7, DAY, None, None),
        (16, DAY, None, None),
        (17, DAY, None, 30),
        (200, DAY, None, None),
    ],
)
def test_next_try(code: int, remaining: int | None, delay_s: int | None, after: int | None) -> None:
    """Each exit code is tried again when certmonger was seen to try it."""
    not_after = None if remaining is None else in_(remaining)
    following = schedule.next_try(protocol.outcome(code), not_after=not_after, now=NOW, delay_s=delay_s)
    assert following.after_s == after
    assert following.at == (None if after is None else in_(after))
    assert following.text.startswith("certmonger") or "expired" in following.text


def test_next_try_of_a_broken_promise_and_a_signal() -> None:
    """What parks a request is never tried again."""
    for outcome in (protocol.outcome(5, kept=False), protocol.outcome(signal=9)):
        following = schedule.next_try(outcome, not_after=in_(DAY), now=NOW, delay_s=30)
        assert (following.at, following.after_s) == (None, None)
        assert "never" in following.text


def test_next_try_texts() -> None:
    """The text says how long and when, for people."""
    soon = schedule.next_try(protocol.outcome(3), not_after=in_(10 * DAY), now=NOW)
    assert (
        soon.text
        == "certmonger tries again in 5 days (2026-11-28 19:26:00 UTC), at getcert refresh, and when it starts"
    )
    at_once = schedule.next_try(protocol.outcome(5), not_after=None, now=NOW, delay_s=0)
    assert at_once.text == "certmonger asks again at once"
    loop = schedule.next_try(protocol.outcome(2), not_after=NOW, now=NOW)
    assert "every 30 seconds" in loop.text


def test_delay_beyond_the_calendar() -> None:
    """A helper may print any number; one past the year 9999 is not an error."""
    following = schedule.next_try(protocol.outcome(5), not_after=None, now=NOW, delay_s=10**15)
    assert following.at is None
    assert following.after_s == 10**15
    assert "never" in following.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (0.314, "0.31 seconds"),
        (1, "1 second"),
        (61, "1 minute 1 second"),
        (3600, "1 hour"),
        (3601, "1 hour"),
        (129600, "1 day 12 hours"),
        (604800, "7 days"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    """Durations are said in at most two units."""
    assert schedule.duration(seconds) == words

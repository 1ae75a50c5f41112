# SPDX-License-Identifier: MIT
"""Rows of the overview: marks, order, the next try."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from certwitness import landing, overview
from certwitness.errors import StoreError
from certwitness.events import fold
from certwitness.findings import Finding
from certwitness.landing import Holding
from certwitness.overview import NextTry, Row
from tests.unit import events_factory as events
from tests.unit import findings_factory as make

NEVER = NextTry(None, "never", "")


def row(tracked: Any, *holdings: Holding, findings: tuple[Finding, ...] = (), **fields: Any) -> Row:
    end = make.NOW + timedelta(days=20)
    values = {"not_after": end, "days": 20, "state": "MONITORING", "renewal": None, "next_try": NEVER}
    return Row(tracked, holdings, findings, **{**values, **fields})


def test_cell_shows_the_worst_place() -> None:
    """A store with several places shows the worst of them; one where the certificate need not be shows nothing."""
    places = [Holding("users", "a", landing.LANDED), Holding("users", "b", landing.OLDER)]
    shown = row(make.tracked(), *places, Holding("saved", "c", landing.LANDED))
    assert [shown.mark(store) for store in ("users", "saved", "CS.cfg", "served")] == ["older", "landed", "", ""]


@pytest.mark.parametrize("mark", [landing.MISSING, landing.UNKNOWN])
def test_without_the_certificate_nothing_can_be_compared(mark: str) -> None:
    """Where the certificate itself is not to be had, the other stores that need it are unknown, not blank."""
    shown = row(make.tracked(), Holding("saved", "x", mark))
    assert [shown.mark(store) for store in ("saved", "users", "served")] == [mark, landing.UNKNOWN, ""]


def unreadable(_: object) -> Any:
    raise StoreError("/etc/pki/pki-tomcat/alias", "locked")


def test_store_that_cannot_be_read_still_has_its_row() -> None:
    """With the database locked the row is there: unknown, with the dates that certmonger has."""
    found = overview.rows(
        make.evidence(make.tracked(), wanted=unreadable, held=unreadable, renewal=unreadable),
        [make.USER_CERTIFICATE, make.EXPIRY],
    )
    assert [(one.mark("saved"), one.days, one.level, one.renewal) for one in found] == [
        ("unknown", 20, "CRITICAL", None)
    ]
    assert found[0].findings == (make.USER_CERTIFICATE,)
    assert found[0].as_json()["stores"]["users"] == "unknown"


def test_the_worst_first() -> None:
    """Rows are ordered by level, then by the worst mark, then as they came."""
    nothing = {"wanted": lambda _: None, "held": lambda _: None, "renewal": lambda _: None}
    names = ["a", make.AUDIT, "b", make.SUBSYSTEM]
    world = make.evidence(*map(make.tracked, names), **nothing)
    found = overview.rows(world, [make.EXPIRY, make.USER_CERTIFICATE, make.pending("key", "b")])
    assert [one.tracked.name for one in found] == [make.SUBSYSTEM, make.AUDIT, "b", "a"]


END = make.NOW + timedelta(days=60)


@pytest.mark.parametrize(
    ("fields", "not_after", "at", "short", "words"),
    [
        ({}, END, datetime(2026, 12, 25, 20, tzinfo=timezone.utc), "", "look about 2026-12-25 20:00"),
        ({}, make.NOW - timedelta(days=1), make.NOW, "", "expired"),
        ({}, None, None, "?", "not known"),
        ({"autorenew": False}, END, None, "never", "auto-renew"),
        ({"stuck": True, "status": "NEED_GUIDANCE"}, END, None, "never", "stuck at NEED_GUIDANCE"),
        ({"status": "CA_UNREACHABLE"}, END, make.NOW + timedelta(days=7), "", "at the latest"),
        ({"status": "CA_REJECTED"}, END, None, "never", "waits at CA_REJECTED"),
        ({"status": "NEED_TO_SAVE_CERT"}, END, make.NOW, "", "under way"),
    ],
)
def test_next_try(
    fields: dict[str, Any], not_after: datetime | None, at: datetime | None, short: str, words: str
) -> None:
    """The next try follows from certmonger's state and rules."""
    found = overview.next_try(make.request(**fields), None, not_after, make.NOW)
    assert (found.at, found.short) == (at, short)
    assert words in found.text


def test_next_try_without_certmonger() -> None:
    """Without certmonger nobody knows."""
    assert overview.next_try(None, None, END, make.NOW).short == overview.NOT_ASKED


def test_the_log_knows_the_next_try_better() -> None:
    """What the log says of the next try counts, unless that is past, or the certificate was issued."""
    unreachable = fold.fold([events.ended(code=3)])[0]
    assert unreachable.next["retry_at"][:10] == "2026-11-30"
    found = overview.next_try(make.request(status="CA_UNREACHABLE"), unreachable, END, make.NOW)
    assert (found.at or make.NOW).strftime("%Y-%m-%d %H:%M") == "2026-11-30 19:26"
    late = make.NOW + timedelta(days=30)
    assert "at the latest" in overview.next_try(make.request(status="CA_UNREACHABLE"), unreachable, END, late).text
    torn = fold.fold([events.ended(code=3, next={"retry_at": "soon"})])[0]
    assert "at the latest" in overview.next_try(make.request(status="CA_UNREACHABLE"), torn, END, make.NOW).text
    assert "look about" in overview.next_try(make.request(), fold.fold(events.issued())[0], END, make.NOW).text


@pytest.mark.parametrize(
    ("status", "phase", "waits"),
    [
        ("PRE_SAVE_CERT", "pre-save", True),
        ("POST_SAVED_CERT", "post-save", True),
        ("POST_SAVED_CERT", "pre-save", False),
        ("MONITORING", "post-save", False),
    ],
)
def test_the_hook_that_certmonger_waits_for(status: str, phase: str, waits: bool) -> None:
    """It is named, with its pid and since when it runs; not one that was killed earlier."""
    (renewal,) = fold.fold(events.issued())
    renewal.hook = {"phase": phase, "command": ["/x/restart_httpd"], "pid": 7, "timestamp": "2026-11-23T20:00:00.1Z"}
    words = f"certmonger waits for the {phase} command restart_httpd (pid 7), which runs since 2026-11-23 20:00:00 UTC"
    assert (words in overview.next_try(make.request(status=status), renewal, END, make.NOW).text) is waits
    assert overview.waits_for_hook(status, renewal) is waits
    assert not overview.waits_for_hook(status, None)
    renewal.hook = {}
    assert not overview.waits_for_hook(status, renewal)


def test_json_form() -> None:
    """The stable form has the places, the request, the renewal and the next try."""
    place = Holding("users", make.PKIDBUSER, landing.OTHER, reason="description names serial 10")
    renewal = fold.fold(events.issued())[0]
    form = row(make.tracked(), place, findings=(make.USER_CERTIFICATE,), renewal=renewal).as_json()
    assert form["level"] == "CRITICAL"
    assert form["places"] == [
        {"store": "users", "where": make.PKIDBUSER, "mark": "other", "serial": None, "reason": place.reason}
    ]
    assert form["request"] == {
        "id": "20261123190541", "state": "MONITORING", "stuck": False, "ca": "dogtag-ipa-ca-renew-agent",
        "ca_error": None,
    }  # fmt: skip
    assert form["last_renewal"]["state"] == "issued"
    assert form["next_try"] == {"at": None, "text": ""}
    assert form["findings"][0]["check"] == "user-certificate"

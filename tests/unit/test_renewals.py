# SPDX-License-Identifier: MIT
"""Folding events into renewals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.events import fold
from certwitness.events.renewals import CRITICAL, OK, UNKNOWN, WARNING, Renewal
from tests.unit import events_factory as make

NOW = make.stamp(3600)


def one(*events: make.Event) -> Renewal:
    found = fold.fold(events)
    assert len(found) == 1
    return found[0]


def test_issued_in_three_runs() -> None:
    """The three runs of Dogtag's dialogue are one renewal, with the certificate before and after."""
    renewal = one(*make.issued())
    assert (renewal.trace_id, renewal.nickname, renewal.ca) == (make.digest("one", 32), make.NICKNAME, make.CA)
    assert (renewal.attempts, renewal.state, renewal.status(NOW)) == (3, "issued", OK)
    assert renewal.previous is not None
    assert renewal.new is not None
    assert (renewal.previous["serial"], renewal.new["serial"]) == ("10", "12")
    assert (renewal.first[:19], renewal.last[:19]) == ("2026-11-23T19:26:00", "2026-11-23T19:26:03")
    assert renewal.running_since == ""
    assert renewal.exit_name == "ISSUED"


def test_data_operations_and_other_events_are_no_renewal() -> None:
    """Only runs of SUBMIT and POLL make renewals."""
    folding = fold.Fold()
    for event in (make.data_operation(), {**make.started(), "event": "gate.checked"}):
        folding.add(event)
    assert folding.finish() == []
    assert folding.events == 2


def test_unset_operation_is_a_submit() -> None:
    """A run without an operation counts as SUBMIT."""
    assert one(make.ended(operation="")).state == "unreachable"


def test_running() -> None:
    """A run that has started and not ended is running, and since when is said."""
    renewal = one(make.started(5))
    assert (renewal.state, renewal.running_since, renewal.status(NOW)) == ("running", make.stamp(5), OK)
    assert "2026-11-23 19:26:05 UTC" in renewal.meaning()
    assert renewal.next_text() == ""


def test_running_after_an_end() -> None:
    """A second run that is under way hides the first one's state, but not its end."""
    renewal = one(make.started(0), make.ended(1), make.started(60, attempt=2))
    assert (renewal.state, renewal.running_since) == ("running", make.stamp(60))
    assert "UNREACHABLE" in renewal.meaning()


def test_running_keeps_the_status_of_the_run_before() -> None:
    """A failing renewal does not look healthy while its helper runs once more."""
    assert one(make.ended(1), make.started(60, attempt=2)).status(NOW) == WARNING
    expired = make.certificate(days=-1)
    assert one(make.ended(1, code=2, previous=expired), make.started(60, attempt=2)).status(NOW) == CRITICAL


def test_running_for_hours() -> None:
    """A helper that runs for hours hangs: WARNING, or worse if the run before was."""
    assert one(make.started(0)).status(make.stamp(2 * 3600)) == OK
    assert one(make.started(0)).status(make.stamp(2 * 3600 + 1)) == WARNING
    assert one(make.ended(1, code=7), make.started(2, attempt=2)).status(make.stamp(86400)) == CRITICAL


def test_run_that_never_ended_is_forgotten() -> None:
    """A run without an end does not count as running once a later one has ended."""
    renewal = one(make.started(0), make.started(60, attempt=2), make.ended(61, attempt=2))
    assert (renewal.state, renewal.running_since) == ("unreachable", "")


def test_late_end_of_an_earlier_run() -> None:
    """An end that comes after the next start leaves that running."""
    renewal = one(make.started(0), make.started(60, attempt=2), make.ended(61, attempt=1))
    assert renewal.state == "running"


@pytest.mark.parametrize(
    ("code", "state", "status"),
    [
        (0, "issued", OK),
        (1, "waiting", OK),
        (2, "rejected", WARNING),
        (3, "unreachable", WARNING),
        (4, "unconfigured", WARNING),
        (5, "waiting", OK),
        (6, "stuck", CRITICAL),
        (9, "stuck", CRITICAL),
        (16, "needs-scep", CRITICAL),
        (17, "new-key", OK),
        (77, "stuck", CRITICAL),
    ],
)
def test_states(code: int, state: str, status: int) -> None:
    """Each exit code gives the renewal its state and its status."""
    renewal = one(make.ended(code=code))
    assert (renewal.state, renewal.status(NOW)) == (state, status)


def test_failure_of_an_expired_certificate_is_critical() -> None:
    """A renewal that fails is CRITICAL once the certificate held has expired."""
    renewal = one(make.ended(code=2, previous=make.certificate(days=0.01)))
    assert renewal.status(make.stamp(600)) == WARNING
    assert renewal.status(make.stamp(900)) == CRITICAL


def test_critical_finding() -> None:
    """A CRITICAL finding of the last run makes an issued renewal CRITICAL, and is said."""
    finding = {
        "check": "key",
        "level": "CRITICAL",
        "expected": "a",
        "found": "another key",
        "breaks": "b",
        "remedy": "c",
    }
    renewal = one(make.ended(code=0, findings=[finding]))
    assert renewal.status(NOW) == CRITICAL
    assert "another key" in renewal.meaning()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code": 0, "kept": False}, "said ISSUED, but"),
        ({"code": None, "signal": 9}, "was KILLED BY SIGKILL"),
        ({"code": None, "signal": 9, "killed": True}, "certwitness was killed"),
        ({"code": 7}, "exit 7 RESERVED gives"),
    ],
)
def test_why_stuck(fields: dict[str, Any], words: str) -> None:
    """The reason why a renewal is stuck is said."""
    renewal = one(make.ended(**fields))
    assert (renewal.state, renewal.status(NOW)) == ("stuck", CRITICAL)
    assert words in renewal.meaning()


def test_refusal_without_a_reason() -> None:
    """The CA's HTML error page leaves no message: that is said."""
    assert "no reason" in one(make.ended(code=2)).meaning()
    assert "no reason" not in one(make.ended(code=2, stdout="Server at x replied: no")).meaning()


def store_failed(attempt: int, failures: int) -> make.Event:
    cookie = {"text": "...", "size": 9, "steps": ["store"], "store_attempts": failures}
    return make.ended(
        attempt, code=5, attempt=attempt, result={"kind": "delay+cookie", "delay_s": 30, "cookie": cookie}
    )


def test_store_given_up_is_not_trusted() -> None:
    """Issued right after nine failures to store in LDAP may be FreeIPA giving up silently: WARNING."""
    failures = [store_failed(number, number) for number in range(1, 10)]
    renewal = one(*failures, make.ended(10, code=0, attempt=10))
    assert renewal.perhaps_not_stored()
    assert renewal.status(NOW) == WARNING
    assert "gives up silently" in renewal.meaning()


def test_store_that_worked_in_the_end() -> None:
    """After fewer failures issued means stored; how many there were is told."""
    renewal = one(store_failed(1, 1), store_failed(2, 2), make.ended(3, code=0, attempt=3))
    assert renewal.status(NOW) == OK
    assert "failed 2 times" in renewal.meaning()


def test_superseded() -> None:
    """An open renewal whose certificate went on as a newer one is superseded, and no longer counts."""
    first, second = fold.fold([make.ended(1), *make.issued("two", at=10)])
    assert (first.state, first.continued_by, first.next_text()) == ("superseded", second.trace_id, "")
    assert second.trace_id[:8] in first.meaning()
    assert (second.state, second.continued_by) == ("issued", "")


def test_decided_renewals_keep_their_state() -> None:
    """What was rejected stays rejected when the next threshold begins another renewal."""
    first, second = fold.fold([make.ended(1, code=2), make.ended(9, code=2, trace="two")])
    assert (first.state, first.continued_by) == ("rejected", second.trace_id)
    assert second.continued_by == ""


def test_same_nickname_with_another_key_is_another_certificate() -> None:
    """Two databases may hold a Server-Cert each."""
    first, second = fold.fold(
        [make.ended(1), make.ended(2, trace="two", key=make.digest("b"), previous=make.certificate(key="b"))]
    )
    assert (first.state, first.continued_by, second.state) == ("unreachable", "", "unreachable")


def test_rekeyed_certificate_is_the_same() -> None:
    """A renewal with a new key continues that of the certificate it replaces; so does the one after it."""
    rekeyed = make.ended(2, trace="two", key=make.digest("b"), previous=make.certificate(key="a"))
    later = make.ended(3, trace="three", key=make.digest("b"), previous=make.certificate(11, key="b"))
    first, second, third = fold.fold([make.ended(1), rekeyed, later])
    assert (first.continued_by, second.continued_by, third.continued_by) == (second.trace_id, third.trace_id, "")


def test_runs_without_identity_are_apart() -> None:
    """Where neither nickname nor key is known nothing is superseded."""
    nobody: dict[str, Any] = {"nickname": None, "key": None}
    first, second = fold.fold([make.ended(1, **nobody), make.ended(2, trace="two", **nobody)])
    assert (first.state, second.state, first.name) == ("unreachable", "unreachable", "?")


def test_loop_is_one_renewal() -> None:
    """A run every 30 seconds for a day is one renewal with a count."""
    renewal = one(*(make.ended(number * 30, code=2, attempt=number) for number in range(1, 2881)))
    assert (renewal.attempts, renewal.state) == (2880, "rejected")


def test_previous_stays_when_not_repeated() -> None:
    """The request is told once a renewal; later runs do not lose it."""
    assert one(make.ended(1), make.ended(2, attempt=2)).previous == make.certificate()


def test_newest_first() -> None:
    """Renewals are ordered by their last event."""
    found = fold.fold([make.ended(1), make.ended(2, trace="two", nickname="x"), make.ended(3, attempt=2)])
    assert [renewal.trace_id for renewal in fold.newest_first(found)] == [
        make.digest("one", 32),
        make.digest("two", 32),
    ]


def test_json_form() -> None:
    """The stable form names the state, the status and the newer trace."""
    form = one(make.ended(code=3, stdout="Error 7 connecting to x")).as_json(NOW)
    assert (form["state"], form["status"], form["message"]) == ("unreachable", "WARNING", "Error 7 connecting to x")
    assert form["continued_by"] is None
    assert form["next"]["retry_after_s"] == 604800


def test_unknown_state() -> None:
    """A state of a later version is UNKNOWN, not an error."""
    assert one(make.ended(renewal="postponed")).status(NOW) == UNKNOWN


CRITICAL_FINDING = {"level": "CRITICAL", "check": "user-certificate"}


def test_landed() -> None:
    """A look that found it everywhere is told, and is no run: attempts and the last moment stay."""
    before, renewal = one(*make.issued()), one(*make.issued(), make.verified(astray=False))
    assert (before.outcome, before.outcome_at) == ("", "")
    assert (renewal.outcome, renewal.outcome_at, renewal.status(NOW)) == ("landed", make.stamp(10), OK)
    assert (renewal.attempts, renewal.last, renewal.state) == (before.attempts, before.last, before.state)
    assert renewal.meaning() == "the CA issued the certificate; landed"


@pytest.mark.parametrize(
    ("findings", "status"),
    [([], WARNING), ([{"level": "ERROR"}], WARNING), ([{"level": "ERROR"}, CRITICAL_FINDING], CRITICAL)],
)
def test_did_not_land(findings: list[make.Event], status: int) -> None:
    """One that did not land is WARNING, CRITICAL where a finding proves what fails; the stores are named."""
    renewal = one(*make.issued(), make.verified(findings=findings))
    assert (renewal.outcome, renewal.status(NOW)) == ("did not land", status)
    assert renewal.meaning() == "the CA issued the certificate; did not land: users"
    form = renewal.as_json(NOW)
    assert (form["outcome"], form["outcome_at"], form["astray"]) == ("did not land", make.stamp(10), ["users"])


def test_the_last_look_counts() -> None:
    """After the remedy the next look takes back what the one before said."""
    renewal = one(*make.issued(), make.verified(findings=[CRITICAL_FINDING]), make.verified(20, astray=False))
    assert (renewal.outcome, renewal.outcome_at, renewal.status(NOW)) == ("landed", make.stamp(20), OK)


def test_a_run_after_the_look() -> None:
    """What was seen before a later run of the renewal ended says nothing of what that run brought."""
    assert one(*make.issued(), make.verified(), make.ended(60, code=0, attempt=4)).outcome == ""


def test_places_that_nobody_could_look_at_did_not_miss_it() -> None:
    """Only the stores that were seen without it are named, each once."""
    event = make.verified()
    event["stores"] += [{"store": "served", "where": "x", "mark": "unknown"}, *event["stores"]]
    assert one(*make.issued(), event).verified.stores == ("users",)


def test_a_look_ends_the_doubt_about_the_tenth_failure() -> None:
    """Once somebody has looked, it is not said any more that it may not be stored."""
    doubtful = make.ended(code=0, result={"kind": "certificate", "cookie": {"store_attempts": 9}})
    assert one(doubtful).perhaps_not_stored()
    renewal = one(doubtful, make.verified(astray=False))
    assert (renewal.perhaps_not_stored(), renewal.status(NOW)) == (False, OK)


def test_a_look_without_its_renewal_is_passed_over() -> None:
    """A look whose runs are rotated away makes no renewal, and one that this version does not know says nothing."""
    assert fold.fold([make.verified()]) == []
    assert one(*make.issued(), {**make.verified(), "outcome": "lost"}).outcome == ""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ["operation", "ca", "nickname", "key", "attempt", "renewal", "exit", "result", "next", "findings", "request"]


LOOKED = ["outcome", "stores", "findings"]


@given(st.dictionaries(st.sampled_from(LOOKED), ANYTHING | st.just("did not land") | st.lists(st.just({"store": 1}))))
def test_outcomes_of_any_type(change: dict[str, Any]) -> None:
    """A look whose fields have the wrong types never raises."""
    renewal = one(*make.issued(), {**make.verified(), **change})
    assert renewal.status(NOW) in (OK, WARNING, CRITICAL)
    assert renewal.as_json(NOW)["outcome"] in ("landed", "did not land", None)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANYTHING), max_size=3))
def test_fields_of_any_type(changes: list[dict[str, Any]]) -> None:
    """An event whose fields have the wrong types never raises, in the fold or in what is made of it."""
    events = [{**make.ended(attempt=number), **change} for number, change in zip(itertools.count(1), changes)]
    for renewal in fold.fold(events):
        assert renewal.status(NOW) in (OK, WARNING, CRITICAL, UNKNOWN)
        assert isinstance(renewal.meaning() + renewal.next_text() + renewal.name, str)
        assert renewal.as_json(NOW)["trace_id"] == make.digest("one", 32)


def test_a_hook_that_runs() -> None:
    """A hook is known until its own end; another's end, and one of an unknown renewal, change nothing."""
    begun = [*make.issued(), make.hook(4), make.hook(4, trace="other"), make.hook_ended(5, phase="pre-save")]
    (renewal,) = fold.fold(begun)
    assert (renewal.hook["phase"], renewal.hook["pid"]) == ("post-save", 4713)
    (renewal,) = fold.fold([*begun, make.hook_ended(6)])
    assert renewal.hook == {}

# SPDX-License-Identifier: MIT
"""The course of one request: its steps, its rest, and what its age and its end mean."""

from __future__ import annotations

from typing import Any

import pytest

from certwitness import course
from certwitness.course import Course, Moment
from certwitness.findings import ERROR, WARNING
from certwitness.tracked import AT_REST
from tests.unit import findings_factory as make

# What certmonger 0.79.17 signals of a renewal through FreeIPA's helper, which asks it to come again at once.
RENEWAL = [
    "NEED_CSR", "NEED_CSR", "GENERATING_CSR", "HAVE_CSR", "NEED_TO_SUBMIT", "SUBMITTING", "CA_WORKING",
    "NEED_TO_SUBMIT", "SUBMITTING", "NEED_TO_SAVE_CERT", "PRE_SAVE_CERT", "START_SAVING_CERT", "SAVING_CERT",
    "SAVED_CERT", "NEED_TO_SAVE_CA_CERTS", "START_SAVING_CA_CERTS", "SAVING_CA_CERTS", "NEED_TO_READ_CERT",
    "READING_CERT", "POST_SAVED_CERT", "NEED_TO_NOTIFY_ISSUED_SAVED", "NOTIFYING_ISSUED_SAVED", "MONITORING",
]  # fmt: skip
READING = [
    "NEWLY_ADDED_START_READING_KEYINFO", "NEWLY_ADDED_READING_KEYINFO", "NEWLY_ADDED_START_READING_CERT",
    "NEWLY_ADDED_READING_CERT", "NEWLY_ADDED_DECIDING", "MONITORING",
]  # fmt: skip


def went(*statuses: str, step_s: float = 1) -> Course:
    """A course through these statuses, each so many seconds long."""
    first, *rest = statuses
    done = Course(first, Moment(1_000_000, 50))
    for number, status in enumerate(rest, 1):
        done.move(status, Moment(1_000_000 + number * step_s, 50 + number * step_s))
    return done


def test_a_renewal_step_by_step() -> None:
    """Each status once in its order, with its time and how long it lasted; the last one lasts."""
    steps = went(*RENEWAL).as_event()
    assert [step["status"] for step in steps] == RENEWAL[1:]
    assert steps[0] == {"status": "NEED_CSR", "at": "1970-01-12T13:46:40.000000Z", "duration_s": 2}
    assert steps[1]["at"] == "1970-01-12T13:46:42.000000Z"
    assert "duration_s" not in steps[-1]


def test_a_clock_that_is_set_back_changes_no_duration() -> None:
    """Durations are of the clock that nobody sets."""
    done = Course("SUBMITTING", Moment(2_000, 50))
    done.move("NEED_TO_SAVE_CERT", Moment(1_000, 53))
    assert done.as_event()[0]["duration_s"] == 3


@pytest.mark.parametrize("status", [*AT_REST, "NEED_SCEP_GEN_PIN", "NEED_CA_CERT_SAVE_PERMS", "NEED_CERTSAVE_PIN"])
def test_rests(status: str) -> None:
    """A course ends where certmonger waits; where it asks the CA again by itself, only when that takes long."""
    assert went("NEED_TO_SUBMIT", "SUBMITTING", status).ended == (status != "CA_WORKING")


@pytest.mark.parametrize("status", ["SUBMITTING", "POST_SAVED_CERT", "NEED_TO_READ_CERT", "NEWLY_ADDED_READING_CERT"])
def test_steps_are_no_rest(status: str) -> None:
    """Where certmonger is at work nothing has ended."""
    assert not went("NEED_CSR", status).ended


def test_a_course_without_end_is_told_in_parts() -> None:
    """A request that never rests cannot fill the memory."""
    assert went(*["START_SAVING_CERT", "SAVING_CERT"] * (course.MOST_STEPS // 2)).ended


@pytest.mark.parametrize(
    ("statuses", "renews", "saved", "silent"),
    [
        (RENEWAL, True, True, False),
        (READING, False, False, False),
        (["NEED_TO_NOTIFY_VALIDITY", "NOTIFYING_VALIDITY", "MONITORING"], False, False, False),
        (["NEED_CSR", "HAVE_CSR", "NEED_TO_SUBMIT", "SUBMITTING", "MONITORING"], True, False, True),
        (["NEED_TO_SUBMIT", "SUBMITTING", "CA_UNREACHABLE"], True, False, False),
        (["NEED_TO_SAVE_CERT", "PRE_SAVE_CERT", "SAVING_CERT", "NEED_CERTSAVE_PERMS"], True, False, False),
        (["NEED_TO_NOTIFY_ISSUED_SAVED", "NOTIFYING_ISSUED_SAVED", "MONITORING"], True, True, False),
    ],
)
def test_what_a_course_was(statuses: list[str], renews: bool, saved: bool, silent: bool) -> None:
    """Whether it was of a renewal, whether something was saved, and whether the CA refused without a word."""
    done = went(*statuses)
    assert (done.renews, done.saved, done.refused_silently) == (renews, saved, silent)


@pytest.mark.parametrize("status", ["SUBMITTING", "PRE_SAVE_CERT", "POST_SAVED_CERT"])
def test_a_step_grows_old(status: str) -> None:
    """What nobody limits is WARNING after a quarter of an hour and ERROR after two hours, each once."""
    running = went("NEED_CSR", status)
    begun = running.steps[-1].begun.clock
    assert running.due == begun + 900
    assert [running.overdue(begun + age) for age in (899, 900, 901, 7199, 7200, 9999)] == [
        "", WARNING, "", "", ERROR, "",
    ]  # fmt: skip
    assert running.due is None
    running.move("NEED_TO_SAVE_CERT", Moment(0, begun + 10_000))
    assert (running.due, running.overdue(begun + 99_999)) == (None, "")


def test_who_looks_late_is_told_the_worst_alone() -> None:
    """A step that is older than both limits is one thing, not two."""
    running = went("SUBMITTING")
    assert (running.overdue(99_999), running.due) == (ERROR, None)


def test_a_long_wait_for_the_ca() -> None:
    """After a minute CA_WORKING is a wait; no other resting status has a limit."""
    running = went("SUBMITTING", "CA_WORKING")
    assert (running.overdue(51 + 59), running.overdue(51 + 60)) == ("", course.WAITS)
    assert went("SUBMITTING", "CA_UNREACHABLE").due is None


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (course.hangs(make.request(), "SUBMITTING", WARNING), "SUBMITTING for more than 15 minutes: the helper"),
        (course.hangs(make.request(), "POST_SAVED_CERT", ERROR), "POST_SAVED_CERT for more than 2 hours: the post-"),
        (course.refused_silently(make.request(), ()), "without a ca-error"),
        (course.cut_off(make.request(post_save="/x 'a b'"), make.SUBSYSTEM), "certmonger ended while the post-save"),
    ],
)
def test_findings_name_the_next_step(finding: Any, words: str) -> None:
    """Whatever is told says what breaks, and what to do."""
    assert words in finding.found
    assert all((finding.expected, finding.breaks, finding.remedy))
    assert finding.where == "certmonger's request 20261123190541"


def test_how_to_make_up_for_a_post_save_that_was_cut_off() -> None:
    """The command itself, as certmonger has it, then a look at the stores; but nothing that is more than a line."""
    found = course.cut_off(make.request(post_save="/x 'a b'"), make.SUBSYSTEM)
    assert found.commands == ("/x 'a b'", f"certwitness verify '{make.SUBSYSTEM}'")
    assert course.cut_off(make.request(post_save="/x\nrm /y"), "n").commands == ("certwitness verify n",)
    assert course.cut_off(make.request(), "n").commands == ("certwitness verify n",)

# SPDX-License-Identifier: MIT
"""What follows when a request's course ends, grows old, or is cut off: it is written down, and judged.

Whether a certificate landed is conclusion.py's to say, how a request rests the check request-state's; here is what only
the course shows.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING, Callable

from certwitness import course, kept, said, verification
from certwitness.catalogue import behind_our_hook
from certwitness.checks import requests as request_checks
from certwitness.checks import services
from certwitness.course import MONITORING, POST_SAVED, SUBMITTING, WORKING, Course, Moment
from certwitness.errors import CertwitnessError
from certwitness.events import log
from certwitness.events.fields import seconds_between
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, Finding
from certwitness.noticing import Notices, identity, key

if TYPE_CHECKING:
    from certwitness.certmonger import Request
    from certwitness.events.history import History
    from certwitness.events.renewals import Renewal
    from certwitness.host import Host
    from certwitness.tracked import Tracked

# certmonger tries some renewals again every half minute, for ever: the same end is told once an hour.
REPEAT_S = 3600
# A command's last line reaches the journal by then; the next save's commands begin later.
SAID_S = 1

Conclude = Callable[..., list[Finding]]


class CourseEnds:
    """Judges the courses of `host`'s requests. `conclude` is called as conclusion.conclude is."""

    def __init__(self, host: Host, notices: Notices, conclude: Conclude, now: Callable[[], Moment]) -> None:
        self._host, self._notices, self._conclude, self._now = host, notices, conclude, now
        self._traces: dict[str, str] = {}  # by request, of renewals that wait and that only we know
        self._failures: dict[str, tuple[object, float]] = {}  # by request: the last one, and when it was told

    def forget(self, requests: Collection[str]) -> None:
        """Keep nothing of other requests than these."""
        self._traces = {id_: trace for id_, trace in self._traces.items() if id_ in requests}
        self._failures = {id_: failure for id_, failure in self._failures.items() if id_ in requests}

    def rest(self, one: Tracked, done: Course, history: History, *, goes_on: bool) -> None:
        """A course has ended: into the log with it; then, what does its end mean? Where the request `goes_on` by now,
        its stores are between two steps, and looked at when it rests again."""
        request = request_of(one)
        renewal = _renewal(request, done, history)
        trace = self._trace(request, renewal)
        well = done.status in (MONITORING, WORKING) and not request.ca_error and not done.refused_silently
        if well:
            self._failures.pop(request.id, None)
        elif not done.saved and self._repeats(request, done, renewal):
            return
        self._traces.pop(request.id, None)
        if done.status == WORKING and not renewal:
            self._traces[request.id] = trace
        if done.renews:
            self._notices.write(
                log.event(
                    "request.moved", "info" if well else "warning", trace, log.new_span_id(),
                    **identity(request, one.name), steps=done.as_event(), status=done.status, stuck=request.stuck,
                    ca_error=kept.text(request.ca_error) or None,
                )
            )  # fmt: skip
        if not well:
            since = done.begun if done.renews else None
            self._notices.notice(request, one.name, trace, self._problems(one, done), since)
        elif done.saved:
            self._notices.well(request)
        if done.saved and not _is_told(request, done, renewal, history):
            self._see_said(one, trace, done)
            if not goes_on:
                self._see_landing(one, trace, known=renewal is not None)

    def make_up(self, one: Tracked, history: History) -> None:
        """What happened to a request that rests while nobody watched: it rests where it should not, or the log does not
        say whether its renewal landed."""
        request = request_of(one)
        renewal = history.renewal(_names(request), key(request), "")
        if request.status != MONITORING or request.ca_error:
            with self._notices.survived():
                trace = self._trace(request, renewal)
                self._notices.notice(request, one.name, trace, self._problems(one, None), None)
        if renewal and renewal.state == "issued" and not renewal.outcome and request.status == MONITORING:
            self._see_landing(one, renewal.trace_id, known=True)

    def hangs(self, one: Tracked, running: Course, level: str) -> None:
        """What runs for a request has grown so old that it is WARNING or ERROR."""
        request = request_of(one)
        trace = self._trace(request, _renewal(request, running, self._notices.history()))
        since = running.begun if running.seen else None
        self._notices.notice(request, one.name, trace, [course.hangs(request, running.status, level)], since)

    def cut_off(self, one: Tracked, running: Course) -> None:
        """certmonger has ended while a request's post-save command ran."""
        request = request_of(one)
        trace = self._trace(request, _renewal(request, running, self._notices.history()))
        self._notices.notice(request, one.name, trace, [course.cut_off(request, one.name)], running.begun)

    def begun(self, request: Request) -> Moment:
        """When the step began at which a request is seen first: of a helper's run the log knows."""
        now = self._now()
        renewal = self._notices.history().renewal(_names(request), key(request), "")
        if request.status != SUBMITTING or not renewal or not renewal.running_since:
            return now
        age = max(0.0, seconds_between(renewal.running_since, now.stamp))
        return Moment(now.at - age, now.clock - age)

    # --- inside

    def _repeats(self, request: Request, done: Course, renewal: Renewal | None) -> bool:
        """Whether the same renewal failed by the same steps before, less than an hour after that was told."""
        now = self._now().clock
        failure = [step.status for step in done.steps], request.ca_error, renewal.trace_id if renewal else ""
        before, told = self._failures.get(request.id, (None, now))
        if before == failure and now - told < REPEAT_S:
            return True
        self._failures[request.id] = failure, now
        return False

    def _problems(self, one: Tracked, done: Course | None) -> list[Finding]:
        """What is wrong with a request at its rest: what the check says, or else what only its course shows."""
        with Evidence(self._host, everything=None, waits=False) as evidence:
            results = verification.run(evidence, (request_checks.request_state,), (one.name,))
            found = [finding for result in results for finding in result.findings if finding.level in kept.LEVELS]
            if done and done.refused_silently and not found:
                renew = services.renew(one, evidence) if one.role.key != "ca" else ()
                found = [course.refused_silently(request_of(one), renew)]
        return found

    def _see_landing(self, one: Tracked, trace: str, *, known: bool) -> None:
        """Have the checks say whether it landed: that goes under the renewal in the log. Where the log does not know
        one, what is wrong is noticed. What nobody could see is told; the daily `certwitness verify` looks again."""
        limit_s, told = self._host.config.landing_s, list[str]()

        def report(line: str, *, level: str) -> None:
            told.append(line)
            self._notices.tell(line, level=level)

        try:
            found = self._conclude(self._host, one.name, by="watch", limit_s=limit_s, report=report)
        except CertwitnessError as error:
            self._not_known(one, f"could not look whether the renewed certificate landed: {error}")
            return
        accusing = [finding for finding in found if finding.level in (CRITICAL, ERROR)]
        unseen = [finding for finding in found if finding.level == UNKNOWN]
        if not known:
            self._notices.notice(request_of(one), one.name, trace, accusing, None)
        if unseen and not accusing and not told:
            why = ": ".join(kept.text(words) for words in (unseen[0].where, unseen[0].found) if words)
            self._not_known(one, f"whether the renewed certificate landed is not known: {why}")

    def _not_known(self, one: Tracked, why: str) -> None:
        next_step = shlex.join(["certwitness", "verify", one.name])
        self._notices.tell(f"{one.name}: {why}. Next: {next_step}", level="warning")

    def _see_said(self, one: Tracked, trace: str, done: Course) -> None:
        """What its pre-save and post-save commands told nobody but the journal."""
        request = request_of(one)
        commands = (behind_our_hook(command).split() for command in (request.pre_save, request.post_save))
        programs = list(dict.fromkeys(words[0].rpartition("/")[2] for words in commands if words))
        since, end = done.locked
        lines = said.said(programs, since.at, until=end.at + SAID_S if end else None)
        found = said.complaints(lines or [], programs, one.name)
        self._notices.notice(request, one.name, trace, found, done.begun)

    def _trace(self, request: Request, renewal: Renewal | None) -> str:
        """The renewal's trace; where our helper took no part in it, one of its own."""
        return renewal.trace_id if renewal else self._traces.get(request.id) or log.new_trace_id()


def request_of(one: Tracked) -> Request:
    """The request of a certificate that was read from certmonger."""
    if one.request is None:
        raise CertwitnessError(f"{one.name}: certmonger has no request for it")
    return one.request


def _names(request: Request) -> set[str]:
    """What a run calls it: the nickname, or the request's id."""
    return {request.nickname, request.id} - {""}


def _renewal(request: Request, done: Course, history: History) -> Renewal | None:
    """The renewal of which a course is part, where our helper took part in it: it ran since the CA was asked, and began
    before the course's end: the next one may have begun since."""
    asked = next((step.begun.stamp for step in done.steps if step.status == SUBMITTING), "")
    end = "" if done.status == SUBMITTING else done.steps[-1].begun.stamp
    return history.renewal(_names(request), key(request), asked, end)


def _is_told(request: Request, done: Course, renewal: Renewal | None, history: History) -> bool:
    """Whether our post-save hook has said whether it landed: it does so while certmonger waits for it."""
    began = done.last(POST_SAVED)
    said = renewal.outcome_at if renewal else history.hooks.get(request.name, "")
    return began is not None and said >= began.stamp

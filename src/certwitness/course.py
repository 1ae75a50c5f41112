# SPDX-License-Identifier: MIT
"""The course of one request through certmonger's statuses: when each began, how long it lasted, what its end means.

Statuses and what they mean: certmonger 0.79.17 (certmonger.md, 4 and 5). Nothing here looks at a clock or a store.
"""

from __future__ import annotations

import shlex
import time
from typing import Any, NamedTuple

from certwitness import save
from certwitness.certmonger import Request
from certwitness.events import log
from certwitness.findings import ERROR, WARNING, Finding
from certwitness.redaction import redact_line
from certwitness.schedule import duration
from certwitness.tracked import AT_REST, LONGEST_STEP_S

CHECK = "request-course"
SUBMITTING, MONITORING = "SUBMITTING", "MONITORING"
PRE_SAVE, POST_SAVED = (save.STATUSES[phase] for phase in (save.PRE_SAVE, save.POST_SAVE))
# What runs there has no time limit of certmonger's, and hooks hold one lock for all requests.
_RUNS = {SUBMITTING: "the helper", PRE_SAVE: "the pre-save command", POST_SAVED: "the post-save command"}
OLD_S = 900
# A helper that waits for the CA has certmonger ask again at once, or in half a minute; longer is a wait of its own.
WORKING, LONG_WAIT_S = "CA_WORKING", 60
WAITS = "waits"
# Between the save and its notification.
_SAVED = (
    "SAVED_CERT", "NEED_TO_SAVE_CA_CERTS", "START_SAVING_CA_CERTS", "SAVING_CA_CERTS", "NEED_CA_CERT_SAVE",
    "NEED_TO_READ_CERT", "READING_CERT", POST_SAVED, "NEED_TO_NOTIFY_ISSUED_SAVED", "NOTIFYING_ISSUED_SAVED",
    "NEED_TO_NOTIFY_ISSUED_CA_SAVE_FAILED", "NOTIFYING_ISSUED_CA_SAVE_FAILED",
)  # fmt: skip
# certmonger looks at what is there, and warns of its end: nothing is renewed.
_LOOKS = ("NEWLY_ADDED", "NEED_TO_NOTIFY_VALIDITY", "NOTIFYING_VALIDITY", *AT_REST)
# Ends of those statuses in which certmonger cannot go on: it lacks a PIN, a token, a permission (SCEP: more).
_PARKED = ("_PIN", "_TOKEN", "_PERMS", "_ENCRYPTION_CERT", "_CLIENT_KEY")
# A request that goes round without a rest is told in parts.
MOST_STEPS = 200


class Moment(NamedTuple):
    """A time: seconds since the epoch, and on the monotonic clock, which nobody sets."""

    at: float
    clock: float

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(time.time(), time.monotonic())

    @property
    def stamp(self) -> str:
        """As the log writes it."""
        return log.timestamp(self.at)


class Step(NamedTuple):
    """A status, and when it began."""

    status: str
    begun: Moment


class Course:
    """What certmonger did for one request, from its first step that was seen to its next rest. `steps` is never empty;
    `seen` says whether its beginning was."""

    def __init__(self, status: str, begun: Moment, *, seen: bool = True) -> None:
        self.steps = [Step(status, begun)]
        self.seen = seen
        self._passed = 0

    def move(self, status: str, now: Moment) -> None:
        """The request has this status; certmonger says some twice."""
        if status != self.status:
            self.steps.append(Step(status, now))
            self._passed = 0

    @property
    def status(self) -> str:
        """The last one."""
        return self.steps[-1].status

    @property
    def begun(self) -> Moment:
        """The first step's beginning."""
        return self.steps[0].begun

    @property
    def ended(self) -> bool:
        """Whether it rests. CA_WORKING is a rest only when it lasts: see `overdue`."""
        rests = self.status in AT_REST or self.status.endswith(_PARKED)
        return (rests and self.status != WORKING) or len(self.steps) >= MOST_STEPS

    @property
    def renews(self) -> bool:
        """Whether certmonger did more than to look at what is there."""
        return not all(step.status.startswith(_LOOKS) for step in self.steps)

    @property
    def saved(self) -> bool:
        """Whether a certificate was saved in it."""
        return any(step.status.startswith(_SAVED) for step in self.steps)

    def last(self, status: str) -> Moment | None:
        """When this status began last, None if it never did."""
        return next((step.begun for step in reversed(self.steps) if step.status == status), None)

    @property
    def locked(self) -> tuple[Moment, Moment | None]:
        """From the pre-save command's beginning to the post-save command's end, where that was seen: certmonger saves
        nothing else meanwhile."""
        after = (step.begun for before, step in zip(self.steps, self.steps[1:]) if before.status == POST_SAVED)
        return self.last(PRE_SAVE) or self.begun, next(after, None)

    @property
    def refused_silently(self) -> bool:
        """Whether the CA was asked, and certmonger went back to monitoring with nothing saved."""
        return self.status == MONITORING and not self.saved and self.last(SUBMITTING) is not None

    def as_event(self) -> list[dict[str, Any]]:
        """The steps as events have them; the last one lasts."""
        ends: list[Moment | None] = [step.begun for step in self.steps[1:]]
        return [
            {
                "status": step.status,
                "at": step.begun.stamp,
                **({"duration_s": round(end.clock - step.begun.clock, 3)} if end else {}),
            }
            for step, end in zip(self.steps, [*ends, None])
        ]

    # --- growing old

    @property
    def due(self) -> float | None:
        """When the step it is at grows older than the next of its limits, on the monotonic clock; None: never."""
        left = self._limits[self._passed :]
        return self.steps[-1].begun.clock + left[0][0] if left else None

    def overdue(self, clock: float) -> str:
        """What the age of the step it is at means: WARNING, ERROR, or WAITS, each said once; "" for nothing new."""
        told = ""
        while self.due is not None and self.due <= clock:
            told = self._limits[self._passed][1]
            self._passed += 1
        return told

    @property
    def _limits(self) -> tuple[tuple[int, str], ...]:
        if self.status in _RUNS:
            return (OLD_S, WARNING), (LONGEST_STEP_S, ERROR)
        return ((LONG_WAIT_S, WAITS),) if self.status == WORKING else ()


# --- what is wrong


def hangs(request: Request, status: str, level: str) -> Finding:
    """What runs at `status` has reached the age at which it is WARNING or ERROR."""
    age = duration(OLD_S if level == WARNING else LONGEST_STEP_S)
    submits = status == SUBMITTING
    return _finding(
        request,
        level,
        expected="minutes at the most",
        found=f"{status} for more than {age}: {_RUNS[status]} has not ended",
        breaks="nothing limits it: the certificate is not renewed before it ends"
        if submits
        else "nothing limits it, and no other certificate is saved before it ends",
        remedy="See whether the CA answers, and who holds FreeIPA's renewal lock (certwitness verify); a restart of "
        "certmonger asks anew, but wait until no request is at POST_SAVED_CERT."
        if submits
        else "See what it waits for, and end that; not certmonger, which never runs a post-save command again.",
    )


def refused_silently(request: Request, renew: tuple[str, ...]) -> Finding:
    """The CA's answer was no certificate, and no message either. `renew`: the commands with which it is asked anew."""
    return _finding(
        request,
        WARNING,
        expected="the CA's certificate, or its message",
        found="the CA was asked, and gave neither: MONITORING again, without a ca-error",
        breaks="it looks healthy in every list, and is not renewed before certmonger's next look at its end",
        remedy="See certwitness show for the helper's output; an error page of httpd or Dogtag does that. Then let "
        "certmonger try again.",
        commands=renew,
    )


def cut_off(request: Request, name: str) -> Finding:
    """certmonger ended while the post-save command ran. `name`: as `certwitness verify` takes it."""
    command = (redact_line(request.post_save),) if request.post_save.isprintable() and request.post_save else ()
    return _finding(
        request,
        ERROR,
        expected="the post-save command runs to its end",
        found="certmonger ended while the post-save command ran",
        breaks="it may have been cut off, and certmonger never runs it again: other stores may lack the certificate",
        remedy="If the command runs no more, run it by hand, then see whether the certificate landed.",
        commands=(*command, shlex.join(["certwitness", "verify", name])),
    )


def _finding(
    request: Request,
    level: str,
    *,
    expected: str,
    found: str,
    breaks: str,
    remedy: str,
    commands: tuple[str, ...] = (),
) -> Finding:
    where = f"certmonger's request {request.id}"
    return Finding(
        CHECK, level, where=where, expected=expected, found=found, breaks=breaks, remedy=remedy, commands=commands
    )

# SPDX-License-Identifier: MIT
"""What `certwitness watch` tells, and to whom: the event log and the journal, each thing once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from certwitness import kept
from certwitness.certmonger import Request
from certwitness.course import Moment
from certwitness.errors import CertwitnessError, LogError
from certwitness.events import log
from certwitness.events.history import History, Told
from certwitness.findings import Finding, worst

Tell = Callable[..., None]


class Notices:
    """Writes to the event log at `path`, and gives lines for people to `tell`, with `level` (journal.LEVELS)."""

    def __init__(self, path: str, tell: Tell, now: Callable[[], Moment]) -> None:
        self.tell = tell
        self._path, self._now = path, now
        self._told: dict[str, Told] | None = None
        self._complaints: set[str] = set()

    def history(self) -> History:
        """What the log knows; nothing where it cannot be read, which is told once."""
        try:
            history = History.read(self._path)
        except LogError as error:
            self.complain(str(error), once="log")
            history = History()
        if self._told is None:
            self._told = history.told
        return history

    def write(self, event: dict[str, Any]) -> None:
        """Append an event. Where that cannot be done it is told once, until it can."""
        try:
            log.append(self._path, event)
        except LogError as error:
            self.complain(f"not in the event log: {error}", once="log")
        else:
            self.well_again("log")

    def notice(self, request: Request, name: str, trace: str, findings: list[Finding], since: Moment | None) -> None:
        """Tell what is wrong with the request of the certificate `name`: what has not been told since its course began
        at `since`; None: what has not been told since it was last well."""
        known = self._told if self._told is not None else self.history().told
        now, told = self._now(), known.setdefault(request.id, {})
        earliest = since.stamp if since else ""
        news = []
        for finding in findings:
            level, found, at = told.get((finding.check, finding.where), ("", "", ""))
            if (level, found) != (finding.level, kept.text(finding.found)) or at < earliest:
                news.append(finding)
        if not news:
            return
        for finding in news:
            told[finding.check, finding.where] = finding.level, kept.text(finding.found), now.stamp
            self.tell(sentence(name, finding), level=kept.LEVELS[finding.level][1])
        shown = [{**kept.finding(finding), "certificate": name} for finding in news]
        self.write(
            log.event("noticed", kept.LEVELS[worst(news)][0], trace, log.new_span_id(), **identity(request, name),
                      by="watch", findings=shown)
        )  # fmt: skip

    def well(self, request: Request) -> None:
        """The request is well: what is wrong with it from now on is new."""
        if self._told:
            self._told.pop(request.id, None)

    # --- our own trouble

    @contextmanager
    def survived(self) -> Iterator[None]:
        """Whatever goes wrong with one thing is told, and the next goes on."""
        try:
            yield
        except CertwitnessError as error:
            self.tell(str(error), level="warning")
        except Exception as error:  # a bug of ours
            words = f"{type(error).__name__}: {error}"[: kept.LONGEST_TEXT]
            self.complain(f"certwitness itself failed, and goes on: {words}", once=words)

    def complain(self, line: str, once: str) -> None:
        """Tell, unless that was told under the name `once` since it was last well."""
        if once not in self._complaints:
            self._complaints.add(once)
            self.tell(line, level="err")

    def well_again(self, once: str) -> bool:
        """What was complained of under the name `once` is over; whether there was something."""
        was_told = once in self._complaints
        self._complaints.discard(once)
        return was_told


def identity(request: Request, name: str) -> dict[str, Any]:
    """Who a request is, as events have it; `nickname` as in the runs."""
    return {
        "certificate": name,
        "request": request.id,
        "nickname": request.nickname or request.id,
        "key": key(request) or None,
        "ca": request.ca,
    }


def key(request: Request) -> str:
    """The digest of its certificate's public key, "" without a certificate."""
    return request.certificate.spki_sha256 if request.certificate else ""


def sentence(name: str, finding: Finding) -> str:
    """For the journal: the certificate, what is wrong, what it breaks, the next step."""
    return f"{name}: {finding.found}; {finding.breaks}. {finding.remedy}"

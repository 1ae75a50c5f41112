# SPDX-License-Identifier: MIT
"""Holds: what the gate blocked stays known until the cause is gone, or an administrator releases it.

One file a service, <state directory>/holds/<service>.json, replaced whole. It decides nothing: the gate judges anew at
every start, and looks here only for a release. So a file that is lost or garbage costs the memory, never a start.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from certwitness import kept, whole_file
from certwitness.config import Config
from certwitness.errors import CertwitnessError
from certwitness.events import log
from certwitness.events.fields import mapping, mappings, text
from certwitness.findings import Finding

DIRECTORY = "holds"
# A clock that was set back further than this since the release ends the release.
_CLOCK_S = 300
# Who cannot have the holds alone within this time changes them all the same: a start waits for nobody.
_ALONE_S = 0.5


@dataclass(frozen=True)
class Release:
    """Who lets the service start all the same, why, since when, and until when ("" until a judgement finds nothing more
    to hold). Timestamps as in the log."""

    by: str
    reason: str
    at: str
    until: str = ""

    def lasts(self, now: datetime) -> bool:
        """Whether it counts at `now`. A time that cannot be read ends it."""
        try:
            at, until = _moment(self.at), _moment(self.until) if self.until else None
        except ValueError:
            return False
        return (at - now).total_seconds() < _CLOCK_S and (until is None or now < until)

    def as_json(self) -> dict[str, Any]:
        """As in the file and in ``--json``."""
        return {"by": self.by, "reason": self.reason, "at": self.at, "until": self.until or None}


@dataclass(frozen=True)
class Hold:
    """A service that must not start: since when, who found it ("start-gate", "post-save"), the findings that prove it
    (as in events), the trace of the renewal that they belong to ("" if none), and the release, if there is one. A
    release that came before any block has no findings."""

    service: str
    since: str
    by: str = ""
    findings: tuple[dict[str, Any], ...] = ()
    trace_id: str = ""
    release: Release | None = None

    @property
    def checks(self) -> frozenset[str]:
        """The checks that it stands on."""
        return frozenset(check for check, _ in self.subjects)

    @property
    def subjects(self) -> frozenset[tuple[str, str]]:
        """The checks that it stands on, each with the name of its certificate ("" where it is the host)."""
        return frozenset((text(one.get("check")), text(one.get("certificate"))) for one in self.findings)

    def as_json(self) -> dict[str, Any]:
        """As in the file and in ``--json``."""
        return {
            "service": self.service,
            "since": self.since,
            "by": self.by,
            "findings": list(self.findings),
            "trace_id": self.trace_id or None,
            "release": self.release.as_json() if self.release else None,
        }


def read(config: Config, service: str) -> tuple[Hold | None, str]:
    """The hold of a service, None if there is none; and what is wrong with its file, "" if nothing is."""
    path = _path(config, service)
    try:
        content = json.loads(whole_file.read(path))
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path}: {error.strerror or error}; taken for no hold"
    except (ValueError, RecursionError):
        return None, f"{path}: no hold can be read from it; taken for none, remove it"
    if not isinstance(content, dict) or content.get("service") != service:
        return None, f"{path}: no hold can be read from it; taken for none, remove it"
    given = mapping(content.get("release"))
    release = Release(*(text(given.get(name)) for name in ("by", "reason", "at", "until"))) if given else None
    findings = tuple(mappings(content.get("findings")))
    return Hold(
        service, text(content.get("since")), text(content.get("by")), findings, text(content.get("trace_id")), release
    ), ""


def every(config: Config, services: Iterable[str]) -> tuple[list[Hold], list[str]]:
    """The holds of `services`, and what is wrong with their files."""
    found = [read(config, service) for service in services]
    return [hold for hold, _ in found if hold], [problem for _, problem in found if problem]


def place(config: Config, service: str, findings: Sequence[Finding], by: str, trace_id: str, now: datetime) -> Hold:
    """Keep that `findings` hold the service. The event hold.placed is written where they are others than before.

    A hold that is there keeps its beginning. A release in it that has ended is dropped; one that lasts came after the
    judgement, and stays. Raises CertwitnessError: the file or the event cannot be written.
    """
    told = tuple(kept.finding(finding) for finding in findings)
    with _alone(config):
        before, _ = read(config, service)
        since = before.since if before and before.findings else _stamp(now)
        released = before.release if before and before.release and before.release.lasts(now) else None
        hold = Hold(service, since, by, told, trace_id, released)
        if before != hold:
            _write(config, hold)
    if before is None or before.checks != hold.checks:
        _tell(config, "hold.placed", "critical", hold, findings=list(told), by=by)
    return hold


def end(config: Config, hold: Hold, why: str) -> bool:
    """The cause is gone: remove the file, and write hold.released. False where it is not this hold any more: somebody
    else ended it, or has found something since. Raises CertwitnessError."""
    path = _path(config, hold.service)
    with _alone(config):
        if read(config, hold.service)[0] != hold:
            return False
        try:
            os.unlink(path)
        except OSError as error:
            raise CertwitnessError(f"{path}: {error.strerror}") from None
    _tell(config, "hold.released", "info", hold, by="certwitness", reason=why)
    return True


def release(config: Config, service: str, by: str, reason: str, until: str, now: datetime) -> Hold:
    """Let the service start all the same, until `until` (a timestamp, "" until nothing holds it any more), and write
    hold.released. Raises CertwitnessError."""
    stamp = _stamp(now)
    with _alone(config):
        before, _ = read(config, service)
        hold = replace(before or Hold(service, stamp), release=Release(by, reason, stamp, until))
        _write(config, hold)
    more = {"until": until} if until else {}
    _tell(config, "hold.released", "warning", hold, by=by, reason=reason, **more)
    return hold


def _path(config: Config, service: str) -> str:
    return os.path.join(config.state_directory, DIRECTORY, f"{service}.json")


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Between reading a hold and replacing it nobody else does."""
    descriptor = -1
    with suppress(OSError):  # who writes says so
        _make_directories(config)
        descriptor = os.open(os.path.join(config.state_directory, DIRECTORY), os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + _ALONE_S
    while descriptor >= 0 and time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(0.01)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _make_directories(config: Config) -> None:
    """Raises OSError."""
    whole_file.make_directories([config.state_directory, os.path.join(config.state_directory, DIRECTORY)])


def _write(config: Config, hold: Hold) -> None:
    """Replace the file as a whole. Raises CertwitnessError."""
    path = _path(config, hold.service)
    try:
        _make_directories(config)
        whole_file.replace(path, json.dumps(hold.as_json()).encode("ascii"))
    except OSError as error:
        raise CertwitnessError(f"{path}: the hold cannot be kept: {error.strerror or error}") from None


def _tell(config: Config, name: str, level: str, hold: Hold, **fields: Any) -> None:
    trace_id = hold.trace_id or log.new_trace_id()
    event = log.event(name, level, trace_id, log.new_span_id(), service=hold.service, **fields)
    log.append(config.events_file, event)


def _stamp(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(stamp: str) -> datetime:
    """Raises ValueError."""
    return datetime.fromisoformat(stamp[:19]).replace(tzinfo=timezone.utc)

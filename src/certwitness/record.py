# SPDX-License-Identifier: MIT
"""The record of a SUBMIT or POLL: what was asked, what came back, what it means, what certmonger does next.

Runs in the recording process (recorder.py), where there is time to import what decoding needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from certwitness import catalogue, enrollment, journal, operations, outputs, protocol, schedule
from certwitness.errors import StoreError
from certwitness.events import log, traces
from certwitness.redaction import redact_text
from certwitness.run import NOTHING, Run, ended
from certwitness.stores import renewal_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEVELS = {0: "info", 1: "info", 5: "info", 2: "warning", 3: "warning", 4: "warning", 16: "warning", 17: "warning"}
LONGEST_OWNER = 200
KILLED = (
    "certwitness was killed while the helper ran, and the helper with it: see what else this host killed then "
    "(journalctl -k | grep -i oom), and resubmit the request: getcert resubmit -i ID. A renewal lock "
    "that FreeIPA's helper held (/run/ipa/renewal.lock) makes the next run wait for an hour at the most"
)


def witness(run: Run, wait: Callable[[], dict[str, Any] | None]) -> None:
    """Write `run.started`, then `wait()` for what the run left (None: the wrapper was killed), then `run.ended`.

    What of ours fails is told in the event, and once in the journal.
    """
    variables = {name: run.variable(name) for name in operations.VARIABLES if name in run.environ}
    request = enrollment.request_block(variables)
    previous = request.get("previous") or {}
    name, key, ca = request.get("nickname"), request.get("spki_sha256"), run.variable("CERTMONGER_CA_NICKNAME")
    trace = traces.join(
        run.config.state_directory,
        name=name or "",
        key=key or "",
        ca=ca,
        previous=previous.get("sha256", ""),
        expired=bool(previous) and previous["not_after"] <= log.timestamp(run.started),
    )
    identity = {"nickname": name, "key": key, "attempt": trace.attempt}
    started = log.event("run.started", "info", trace.trace_id, run.span_id)
    started.update(
        timestamp=log.timestamp(run.started),
        operation=run.variable("CERTMONGER_OPERATION"),
        ca=ca,
        **identity,
        pid=run.pid,
        command=run.shown_command(),
    )
    waits_for = _lock_owner(run)
    if waits_for:
        started["lock"] = identity["lock"] = waits_for
    unwritten: Exception | None = None
    try:
        log.append(run.config.events_file, started)
    except Exception as error:  # what follows may fit again, and the failure is reported once, at the end
        unwritten = error
    event, renewal, digests = _ended(run, wait(), trace, request)
    event.update(identity)
    problems = event.pop("observer", [])
    try:
        trace.save(renewal, last=log.timestamp(run.started), **digests)
    except OSError as error:
        place = error.filename or run.config.state_directory
        problems.append(f"{place}: {error.strerror}: the next run opens a new trace")
    if problems:
        event["observer"] = problems
    try:
        log.append(run.config.events_file, event)
    except Exception as error:
        unwritten = error
    if unwritten:
        problems = [*problems, f"not recorded: {unwritten}"]
    if problems:
        journal.report(run.line(problems))


def _lock_owner(run: Run) -> str:
    """Who holds FreeIPA's renewal lock at this moment: the helper waits for it first of all, without a limit. "" where
    that is nobody, the helper itself, or the guard that started it."""
    path = run.config.values.get("ipa", {}).get("renewal_lock", renewal_lock.PATH)
    try:
        lock = renewal_lock.read(path)
    except StoreError:
        return ""
    return "" if lock.pid in (run.pid, *_ancestors()) else lock.owner[:LONGEST_OWNER]


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return


def _ended(
    run: Run, left: dict[str, Any] | None, trace: traces.Trace, request: dict[str, Any]
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The `run.ended` event, the renewal's state after it, and digests of what the next run need not repeat."""
    previous = request.get("previous") or {}
    killed = left is None
    if left is None:
        left = _nothing_left(run, [KILLED])
    secretive = bool(request.get("has_challenge_password"))
    event = ended(run, left, trace.trace_id, "info", has_challenge_password=secretive)
    code, signal = event["exit"]["code"], event["exit"]["signal"]
    stdout = left["stdout"]
    complete = len(stdout["head"]) == stdout["size"] and not left["problems"]
    result, kept = outputs.decode(
        code,
        stdout["head"],
        complete=complete,
        request_spki=request.get("spki_sha256"),
        previous_spki=previous.get("spki_sha256"),
    )
    outcome = protocol.outcome(code, signal, kept)
    event["exit"].update(name=outcome.name, meaning=outcome.meaning)
    findings = outputs.harmful(code, stdout["head"], stdout["longest_line"], complete=complete)
    findings += outputs.foreign_key(result)
    if secretive:
        _without_challenge(result, findings)
    event["level"] = _level(code, kept, findings)
    digests = {"request": _digest(request)}
    if not trace.same_as_previous("request", digests["request"]):
        event["request"] = request
    for name in ("stdout", "stderr"):
        text = event[name]
        digests[name] = _digest(text)
        if text["size"] and trace.same_as_previous(name, digests[name]):
            event[name] = {"size": text["size"], "same_as_previous": True}
    event.update(
        result=result,
        promise_kept=kept,
        renewal=outcome.renewal,
        next=_next(outcome, previous, result, findings),
    )
    if outcome.renewal == "issued":
        event["must_follow"] = _stores(request)
    if killed:
        event["killed"] = True
    if findings:
        event["findings"] = findings
    return event, outcome.renewal, digests


def _stores(request: dict[str, Any]) -> list[str]:
    """The stores that must hold the certificate now, in the order in which it gets there."""
    role = catalogue.role_of_request(
        nickname=request.get("nickname") or "",
        subject=request.get("csr_subject") or "",
        principals=request.get("principals") or (),
        profile=request.get("profile") or "",
    )
    return list(role.stores)


def _without_challenge(result: dict[str, Any], findings: list[dict[str, Any]]) -> None:
    """Take out what may be the signing request in any form: it holds a challenge password."""
    places = [(result, "message"), (result.get("cookie", {}), "text"), *((finding, "found") for finding in findings)]
    for holder, name in places:
        if name in holder:
            holder[name] = redact_text(holder[name], True)


def _next(
    outcome: protocol.Outcome, previous: dict[str, Any], result: dict[str, Any], findings: list[dict[str, Any]]
) -> dict[str, Any]:
    """What certmonger does after this run, by its own rules."""
    if any(finding["check"] == outputs.UNTERMINATED for finding in findings):
        # Measured on certmonger 0.79.17: the process that reads the output loops for ever.
        text = "certmonger hangs over the helper's output: see the finding for what to end"
        never = {"retry_at": None, "retry_after_s": None, "shows_ca_error": False}
        return {"state": "SUBMITTING", "stuck": False, **never, "text": text}
    not_after = _moment(previous["not_after"]) if previous else None
    now = datetime.now(timezone.utc)
    following = schedule.next_try(outcome, not_after=not_after, now=now, delay_s=result.get("delay_s"))
    return {
        "state": outcome.state_renewal if previous else outcome.state_first,
        "stuck": outcome.stuck_renewal if previous else outcome.stuck_first,
        "retry_at": log.timestamp(following.at.timestamp()) if following.at else None,
        "retry_after_s": following.after_s,
        "shows_ca_error": outcome.shows_ca_error and bool(result.get("message")),
        "text": following.text,
    }


def _nothing_left(run: Run, problems: list[str]) -> dict[str, Any]:
    """What is known of a run whose wrapper was killed: certmonger saw a death by signal, the usual one is SIGKILL."""
    return {
        "status": 9,
        "duration_s": max(0.0, time.time() - run.started),
        "cpu_s": 0.0,
        "max_rss_kib": 0,
        "own_rss_kib": 0,
        "stdout": NOTHING,
        "stderr": NOTHING,
        "problems": problems,
    }


def _level(code: int | None, kept: bool, findings: list[dict[str, Any]]) -> str:
    if any(finding["level"] == "CRITICAL" for finding in findings):
        return "critical"
    return LEVELS.get(-1 if code is None else code, "error") if kept else "error"


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)

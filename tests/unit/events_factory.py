# SPDX-License-Identifier: MIT
"""Events as the helpers write them, for the tests of the reading side and for its benchmark."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from certwitness import protocol, schedule

Event = dict[str, Any]

START = datetime(2026, 11, 23, 19, 26, tzinfo=timezone.utc)
NICKNAME = "subsystemCert cert-pki-ca"
CA = "dogtag-ipa-ca-renew-agent"
HELPER = ["/usr/libexec/ipa/certmonger/dogtag-ipa-ca-renew-agent-submit", "-vv"]


def digest(text: str, size: int = 64) -> str:
    return sha256(text.encode()).hexdigest()[:size]


def stamp(seconds: float = 0, *, whole: bool = False) -> str:
    """A timestamp so many seconds after START."""
    moment = START + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if whole else "%Y-%m-%dT%H:%M:%S.%fZ")


def certificate(serial: int = 10, *, days: float = 20, key: str = "a") -> Event:
    """A certificate block; ``days`` is how long after START it ends."""
    return {
        "subject": "CN=CA Subsystem,O=EXAMPLE.TEST",
        "issuer": "CN=Certificate Authority,O=EXAMPLE.TEST",
        "serial": str(serial),
        "serial_hex": hex(serial),
        "not_before": stamp((days - 720) * 86400, whole=True),
        "not_after": stamp(days * 86400, whole=True),
        "sha256": digest(f"certificate {serial}"),
        "spki_sha256": digest(key),
        "sans": ["DNS:ipa.example.test"],
        "is_ca": False,
    }


def started(at: float = 0, *, trace: str = "one", attempt: int = 1, **fields: Any) -> Event:
    """A run.started of a SUBMIT (attempt 1) or POLL."""
    return {
        "timestamp": stamp(at),
        "event": "run.started",
        "level": "info",
        "schema": 1,
        "host": "ipa.example.test",
        "trace_id": digest(trace, 32),
        "span_id": digest(f"{trace} {attempt}", 16),
        "operation": "SUBMIT" if attempt == 1 else "POLL",
        "ca": CA,
        "nickname": NICKNAME,
        "key": digest("a"),
        "attempt": attempt,
        "pid": 4711,
        "command": HELPER,
        **fields,
    }


def ended(
    at: float = 1,
    *,
    code: int | None = 3,
    signal: int | None = None,
    kept: bool = True,
    trace: str = "one",
    attempt: int = 1,
    stdout: str = "",
    stderr: str = "",
    result: Event | None = None,
    previous: Event | None = None,
    **fields: Any,
) -> Event:
    """The run.ended that belongs to ``started`` with the same trace and attempt."""
    outcome = protocol.outcome(code, signal, kept)
    held = certificate() if previous is None else previous
    not_after = datetime.strptime(held["not_after"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    now = START + timedelta(seconds=at)
    result = result or {
        "kind": "message" if stdout else "nothing",
        **({"message": stdout.splitlines()[0]} if stdout else {}),
    }
    following = schedule.next_try(outcome, not_after=not_after, now=now, delay_s=result.get("delay_s"))
    levels = {0: "info", 1: "info", 5: "info", 2: "warning", 3: "warning", 4: "warning", 16: "warning", 17: "warning"}
    event = {
        **started(at, trace=trace, attempt=attempt),
        "event": "run.ended",
        "level": levels.get(-1 if code is None else code, "error") if kept else "error",
        "started": stamp(at - 0.31),
        "duration_s": 0.31,
        "cpu_s": 0.1,
        "max_rss_kib": 12000,
        "exit": {
            "code": code,
            "signal": signal,
            "name": outcome.name,
            "meaning": outcome.meaning,
        },
        "stdout": {"size": len(stdout), "text": stdout},
        "stderr": {"size": len(stderr), "text": stderr},
        "result": result,
        "promise_kept": kept,
        "renewal": outcome.renewal,
        "next": {
            "state": outcome.state_renewal,
            "stuck": outcome.stuck_renewal,
            "retry_at": following.at and following.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "retry_after_s": following.after_s,
            "shows_ca_error": outcome.shows_ca_error and bool(stdout),
            "text": following.text,
        },
        "request": {
            "nickname": NICKNAME,
            "profile": "caSubsystemCert",
            "subject": "CN=CA Subsystem,O=EXAMPLE.TEST",
            "csr_subject": "CN=CA Subsystem,O=EXAMPLE.TEST",
            "key_type": "RSA",
            "key_size": 2048,
            "spki_sha256": digest("a"),
            "has_challenge_password": False,
            "has_cookie": attempt > 1,
            "previous": held,
        },
    }
    if attempt > 1:
        del event["request"]
    event.update(fields)
    return event


def data_operation(at: float = 0, operation: str = "IDENTIFY", number: int = 0) -> Event:
    """The run.ended of a data operation."""
    code = 0 if operation in ("IDENTIFY", "FETCH-ROOTS") else 6
    outcome = protocol.outcome(code)
    text = "IPA (certmonger 0.79.17)\n" if code == 0 else ""
    return {
        "timestamp": stamp(at),
        "event": "run.ended",
        "level": "debug",
        "schema": 1,
        "host": "ipa.example.test",
        "trace_id": digest(f"data {at} {number}", 32),
        "span_id": digest(f"span {at} {number}", 16),
        "operation": operation,
        "ca": CA,
        "pid": 4712,
        "command": HELPER,
        "started": stamp(at),
        "duration_s": 0.02,
        "cpu_s": 0.01,
        "max_rss_kib": 9000,
        "exit": {"code": code, "signal": None, "name": outcome.name, "meaning": outcome.meaning},
        "stdout": {"size": len(text), "text": text},
        "stderr": {"size": 0, "text": ""},
    }


def issued(trace: str = "one", *, at: float = 0, serial: int = 12) -> list[Event]:
    """A renewal in Dogtag's three runs: SUBMIT, POLL to approve, POLL to retrieve."""
    new = certificate(serial, days=720)
    events = []
    for attempt, state in ((1, "approve"), (2, "retrieve")):
        cookie = {"text": f"state={state}&requestId=7", "size": 26, "state": state, "request_id": "7"}
        result = {"kind": "delay+cookie", "delay_s": 0, "cookie": cookie}
        when = at + attempt
        events.append(started(when - 0.31, trace=trace, attempt=attempt))
        events.append(ended(when, code=5, trace=trace, attempt=attempt, result=result))
    events.append(started(at + 2.7, trace=trace, attempt=3))
    result = {"kind": "certificate", "format": "PEM", "certificate": new, "chain": [], "key": "same"}
    events.append(ended(at + 3, code=0, trace=trace, attempt=3, result=result))
    return events


def verified(at: float = 10, *, trace: str = "one", astray: bool = True, findings: list[Event] | None = None) -> Event:
    """A look at the stores of ``issued``: all landed, or pkidbuser did not get it."""
    pkidbuser = "uid=pkidbuser,ou=people,o=ipaca"
    users: Event = {"store": "users", "where": pkidbuser, "mark": "landed"}
    if astray:
        users = {**users, "mark": "other", "reason": "description names serial 10"}
    event: Event = {
        "timestamp": stamp(at),
        "event": "verified",
        "level": "error" if astray else "info",
        "schema": 1,
        "host": "ipa.example.test",
        "trace_id": digest(trace, 32),
        "span_id": digest(f"{trace} verified {at}", 16),
        "nickname": NICKNAME,
        "key": digest("a"),
        "ca": CA,
        "outcome": "did not land" if astray else "landed",
        "stores": [{"store": "ca_renewal", "where": "cn=x", "mark": "landed"}, users],
    }
    return {**event, "findings": findings} if findings else event


def hook(at: float = 4, *, phase: str = "post-save", trace: str = "one", **fields: Any) -> Event:
    """The hook.started of a hook of ``issued``."""
    program = "renew_ca_cert" if phase == "post-save" else "stop_pkicad"
    return {
        "timestamp": stamp(at),
        "event": "hook.started",
        "level": "info",
        "schema": 1,
        "host": "ipa.example.test",
        "trace_id": digest(trace, 32),
        "span_id": digest(f"{trace} {phase}", 16),
        "phase": phase,
        "certificate": NICKNAME,
        "request": "20261123192600",
        "nickname": NICKNAME,
        "key": digest("a"),
        "ca": CA,
        "command": [f"/usr/libexec/ipa/certmonger/{program}", NICKNAME],
        "pid": 4713,
        "trace_found": True,
        **fields,
    }


def hook_ended(at: float = 6, *, phase: str = "post-save", trace: str = "one", **fields: Any) -> Event:
    """Its hook.ended, two seconds later."""
    nothing = {"size": 0, "text": ""}
    event = hook(at, phase=phase, trace=trace)
    del event["trace_found"], event["request"]
    return {
        **event,
        "event": "hook.ended",
        "started": stamp(at - 2),
        "duration_s": 2.0,
        "exit": {"code": 0, "signal": None},
        "stdout": nothing,
        "stderr": nothing,
        **fields,
    }


def line(event: Event) -> bytes:
    """An event as the writer writes it, newline included."""
    return json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"


def write(path: Path, events: list[Event]) -> Path:
    path.write_bytes(b"".join(line(event) for event in events))
    return path

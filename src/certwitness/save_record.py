# SPDX-License-Identifier: MIT
"""What a hook leaves: the events hook.started and hook.ended, holds, lines in the journal, and whether it landed.

Runs beside the hook (beside.py).
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, Callable

from certwitness import journal, kept
from certwitness.errors import CertwitnessError
from certwitness.events import log
from certwitness.findings import CRITICAL, ERROR, Finding
from certwitness.run import shown, streams
from certwitness.said import complaints, said
from certwitness.save import POST_SAVE, PRE_SAVE

if TYPE_CHECKING:
    from certwitness.save import Save

NO_COMMAND = "command"


def write_started(save: Save) -> None:
    """hook.started. Raises LogError."""
    look = save.look
    findings = look.get("findings", [])
    event = log.event("hook.started", _level(findings), look["trace_id"], save.span_id, **_identity(save))
    event.update(request=look.get("request"), trace_found=look.get("trace_found", False), findings=findings)
    event.update({name: look[name] for name in ("replaced", "unseen", "lock") if name in look})
    if save.problems:
        event["observer"] = save.problems
    log.append(save.config.events_file, event)


def write_end(save: Save, end: dict[str, Any], send: Callable[[Any], None]) -> None:
    """hook.ended, of a command that was skipped (`end` has `skipped`), could not be executed (`error`), or ran (`left`,
    as Run.left has it). Then the hold, the journal's line, and after a save the conclusion. `send(True)` once the
    problems are told.
    """
    problems = list(save.problems)
    findings = save.look.get("reasons", [])
    lines = None
    if "error" in end:
        findings = [_cannot_be_executed(save, end["error"])]
    elif "left" in end and save.command:
        lines = said([save.program], end["left"]["started"], save.environ)
        findings = [kept.finding(one) for one in complaints(lines or (), [save.program], save.name)]
    event = _ended(save, end, findings)
    if lines is not None:
        event["journal"] = [line.text for line in lines]
    if problems:
        event["observer"] = problems
    try:
        log.append(save.config.events_file, event)
    except CertwitnessError as error:
        problems.append(f"hook.ended is not recorded: {error}")
    for step in (_hold, _conclude):
        try:
            step(save, end)
        except CertwitnessError as error:
            problems.append(str(error))
        except Exception as error:  # a bug of ours shall not cost the rest
            problems.append(f"{step.__name__[1:]} failed: {error!r}")
    for finding in findings[:1]:
        journal.report(_sentence(save, end, finding), level=kept.LEVELS[finding["level"]][1])
    if problems:
        journal.report(f"{save.phase} for {save.name}: {'; '.join(problems)}")
    send(True)


def _level(findings: list[dict[str, Any]]) -> str:
    """An event's, by the worst finding in it."""
    found = {one["level"] for one in findings}
    return next((told for level, (told, _) in kept.LEVELS.items() if level in found), "info")


def _identity(save: Save) -> dict[str, Any]:
    """What both events say of whose they are."""
    return {
        "phase": save.phase,
        "certificate": save.certificate,
        **{name: save.look.get(name) for name in ("nickname", "key")},
        "ca": save.look.get("ca", ""),
        "command": shown(save.command),
        "pid": save.pid,
    }


def _ended(save: Save, end: dict[str, Any], findings: list[dict[str, Any]]) -> dict[str, Any]:
    event = log.event("hook.ended", _level(findings), save.look["trace_id"], save.span_id)
    event.update(_identity(save))
    if "skipped" in end:
        event["skipped"] = True
    else:
        left = end["left"]
        status = left["status"]
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        event.update(
            started=log.timestamp(left["started"]),
            duration_s=round(left["duration_s"], 6),
            exit={"code": code, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None},
            **streams(left),
        )
        if code != 0 and event["level"] != "critical":
            event["level"] = "error"
    if findings:
        event["findings"] = findings
    return event


def _cannot_be_executed(save: Save, reason: str) -> dict[str, Any]:
    option = "-B" if save.phase == PRE_SAVE else "-C"
    request = save.look.get("request") or "ID"
    return Finding(
        NO_COMMAND,
        CRITICAL,
        certificate=save.name,
        where=shown(save.command)[0],
        expected=f"a {save.phase} command that can be executed",
        found=f"it cannot be executed: {reason}",
        breaks="what it does at each renewal is not done, and certmonger says nothing of it",
        remedy=f"Give the request the command that it had, or repair that: getcert start-tracking -i {request} {option}"
        " '…'; then run it once by hand.",
    ).as_event()


def _hold(save: Save, end: dict[str, Any]) -> None:
    """Hold the service that was not restarted. Raises CertwitnessError."""
    if "skipped" not in end:
        return
    from datetime import datetime, timezone

    from certwitness import holds

    reasons = [Finding.from_event(reason) for reason in save.look["reasons"]]
    now = datetime.now(timezone.utc)
    holds.place(save.config, save.look["service"], reasons, save.phase, save.look["trace_id"], now)


def _conclude(save: Save, end: dict[str, Any]) -> None:
    """Of a save that the log does not explain nobody else says what is wrong. Raises CertwitnessError."""
    if save.phase != POST_SAVE or save.certificate is None:
        return
    from certwitness import conclusion, host

    # Where no command ran, nothing is under way that could be waited for.
    limit_s = save.config.landing_s if save.command and "left" in end and "error" not in end else 0
    found = conclusion.conclude(host.load(save.config), save.name, by=save.phase, limit_s=limit_s)
    accusing = [one for one in found if one.level in (CRITICAL, ERROR)]
    if save.look.get("trace_found") is False and accusing:
        worst = min(accusing, key=lambda one: one.level != CRITICAL)
        next_step = shlex.join(["certwitness", "verify", save.name])
        journal.report(
            f"{save.name}: {worst.check}: {kept.text(worst.found)}; {worst.breaks}. Next: {next_step}",
            level=kept.LEVELS[worst.level][1],
        )


def _sentence(save: Save, end: dict[str, Any], finding: dict[str, Any]) -> str:
    """For the journal: the certificate, what is wrong where, and the next step."""
    name = save.name
    if "skipped" in end:
        service = save.look["service"]
        what = f"{save.program} was not run, {service} goes on with the certificate that it has"
        found = ": ".join(finding[key] for key in ("where", "found") if finding.get(key))
        return f"{name}: {what}: {found}. Next: certwitness gate {service}"
    if "error" not in end:
        next_step = shlex.join(["certwitness", "verify", name])
        return f"{name}: {save.program} told the journal: {finding['found']}. Next: {next_step}"
    command = shlex.join(shown(save.command))
    return f"{name}: the {save.phase} command {command} {finding['found'][3:]}. Next: {finding['remedy']}"

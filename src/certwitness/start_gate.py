# SPDX-License-Identifier: MIT
"""`hooks/start-gate SERVICE`, for systemd's ExecStartPre=: judge, say why, keep the hold, write gate.judged.

Whatever fails here allows the start. A block is told by BLOCKED, which nothing else ends with: the shell stub
makes 2 of it, and 0 of everything else.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from certwitness.evidence import Evidence
    from certwitness.gate import Verdict
    from certwitness.holds import Hold
    from certwitness.host import Host

ALLOWED, BLOCKED = 0, 42
# From the first reader to the verdict. With the interpreter's start it stays below two seconds.
LIMIT_S = 1.5
# For each thing that is done with a verdict: it must not get lost in a journal or on a disk that hangs.
TELLING_S = 1.0
NAME = "start-gate"


def main(arguments: Sequence[str]) -> NoReturn:
    """Judge and end with BLOCKED or 0, whatever happens. Readers that hang are not waited for."""
    for stream in (sys.stdout, sys.stderr):  # None where it was closed
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever LANG is
    status = ALLOWED
    try:
        status = run(arguments)
    except BaseException as error:
        _say(f"{NAME} failed, the start is allowed: {type(error).__name__}: {error}")
    # Nothing is flushed: whoever prints does it, and may still hold the stream where nobody takes what it says.
    os._exit(status)


def run(arguments: Sequence[str], *, uid: int | None = None) -> int:
    """BLOCKED or ALLOWED; `uid` is who runs it. Raises CertwitnessError: nothing can be judged."""
    started = time.monotonic()
    path, words = _options(arguments)
    if len(words) != 1:
        _say(f"usage: {NAME} [--config FILE] SERVICE; nothing was judged, the start is allowed")
        return ALLOWED
    from certwitness import config, gate, holds, host

    service = gate.named(words[0])
    there = host.load(config.load(path))
    if service is None or gate.named(words[0], there) is None:
        return ALLOWED  # another instance than IPA's
    if (os.geteuid() if uid is None else uid) != 0:
        _say(f"{NAME} must run as root to read the stores; nothing was judged, the start is allowed")
        return ALLOWED
    from certwitness import judging, start_facts
    from certwitness.evidence import Evidence
    from certwitness.stores import nss_tools

    hold, problem = holds.read(there.config, service.name)
    if problem:
        _say(problem)
    evidence = Evidence(there, everything=False)
    (verdict,) = judging.verdicts(evidence, [service], {service.name: hold} if hold else {}, LIMIT_S)
    duration_s = time.monotonic() - started
    start_facts.within(TELLING_S, lambda: _tell(verdict))
    start_facts.within(TELLING_S, lambda: _keep(there, evidence, verdict, hold, duration_s))
    # What a reader runs that nobody waits for any more must not be found in the service's control group.
    start_facts.within(TELLING_S, nss_tools.kill_all)
    return ALLOWED if verdict.allow else BLOCKED


def _tell(verdict: Verdict) -> None:
    from certwitness.render.verdict import journal

    for line in journal(verdict):
        print(line, flush=True)


def _keep(there: Host, evidence: Evidence, verdict: Verdict, hold: Hold | None, duration_s: float) -> None:
    """The hold and the event."""
    from certwitness import holds, judging
    from certwitness.events import log

    trace_id = judging.trace_of(evidence, verdict) or log.new_trace_id()
    event = log.event(
        "gate.judged", "info" if verdict.allow else "critical", trace_id, log.new_span_id(),
        **judging.as_event(verdict), duration_s=round(duration_s, 3),
    )  # fmt: skip
    try:
        log.append(there.config.events_file, event)
    except Exception as error:
        _say(f"the verdict is not in the event log: {error}")
    try:
        if not verdict.allow:
            holds.place(there.config, verdict.service, verdict.reasons, NAME, trace_id, datetime.now(timezone.utc))
        else:
            judging.end_if_gone(there.config, verdict, hold)
    except Exception as error:
        _say(str(error))


def _options(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    words = list(arguments)
    if words[:1] == ["--config"] and len(words) > 1:
        return words[1], words[2:]
    return None, words


def _say(words: str) -> None:
    from certwitness.render.text import clean

    def say() -> None:
        with suppress(OSError, ValueError):
            print(f"certwitness: {clean(words)}", file=sys.stderr, flush=True)

    teller = threading.Thread(target=say, daemon=True)
    teller.start()
    teller.join(TELLING_S)

# SPDX-License-Identifier: MIT
"""A run, and what the log says of it whatever its operation. On the helper's hot path."""

from __future__ import annotations

import os
import time

from certwitness import operations
from certwitness.events import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from certwitness.child import Child
    from certwitness.config import Config
    from certwitness.relay import Relay

TEXT_HEAD = 16 << 10  # of each stream written to the log
TEXT_TAIL = 4 << 10
# What a data operation prints without any of these holds no secret, and to look closer loads `re`, which is dear.
SUSPICIOUS = ("=", "-----", "://", "uthorization", "ookie")
SUSPICIOUS_WORD = ("=", "-----", "://", " ", "\t", "\n")  # the same for a command of one word
NOTHING = {"head": b"", "tail": b"", "size": 0, "sha256": None, "longest_line": 0}


class Run:
    """What is known of a run when it has started: `command` and `environ` (by name) as the child has them, `started`
    (seconds since the epoch), `pid`, `config`, and `problems`: lines about what of ours has failed so far."""

    __slots__ = ("command", "config", "environ", "pid", "problems", "span_id", "started")

    def __init__(
        self, child: Child, command: list[str], environ: dict[bytes, bytes], config: Config, problems: list[str]
    ) -> None:
        self.command = command
        self.environ = {key.decode(errors="replace"): value for key, value in environ.items()}
        self.started = child.started
        self.pid = child.pid
        self.config = config
        self.problems = problems
        self.span_id = log.new_span_id()

    def variable(self, name: str) -> str:
        """The value of an environment variable as text; "" where there is none."""
        return self.environ.get(name, b"").decode(errors="backslashreplace")

    @property
    def is_enrollment(self) -> bool:
        """Whether it is a SUBMIT or POLL (or has no operation, which helpers take as SUBMIT)."""
        return operations.is_enrollment(self.variable("CERTMONGER_OPERATION"))

    def left(self, child: Child, relay: Relay | None) -> dict[str, Any]:
        """What the run has left, as builtin types: `status` as wait(2) has it, `duration_s`, `cpu_s`, `max_rss_kib`
        (and `own_rss_kib`, ours), `stdout` and `stderr` (what `relay` kept; None: nothing), and the `problems` of
        ours."""
        usage = child.end[2] if len(child.end) > 2 else None
        streams = {"stdout": NOTHING, "stderr": NOTHING}
        if relay:
            names = ("head", "tail", "size", "sha256", "longest_line")
            streams = {name: {key: getattr(getattr(relay, name), key) for key in names} for name in streams}
        return {
            "status": child.end[1],
            "duration_s": relay.duration_s if relay else time.time() - child.started,
            "cpu_s": usage.ru_utime + usage.ru_stime if usage else 0.0,
            "max_rss_kib": usage.ru_maxrss if usage else 0,
            "own_rss_kib": _own_rss_kib(),
            **streams,
            "problems": self.problems,
        }

    def shown_command(self) -> list[str]:
        """The command as `shown` gives it."""
        return shown(self.command)

    def line(self, problems: list[str]) -> str:
        """`problems` as one line for the journal that says which run they befell."""
        where = self.variable("CERTMONGER_CA_NICKNAME") or self.command[0]
        return f"{self.variable('CERTMONGER_OPERATION') or 'run'} for {where}: {'; '.join(problems)}"


def shown(command: list[str]) -> list[str]:
    """A command without its secrets; bytes that are not UTF-8 (surrogates, as Python has them) as `\\xff`."""
    words = [word.encode("utf-8", "surrogateescape").decode(errors="backslashreplace") for word in command]
    if len(words) == 1 and not any(mark in words[0] for mark in SUSPICIOUS_WORD):
        return words
    from certwitness.redaction import redact_command

    return redact_command(words)


def record_data_operation(run: Run, left: dict[str, Any]) -> None:
    """Record one of the eight data operations that every CA has at every start of certmonger: with little, and cheaply.
    What of ours fails is told in the event, and once in the journal."""
    problems = left["problems"]
    try:
        log.append(run.config.events_file, ended(run, left, log.new_trace_id(), "debug"))
    except Exception as error:
        problems = [*problems, f"not recorded: {error}"]
    if problems:
        from certwitness.journal import report

        report(run.line(problems))


def ended(
    run: Run, left: dict[str, Any], trace_id: str, level: str, *, has_challenge_password: bool = False
) -> dict[str, Any]:
    """The fields of `run.ended` that every operation has; what the exit of a SUBMIT or POLL means is still missing.

    `left` is what Run.left gave.
    """
    status = left["status"]
    code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    end: dict[str, Any] = {"code": code, "signal": signal}
    if not run.is_enrollment:
        end["meaning"] = operations.for_data_operation(code, signal)
    event = log.event("run.ended", level, trace_id, run.span_id)
    event.update(
        operation=run.variable("CERTMONGER_OPERATION"),
        ca=run.variable("CERTMONGER_CA_NICKNAME"),
        pid=run.pid,
        command=run.shown_command(),
        started=log.timestamp(run.started),
        duration_s=round(left["duration_s"], 6),
        cpu_s=round(left["cpu_s"], 6),
        max_rss_kib=left["max_rss_kib"],
        exit=end,
    )
    # The kernel counts what the child was before its exec, too: a copy of this interpreter.
    if left["max_rss_kib"] <= left["own_rss_kib"]:
        event["max_rss_is_upper_bound"] = True
    event.update(streams(left, closely=run.is_enrollment, has_challenge_password=has_challenge_password))
    if left["problems"]:
        event["observer"] = left["problems"]
    return event


def streams(left: dict[str, Any], *, closely: bool = True, has_challenge_password: bool = False) -> dict[str, Any]:
    """`stdout` and `stderr` for the log, without secrets. Where one has to be quick (not `closely`), text that cannot
    hold any is not looked at."""
    found: dict[str, Any] = {}
    for name in ("stdout", "stderr"):
        found[name] = stream(left[name])
        for part in ("text", "tail"):
            text = found[name].get(part, "")
            if closely or any(mark in text for mark in SUSPICIOUS):
                from certwitness.redaction import redact_text

                found[name][part] = redact_text(text, has_challenge_password, is_tail=part == "tail")
    return found


def stream(kept: dict[str, Any]) -> dict[str, Any]:
    """A stream for the log: its true `size`, its `text` up to TEXT_HEAD bytes, and where that is not all of it,
    how many bytes are `omitted` before the `tail`, and the `sha256` of the whole."""
    head, tail, size = kept["head"], kept["tail"], kept["size"]
    if size <= TEXT_HEAD + TEXT_TAIL:
        return {"size": size, "text": head.decode(errors="backslashreplace")}
    end = (head + tail)[-TEXT_TAIL:]
    return {
        "size": size,
        "text": head[:TEXT_HEAD].decode(errors="backslashreplace"),
        "omitted": size - TEXT_HEAD - len(end),
        "tail": end.decode(errors="backslashreplace"),
        "sha256": kept["sha256"] or _sha256(head),
    }


def _own_rss_kib() -> int:
    # Not ru_maxrss: that counts what we were before our own exec.
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()

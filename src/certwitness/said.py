# SPDX-License-Identifier: MIT
"""What programs told the system journal: FreeIPA's hooks leave there what certmonger never hears (freeipa.md, 5.7)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from certwitness.findings import WARNING, Finding
from certwitness.redaction import redact_text

JOURNALCTL_S = 2
LINES, LONGEST_LINE = 100, 1000
ERR = 3  # syslog(3): the smaller, the worse
TRACEBACK = "Traceback (most recent call last):"


class Line(NamedTuple):
    """A line without its secrets, and its priority as syslog(3) has it (6 where it has none)."""

    text: str
    priority: int


def said(
    programs: Sequence[str], since: float, environ: Mapping[bytes, bytes] | None = None, *, until: float | None = None
) -> list[Line] | None:
    """What programs of these names have told the journal since then, and `until` then (seconds since the epoch; None:
    now): the last LINES lines.
    None where that cannot be known: there is no journalctl, or it does not answer in time."""
    program = shutil.which("journalctl")
    if program is None or not programs:
        return None
    fields = "--output-fields=MESSAGE,PRIORITY"
    # Without --all a message of more than 4096 bytes, as a long traceback is, would be null (journalctl(1)).
    command = [program, "--no-pager", "-q", "--all", "-o", "json", fields, f"--since=@{since:.6f}", "-n", str(LINES)]
    command += [f"--until=@{until:.6f}"] if until is not None else []
    for name in programs:
        command += ["-t", name]
    command.append(f"_UID={os.getuid()}")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=JOURNALCTL_S, check=False,
            env={**(os.environb if environ is None else environ), b"LC_ALL": b"C.UTF-8"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else [one for line in done.stdout.splitlines() for one in _lines(line)]


def complaints(lines: Sequence[Line], programs: Sequence[str], certificate: str) -> list[Finding]:
    """A finding, if any of the lines is an error; one for all: what followed from them is the checks' to tell."""
    errors = [line.text for line in lines if line.priority <= ERR]
    if not errors:
        return []
    # Of a traceback, which comes line by line, the end tells most.
    told = errors[-1] if TRACEBACK in errors else errors[0]
    more = f" (and {len(errors) - 1} more such lines)" if len(errors) > 1 else ""
    options = " ".join(f"-t {shlex.quote(name)}" for name in programs)
    return [
        Finding(
            "hook-said",
            WARNING,
            certificate,
            where="the system journal",
            expected="no error",
            found=f"{told}{more}",
            breaks="the command went on, and its exit status does not tell it",
            remedy="See what it said, and whether the stores agree.",
            commands=(f"journalctl {options} -p err", f"certwitness verify {shlex.quote(certificate)}"),
        )
    ]


def _lines(entry: bytes) -> list[Line]:
    """An entry of journalctl's, line by line. Bytes that are not UTF-8 come as a list of numbers."""
    try:
        fields = json.loads(entry)
        message, priority = fields["MESSAGE"], int(fields.get("PRIORITY", 6))
        text = bytes(message).decode(errors="backslashreplace") if isinstance(message, list) else str(message)
    except (ValueError, KeyError, TypeError):
        return []
    return [Line(line[:LONGEST_LINE], priority) for line in redact_text(text).splitlines() if line.strip()]

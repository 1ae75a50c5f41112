# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's ipa-server-guard: the renewal lock around another helper, for example ipa-submit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.lab.freeipa.server import Server

LOCKED = ("SUBMIT", "POLL", "FETCH-ROOTS")
PASSED = (*LOCKED, "IDENTIFY", "GET-NEW-REQUEST-REQUIREMENTS")
NOT_SUPPORTED = 6
UNREACHABLE = 3


def main(server: Server, arguments: Sequence[str]) -> int:
    """Run the command in `arguments`; both its outputs are repeated after it has ended."""
    operation = os.environ.get("CERTMONGER_OPERATION")
    if operation not in PASSED:
        return NOT_SUPPORTED
    try:
        if operation in LOCKED:
            with server.lock():
                return _run(arguments)
        return _run(arguments)
    except Exception:
        server.log_traceback()
        print("Internal error", flush=True)
        return UNREACHABLE


def _run(command: Sequence[str]) -> int:
    done = subprocess.run(list(command), capture_output=True, check=False)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    sys.stderr.flush()
    return done.returncode

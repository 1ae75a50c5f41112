# SPDX-License-Identifier: MIT
"""The hooks as installed from a checkout, in a temporary directory, started as certmonger starts them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.unit.harness import CERTMONGER_ENVIRONMENT, CHECKOUT, Tree, python_program

# certmonger 0.79.17: nothing of the request, no CA.
ENVIRONMENT = {name: value for name, value in CERTMONGER_ENVIRONMENT.items() if name != "CERTMONGER_CA_NICKNAME"}
PIPE = 9  # certmonger's, whose end of file it waits for


class HookTree(Tree):
    """A copy of the hooks; no IPA server, so a look finds nothing to look at."""

    def __init__(self, directory: Path, *, shell: str = "/bin/sh") -> None:
        super().__init__(directory, shell=shell)
        self.hooks = self.root / "hooks"
        shutil.copytree(CHECKOUT / "hooks", self.hooks, symlinks=True)
        for part in ("diagnosis", "render"):
            shutil.copytree(CHECKOUT / "src" / "certwitness" / part, self.package / part)
        stub = self.hooks / "pre-save"
        stub.write_text(stub.read_text(encoding="utf-8").replace("#!/bin/sh", f"#!{shell}", 1), encoding="utf-8")
        host = self.package / "host.py"
        text = host.read_text(encoding="utf-8")
        host.write_text(text.replace('"/etc/ipa/default.conf"', f'"{directory}/no-ipa.conf"'), encoding="utf-8")

    def hooked(self, command: Iterable[object], phase: str = "post-save", *options: str) -> list[str]:
        """`command` behind a hook."""
        options = options or ("--cert", "a certificate", "--")
        return [str(self.hooks / phase), "--config", str(self.config), *options, *map(str, command)]

    def kinds(self) -> list[str]:
        """The kinds of all events."""
        return [str(event["event"]) for event in self.events()]

    def hook_ended(self) -> dict[str, Any]:
        """The last hook.ended."""
        return [event for event in self.events() if event["event"] == "hook.ended"][-1]


class Started:
    """A hook that certmonger has started: 0, 1 and 2 closed, a pipe on PIPE, cwd /, umask 077."""

    def __init__(
        self, command: Iterable[object], env: Mapping[str, str] = ENVIRONMENT, *, ignored: Iterable[int] = ()
    ) -> None:
        reading, writing = os.pipe()

        def prepare() -> None:
            os.umask(0o077)
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            # Last: the descriptor by which subprocess would be told of a failure stays as it is.
            os.dup2(writing, PIPE)
            os.set_inheritable(PIPE, True)
            for descriptor in (0, 1, 2):
                os.close(descriptor)

        words = [str(word) for word in command]
        self.process = subprocess.Popen(
            words,
            env=dict(env),
            cwd="/",
            pass_fds=(PIPE,),
            preexec_fn=prepare,  # noqa: PLW1509  (no threads here)
        )
        os.close(writing)
        self._reading = reading

    def end(self, timeout_s: float = 60) -> int:
        """As certmonger: first the end of file, then waitpid."""
        with os.fdopen(self._reading, "rb") as pipe:
            assert pipe.read() == b""
        return self.process.wait(timeout_s)


def run(command: Iterable[object], env: Mapping[str, str] = ENVIRONMENT, *, ignored: Iterable[int] = ()) -> int:
    """Its exit status, as subprocess has it."""
    return Started(command, env, ignored=ignored).end()


INSPECT = """
import os, sys
found = [repr(sys.argv[2:]), os.getcwd(), oct(os.umask(0)), str(os.getpgid(0) == os.getpgid(os.getppid()))]
found.append(repr(sorted(os.environb.items())))
for line in open("/proc/self/status"):
    if line.startswith(("SigIgn", "SigBlk", "Uid", "Groups")):
        found.append(line)
for descriptor in range(3, 64):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    found.append("open: %d" % descriptor)
try:
    os.fstat(0)
except OSError:
    found.append("stdin closed")
out = open(sys.argv[1], "w")
out.write("\\n".join(found))
"""


def inspector(directory: Path) -> Path:
    """A command that writes into the file named first what it was given and what it found."""
    return python_program(directory / "inspect", INSPECT)

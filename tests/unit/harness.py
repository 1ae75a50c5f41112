# SPDX-License-Identifier: MIT
"""The helpers as installed from a checkout, in a temporary directory, beside the bare child.

`Tree` copies helpers/ and src/ and links .venv to the interpreter that runs the tests, so that a test can
break the copy: remove the package, the interpreter, a statement.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
# /bin/sh is dash on Debian and bash on Fedora and RHEL.
SHELLS = ["/bin/dash", "/bin/bash --posix"]
SHELLS = [shell for shell in SHELLS if os.path.exists(shell.split()[0])]
# What certmonger 0.79.17 gives every helper, whatever its own environment is.
CERTMONGER_ENVIRONMENT = {
    "HOME": "/run/certmonger",
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "LC_CTYPE": "C.UTF-8",
    "TMPDIR": "/run/certmonger",
    "CERTMONGER_LOCAL_CA_DIR": "/var/lib/certmonger/local",
    "CERTMONGER_CA_NICKNAME": "dogtag-ipa-ca-renew-agent",
}


INTERPRETER_DAMAGES = ("removed", "no program", "no interpreter of its own", "not executable")


class Tree:
    """A copy of the helpers with a configuration of its own below `directory`."""

    def __init__(self, directory: Path, *, shell: str = "/bin/sh") -> None:
        self.root = directory / "tree"
        self.helpers = self.root / "helpers"
        self.package = self.root / "src" / "certwitness"
        shutil.copytree(CHECKOUT / "helpers", self.helpers, symlinks=True)
        stub = self.helpers / "submit"
        stub.write_text(stub.read_text(encoding="utf-8").replace("#!/bin/sh", f"#!{shell}", 1), encoding="utf-8")
        shutil.copytree(
            CHECKOUT / "src" / "certwitness", self.package, ignore=shutil.ignore_patterns("cli", "render", "diagnosis")
        )
        config = self.package / "config.py"
        text = config.read_text(encoding="utf-8")
        for default in ("/var/log/certwitness", "/var/lib/certwitness", "/etc/certwitness"):
            # Without a usable configuration the defaults hold: they must not lead out of the test's directory.
            assert default in text
            text = text.replace(default, f"{directory}/default{default}")
        config.write_text(text, encoding="utf-8")
        (directory / "default" / "var" / "log").mkdir(parents=True, mode=0o700)
        (self.root / ".venv").symlink_to(sys.prefix)
        self.log = directory / "log" / "events.jsonl"
        self.state = directory / "state"
        self.log.parent.mkdir(0o700)
        self.state.mkdir(0o700)
        self.config = directory / "certwitness.conf"
        self.configure()

    def configure(self, *, log: Path | None = None, helpers: Mapping[str, Path] | None = None) -> None:
        """Write the configuration."""
        lines = ["[events]", f"file = {log or self.log}", "[state]", f"directory = {self.state}", "[helpers]"]
        lines += [f"{name} = {path}" for name, path in (helpers or {}).items()]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.config.chmod(0o600)

    def wrapped(self, command: Iterable[object]) -> list[str]:
        """`command` behind helpers/submit."""
        return [str(self.helpers / "submit"), "--config", str(self.config), "--", *map(str, command)]

    def damage_module(self, module: str, how: str) -> None:
        """Remove a module of the package, or make "garbage" of it."""
        path = self.package / f"{module}.py"
        path.unlink()
        if how == "garbage":
            path.write_bytes(b"\x00 def (")

    def damage_interpreter(self, how: str) -> None:
        """Put something that cannot be executed in its place; one of INTERPRETER_DAMAGES."""
        (self.root / ".venv").unlink()
        python = self.root / ".venv" / "bin" / "python"
        if how != "removed":
            python.parent.mkdir(parents=True)
            python.write_bytes(b"#!/nonexistent\n" if how == "no interpreter of its own" else b"\x7fELF garbage")
            python.chmod(0o644 if how == "not executable" else 0o755)

    def events(self) -> list[dict[str, Any]]:
        """All events logged so far."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    def ended(self) -> dict[str, Any]:
        """The last run.ended."""
        return [event for event in self.events() if event["event"] == "run.ended"][-1]


def program(path: Path, body: str, *, interpreter: str = "/bin/sh") -> Path:
    """An executable script."""
    path.write_text(f"#!{interpreter}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def python_program(path: Path, body: str) -> Path:
    """An executable Python script that starts quickly."""
    return program(path, body, interpreter=f"{Path(sys.executable).resolve()} -IS")


def environment(operation: str | None = "IDENTIFY", **more: str) -> dict[str, str]:
    """A helper's environment for one operation (None: unset)."""
    names = {} if operation is None else {"CERTMONGER_OPERATION": operation}
    return {**CERTMONGER_ENVIRONMENT, **names, **more}


def run(
    command: Iterable[object],
    env: Mapping[str, str] | None = None,
    *,
    timeout: float = 60,
    cwd: str | Path = "/",
    close_stdin: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run `command` as certmonger does: descriptor 0 closed, umask 077, working directory /."""

    def prepare() -> None:
        os.umask(0o077)
        if close_stdin:
            os.close(0)

    return subprocess.run(
        [str(word) for word in command],
        env=dict(env or environment()),
        cwd=cwd,
        capture_output=True,
        timeout=timeout,
        preexec_fn=prepare,
        check=False,
    )


def result(process: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes, bytes]:
    """What certmonger sees of a run, and the journal."""
    return process.returncode, process.stdout, process.stderr

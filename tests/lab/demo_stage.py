# SPDX-License-Identifier: MIT
"""Where demo.py's scenes are played: tells, runs commands in a world as an administrator would type them, and shows
what they print, shortened where nobody would read it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import quote

from tests.lab.world import SUBSYSTEM, World, request_id

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = 100
REQUEST = request_id(SUBSYSTEM)
STATUS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# A certificate in base64 has a thousand characters and more; paths and names stay far below this.
LONGEST_WORD = 200
SHOWN_OF_IT = 40


class OtherwiseError(Exception):
    """A scene did not go as told."""


class Stage:
    """Plays in `world`. A command's output is returned as it was, and shown shortened, without doubled blank lines."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        path = os.pathsep.join([str(world.directory / "bin"), os.environ.get("PATH", os.defpath)])
        self._environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": str(COLUMNS)}
        self.certwitness = f".venv/bin/certwitness --config {world.certwitness_config}"

    def show(self, command: str, status: int | None = None) -> str:
        """Run a shell command that writes plain text, and print both; with `status` it must end so."""
        self._print_command(command)
        code, output = self._run(command)
        self._print_output(output)
        self.expect(status in (None, code), f"{command!r} ended with {code} instead of {status}")
        return output

    def witness(self, command: str, status: int) -> str:
        """A command of certwitness's as it looks on a terminal; it must end with `status`. Returns it uncoloured."""
        whole = f"{self.certwitness} {command}"
        self._print_command(whole)
        code, output = on_terminal(shlex.split(whole), self._environment)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
        self._print_output(output if self._colour else plain)
        word = STATUS[code] if 0 <= code < len(STATUS) else "?"
        print(f"(exit status {code}, as monitoring plugins have it: {word})", flush=True)
        self.expect(code == status, f"certwitness {command} ended with {code} instead of {status}")
        return plain

    def resubmit(self, expected: str) -> str:
        """Renew and show what certmonger says of it, which must hold `expected`. Returns that."""
        self.show(f"getcert resubmit -i {REQUEST} -w")
        self.world.certmonger.wait_for(REQUEST)
        said = self.show(f"getcert list -i {REQUEST} | grep -E 'status|stuck|ca-error|expires'")
        self.expect(expected in said, f"getcert list does not say {expected!r}")
        return said

    def paste(self, verified: str, *checks: str) -> None:
        """Run the commands that `certwitness verify` has printed in `verified`: exactly those, as its --json has them.

        Those of several findings run in order, each once. `checks` are all that may have found something.
        """
        _, output = self._run(f"{self.certwitness} verify --json")
        wrong = [result for result in json.loads(output) if result["result"] != "SUCCESS"]
        found = {result["check"] for result in wrong}
        self.expect(found == set(checks), f"certwitness verify found {', '.join(sorted(found)) or 'nothing'}")
        commands = dict.fromkeys(each for result in wrong for each in result["kw"].get("commands", ()))
        printed = {line.strip() for line in verified.splitlines()}
        for command in commands:
            self.expect(set(command.split("\n")) <= printed, f"not printed by certwitness verify: {command!r}")
            self._print_command(command.replace("\n", "\n> "))
            code, output = self._run(command)
            self._print_output(output)
            self.expect(code == 0, f"the remedy ended with {code}: {command!r}")

    @staticmethod
    def expect(held: bool, otherwise: str) -> None:
        """Raise OtherwiseError with `otherwise` unless it held."""
        if not held:
            raise OtherwiseError(otherwise)

    def _run(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def _print_command(self, command: str) -> None:
        line = f"$ {self._short(command)}"
        print(f"\n\x1b[1m{line}\x1b[0m" if self._colour else f"\n{line}", flush=True)

    def _print_output(self, output: str) -> None:
        text = re.sub(r"\A(\s*\n)+", "", self._short(output)).rstrip()
        for line in re.sub(r"\n{3,}", "\n\n", text).expandtabs(4).splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            # What a terminal would break anywhere is broken between words. Marked lines fit: they come from a terminal.
            wrapped = textwrap.wrap(line, COLUMNS, subsequent_indent=indent) if "\x1b" not in line else [line]
            print("\n".join(wrapped))

    def _short(self, text: str) -> str:
        def world(match: re.Match[str]) -> str:
            # In a table the columns after it stay where they are.
            path, blanks = match[1], match[2]
            return f"<world>{path}{blanks}" + " " * (len(directory) - len("<world>") if len(blanks) > 1 else 0)

        directory = str(self.world.directory)
        text = re.sub(rf"{re.escape(directory)}([^\s\x1b]*)((?:\x1b\[[0-9;]*m)* *)", world, text)
        text = text.replace(quote(directory, safe=""), "<world>").replace(str(REPOSITORY), "<checkout>")
        return re.sub(rf"[\w+/=]{{{LONGEST_WORD},}}", _shortened, text)


def _shortened(match: re.Match[str]) -> str:
    return f"{match[0][:SHOWN_OF_IT]}… ({len(match[0])} characters)"


def on_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose output goes to a terminal of COLUMNS. Returns its exit status and what stays on the screen,
    without the lines that were overwritten to show progress."""
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    output = b""
    try:
        while block := os.read(ours, 65536):
            output += block
    except OSError:
        pass  # how Linux tells the end of a terminal
    finally:
        os.close(ours)
    text = output.decode(errors="replace").replace("\r\n", "\n")
    return child.wait(), re.sub(r"(\r\x1b\[K[^\r\n]*)*\r\x1b\[K", "", text)


def tell(words: str, title: str = "") -> None:
    """Narrate, under a title where a scene begins; a paragraph that begins with a blank is a table and stays."""
    if title:
        print(f"\n{title}\n{'=' * len(title)}")
    for part in words.split("\n\n"):
        is_table = part.startswith(" ")
        print("\n" + (part if is_table else textwrap.fill(part, COLUMNS - 4, break_on_hyphens=False)), flush=True)

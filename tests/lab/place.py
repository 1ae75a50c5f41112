# SPDX-License-Identifier: MIT
"""A temporary directory and the processes that live in it: both are gone when the owner is, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Union

from tests.lab.keeper import members

Output = Union[int, IO[bytes]]

# A socket's path has 108 bytes, and the longest name below a place is some 30 bytes long.
LONGEST_DIRECTORY = 75


class Place:
    """A directory of our own, and a process group of our own for what is started in it.

    `directory` must be empty or not exist yet; without it one below the system's temporary directory is made.
    Everything in it is removed on close. Raises ValueError for a directory that cannot be used.
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        if directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="certwitness-lab-"))
        else:
            self.directory = Path(directory).absolute()
            self.directory.mkdir(parents=True, exist_ok=True)
            if any(self.directory.iterdir()):
                raise ValueError(f"{self.directory} is not empty, and closing the place would remove what is there")
        if len(os.fsencode(self.directory)) > LONGEST_DIRECTORY:
            raise ValueError(f"{self.directory} is too long for sockets in it: at most {LONGEST_DIRECTORY} bytes")
        self.directory.chmod(0o755)
        (self.directory / "log").mkdir()
        (self.directory / "run").mkdir()
        self._children: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py")), str(self.directory)],
            stdin=subprocess.PIPE,
            **_in_group(0),
        )

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        stdout: Output = subprocess.DEVNULL,
        stderr: Output = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends, with all its descendants, when the place is closed or its owner dies."""
        if self._closed:
            raise ValueError(f"{self.directory} is closed")
        child = subprocess.Popen(
            [os.fspath(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd or self.directory,
            env=dict(environment) if environment is not None else None,
            **_in_group(self._keeper.pid),
        )
        self._children.append(child)
        return child

    def wait_for(self, child: subprocess.Popen[bytes], patience_s: float) -> None:
        """Wait for a child's end. Raises TimeoutError, which names all that still runs here."""
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            there = ",".join(map(str, (self._keeper.pid, *members(self._keeper.pid))))
            command = ["ps", "-ww", "-o", "pid,ppid,stat,wchan,etime,args", "-p", there]
            running = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            raise TimeoutError(f"{child.args!r} did not end in {patience_s:g} s; there are\n{running}") from None

    def log(self, name: str) -> IO[bytes]:
        """Open log/NAME for a child's output, to be closed by the caller once the child has it."""
        return open(self.directory / "log" / name, "ab")

    def close(self) -> None:
        """End everything that runs here and remove the directory. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        for child in self._children:
            child.kill()  # the keeper has done it, unless somebody killed the keeper
            child.wait()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _in_group(group: int) -> dict[str, Any]:
    """Arguments that put a child into the process group `group` (0: one of its own) before it runs."""
    if sys.version_info >= (3, 11):
        return {"process_group": group}
    return {"preexec_fn": lambda: os.setpgid(0, group)}

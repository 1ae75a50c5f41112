# SPDX-License-Identifier: MIT
"""Stands in for systemd: starts, stops and restarts the world's services when a hook asks, through a Unix socket.
Before a start it runs the ExecStartPre= of drop-ins in <world>/systemd, and starts nothing where one of them fails.

A request is one line, ``start|stop|restart|status SERVICE``; the answer one line, ``ok``, ``running``, ``stopped`` or
``error: TEXT``. The services live in the world's owner.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

PATIENCE_S = 5.0


class ServiceError(Exception):
    """A service did not do as told; the message is what systemctl or the start-up check would say."""


class Service(Protocol):
    """What the manager needs of a service. Methods raise ServiceError."""

    @property
    def running(self) -> bool:
        """Whether it runs."""

    def start(self) -> None:
        """Start it and wait until it serves."""

    def stop(self) -> None:
        """Stop it."""


class ServiceManager:
    """Obeys at `path`, a Unix socket, for `services` by name. `units` are their names for systemd; what a drop-in in
    the directory `drop_ins` says before a start goes to `journal`."""

    def __init__(
        self, path: Path, services: Mapping[str, Service], units: Mapping[str, str], drop_ins: Path, journal: Path
    ) -> None:
        self.services = services
        self._units, self._drop_ins, self._journal = units, drop_ins, journal
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, name="services", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Obey no more. The thread must be out of accept() before its descriptor's number is another socket's: the
        kernel restarts an interrupted accept() with the number."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                stream.write(self._obey(*stream.readline().split()) + "\n")
            except ServiceError as error:
                stream.write(f"error: {error}\n")

    def _obey(self, verb: str, name: str) -> str:
        service = self.services.get(name)
        if service is None:
            raise ServiceError(f"Unit {name}.service not found.")
        if verb == "status":
            return "running" if service.running else "stopped"
        if verb in ("stop", "restart"):
            service.stop()
        if verb in ("start", "restart"):
            self._run_before(name)
            service.start()
        return "ok"

    def _run_before(self, name: str) -> None:
        unit = self._units.get(name, name)
        for directory in dict.fromkeys((unit, re.sub("@.*", "@", unit))):
            for drop_in in sorted((self._drop_ins / f"{directory}.service.d").glob("*.conf")):
                for command in re.findall(r"^ExecStartPre=\+(.*)$", drop_in.read_text(), re.MULTILINE):
                    words = shlex.split(command.replace("$$", "$"))  # systemd.service(5)
                    done = subprocess.run(words, capture_output=True, text=True, check=False)
                    with open(self._journal, "a", encoding="utf-8") as journal:
                        program = words[0].rpartition("/")[2]
                        journal.writelines(f"{program}[0]: NOTICE {line}\n" for line in done.stdout.splitlines())
                    if done.returncode:
                        raise ServiceError(refusal("start", f"{unit}.service"))


def refusal(verb: str, unit: str) -> str:
    """What FreeIPA logs of a systemctl that failed."""
    return f"CalledProcessError(Command ['/bin/systemctl', '{verb}', '{unit}'] returned non-zero exit status 1: '')"


def ask(path: Path, verb: str, name: str) -> str:
    """Send one request to a manager and return its answer. Raises ServiceError with the text of a refusal."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(f"{verb} {name}\n")
            stream.flush()
            answer = stream.readline().strip()
    if answer.startswith("error: "):
        raise ServiceError(answer[len("error: ") :])
    return answer

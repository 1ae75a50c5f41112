# SPDX-License-Identifier: MIT
"""The real certmonger on a private D-Bus, with its state in a place of its own.

    with Certmonger() as certmonger:                        # up in 0.3 s; Certmonger(place=...) shares a place
        certmonger.add_ca("mine", "/bin/sh /tmp/helper")
        certmonger.getcert("list-cas").stdout

The bus has its own configuration without service directories: with dbus-daemon's own session configuration, a
getcert that comes before the daemon has its name starts a second certmonger on the user's own files.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable

from tests.lab.place import Place

Request = dict[str, str]

PROGRAMS = ("/usr/libexec/certmonger/certmonger-session", "/usr/lib/certmonger/certmonger-session")
BUS_NAME = "org.fedorahosted.certmonger"
ASK_FOR_NAME = (
    *("--print-reply=literal", "--dest=org.freedesktop.DBus", "/"),
    *("org.freedesktop.DBus.NameHasOwner", f"string:{BUS_NAME}"),
)
PATIENCE_S = 20.0

STATE = ("CAS", "REQUESTS", "LOCAL_CA", "CONFIG")  # directories of its own: CERTMONGER_<what>_DIR

# States in which certmonger waits for nothing that runs: an end, or a timer of its own.
SETTLED = ("MONITORING", "CA_REJECTED", "CA_UNREACHABLE", "CA_UNCONFIGURED", "NEED_GUIDANCE", "NEED_CA")

BUS_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class Certmonger:
    """A running certmonger. Attributes: `place`, `directory` (its state), `bus_address`, `environment` (for getcert).

    `debug` is certmonger's -d level; 3 shows exit codes, states and delays in `log`. None: the default, as on a server.
    """

    def __init__(
        self, directory: Path | str | None = None, *, place: Place | None = None, debug: int | None = 3
    ) -> None:
        self.place = place or Place(directory)
        self._owns_place = place is None
        self.directory = self.place.directory / "certmonger"
        self._debug = debug
        self._bus: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        bus_socket = self.place.directory / "run" / "bus"
        self.bus_address = f"unix:path={bus_socket}"
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.place.directory / "home"),
            "DBUS_SESSION_BUS_ADDRESS": self.bus_address,
        }
        try:
            self._make_directories()
            self._start_bus(bus_socket)
            self.start()
        except BaseException:
            self.close()
            raise

    # --- the processes

    def start(self) -> None:
        """Start the daemon (the bus stays up all the time) and wait until it answers. Raises TimeoutError."""
        daemon = next((program for program in PROGRAMS if os.path.exists(program)), PROGRAMS[-1])
        state = {f"CERTMONGER_{what}_DIR": str(self.directory / what.lower()) for what in STATE}
        command = [daemon, "-n"] + (["-d", str(self._debug)] if self._debug is not None else [])
        with self.place.log("certmonger") as log:
            self._daemon = self.place.spawn(
                command,
                environment={**self.environment, **state, "CERTMONGER_TMPDIR": str(self.directory / "tmp")},
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        self._wait_until(self._owns_its_name, "certmonger did not take its bus name")

    def stop(self) -> None:
        """SIGTERM, as a service stop: certmonger first waits for the helpers that run. Raises TimeoutError."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. Helpers and hooks that run are left running until the place is closed."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start. Requests keep their state; every CA's data operations run again."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return self._daemon is not None and self._daemon.poll() is None

    @property
    def log(self) -> str:
        """What the daemon and its helpers have written to stderr so far."""
        return (self.place.directory / "log" / "certmonger").read_text(errors="replace")

    def close(self) -> None:
        """End the daemon and the bus, and the place if it was made for them."""
        if self._owns_place:
            self.place.close()
            return
        for process in (self._daemon, self._bus):
            if process is not None:
                process.kill()
                process.wait()

    # --- getcert

    def getcert(self, command: str, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``getcert COMMAND -s ARGUMENTS``; the exit status is the caller's to look at. Text in UTC, C locale."""
        return subprocess.run(
            ["getcert", command, "-s", *(os.fspath(argument) for argument in arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**self.environment, "LC_ALL": "C", "TZ": "UTC"},
            timeout=timeout,
            check=False,
        )

    def _must(self, command: str, *arguments: str | Path) -> str:
        done = self.getcert(command, *arguments)
        if done.returncode != 0:
            raise RuntimeError(f"getcert {command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def add_ca(self, name: str, command: str) -> None:
        """Define the CA `name` with the helper `command`. certmonger calls it for eight data operations at once."""
        self._must("add-ca", "-c", name, "-e", command)

    def modify_ca(self, name: str, command: str) -> None:
        """Give the CA `name` another helper, the way certwitness is registered."""
        self._must("modify-ca", "-c", name, "-e", command)

    def helper_of(self, name: str) -> str:
        """The helper command of the CA `name`, byte for byte. Raises LookupError for a CA that is not defined."""
        for line in self._must("list-cas", "-c", name).splitlines():
            if line.strip().startswith("helper-location: "):
                return line.strip()[len("helper-location: ") :]
        raise LookupError(f"certmonger has no CA {name!r} with a helper")

    def request(self, identifier: str, ca: str, key: Path, certificate: Path, *more: str | Path) -> None:
        """Ask `ca` for a certificate in the file `certificate` for the key in `key` (made if it is not there)."""
        self._must("request", "-I", identifier, "-c", ca, "-k", key, "-f", certificate, *more)

    def track(self, identifier: str, ca: str, *more: str | Path) -> None:
        """start-tracking; `more` says where the certificate is (-d DIR -n NICK -p PIN or -k KEY -f FILE), and hooks."""
        self._must("start-tracking", "-I", identifier, "-c", ca, *more)

    def list_requests(self, *arguments: str | Path) -> list[Request]:
        """What ``getcert list`` says: a dict a request, with its field names (`status`, `stuck`, `ca-error`, `expires`,
        ...) and `id`; everything a string, a field that is not shown is not there."""
        return _parse_list(self._must("list", *arguments))

    def read(self, identifier: str) -> Request:
        """One request as in `list_requests`. Raises LookupError if there is none."""
        for request in _parse_list(self.getcert("list", "-i", identifier).stdout):
            if request["id"] == identifier:
                return request
        raise LookupError(f"certmonger has no request {identifier!r}")

    def stored(self, identifier: str, key: str) -> str | None:
        """A value from the request's file, for what getcert does not show (``ca_cookie``, ``csr``); None if not there.

        Continued lines are joined by a newline, as certmonger reads them.
        """
        for path in (self.directory / "requests").iterdir():
            text = path.read_text(errors="replace").replace("\n ", "\0")
            values = dict(line.partition("=")[::2] for line in text.splitlines())
            if values.get("id") == identifier:
                return values[key].replace("\0", "\n") if key in values else None
        raise LookupError(f"certmonger has no request {identifier!r}")

    def wait_for(
        self, identifier: str, predicate: Callable[[Request], bool] | None = None, timeout: float = 30
    ) -> Request:
        """Wait until the request fulfils `predicate` (default: it is in one of SETTLED or stuck) and return it.

        Raises TimeoutError that names the state it was in.
        """
        wanted = predicate or settled
        deadline = time.monotonic() + timeout
        while True:
            request = self.read(identifier)
            if wanted(request):
                return request
            if time.monotonic() > deadline:
                raise TimeoutError(f"request {identifier} is still {request}")
            time.sleep(0.03)

    # --- inside

    def _make_directories(self) -> None:
        (self.place.directory / "home").mkdir(exist_ok=True)
        for what in (*STATE, "TMP"):
            (self.directory / what.lower()).mkdir(parents=True, mode=0o700)

    def _start_bus(self, bus_socket: Path) -> None:
        configuration = self.directory / "bus.conf"
        configuration.write_text(BUS_CONFIGURATION.format(socket=bus_socket))
        with self.place.log("dbus") as log:
            command = ["dbus-daemon", "--nofork", f"--config-file={configuration}"]
            self._bus = self.place.spawn(command, environment=self.environment, stdout=log, stderr=log)
        self._wait_until(lambda: _accepts(bus_socket), "dbus-daemon did not come up")

    def _owns_its_name(self) -> bool:
        if not self.running:
            raise RuntimeError(f"certmonger ended at its start:\n{self.log}")
        answer = subprocess.run(
            ["dbus-send", f"--bus={self.bus_address}", *ASK_FOR_NAME],
            capture_output=True,
            text=True,
            check=False,
        )
        return "true" in answer.stdout

    def _end(self, number: signal.Signals) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(number)
            self.place.wait_for(self._daemon, PATIENCE_S)

    @staticmethod
    def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{complaint} in {PATIENCE_S:.0f} s")
            time.sleep(0.005)

    def __enter__(self) -> Certmonger:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def settled(request: Request) -> bool:
    """Whether nothing runs for the request any more: it succeeded, failed, or waits for a timer or for people."""
    return request["status"] in SETTLED or request["stuck"] == "yes"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _parse_list(text: str) -> list[Request]:
    requests: list[Request] = []
    for line in text.splitlines():
        if line.startswith("Request ID '"):
            requests.append({"id": line[len("Request ID '") : -len("':")]})
        elif line.startswith("\t") and requests:
            name, _, value = line.strip().partition(":")
            requests[-1][name] = value.strip()
    return requests

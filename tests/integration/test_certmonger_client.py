# SPDX-License-Identifier: MIT
"""A real certmonger is read over D-Bus: what it tracks, and what happens if it does not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from jeepney import Message

from certwitness import certmonger
from certwitness.bus import NAME, Connection, get_all
from certwitness.errors import StoreError
from tests.lab.certmonger import BUS_CONFIGURATION, Certmonger

PRE, POST = "/bin/true before", '/bin/true "after x"'


class Daemon:
    """certmonger with three requests: `file` (with hooks), `nss`, and `rejected` by its CA."""

    def __init__(self, lab: Certmonger) -> None:
        self.lab = lab
        self.directory = lab.place.directory
        helper = self.directory / "helper"
        helper.write_text("#!/bin/sh\necho 'not you'\nexit 2\n")
        helper.chmod(0o755)
        lab.add_ca("mine", f"{helper} --for 'a b'")
        self.database, self.pin = self.directory / "nss", self.directory / "pin"
        self.database.mkdir()
        self.pin.write_text("Secret.1")
        subprocess.run(["certutil", "-N", "-d", self.database, "-f", self.pin], check=True)
        more: list[str | Path] = [
            "-D",
            "a.example",
            "-D",
            "b.example",
            "-K",
            "HTTP/a.example@X",
            "-T",
            "caIPAserviceCert",
        ]
        lab.request("file", "SelfSign", *self.pair("c"), *more, "-B", PRE, "-C", POST, "-P", "geheim", "-w")
        lab.getcert("request", "-I", "nss", "-c", "SelfSign", "-d", self.database, "-n", "x y", "-p", self.pin, "-w")
        key, path = self.pair("r")
        lab.getcert("request", "-I", "rejected", "-c", "mine", "-k", key, "-f", path, "-w")

    def pair(self, name: str) -> tuple[Path, Path]:
        """Key and certificate of a name."""
        return self.directory / f"{name}.key", self.directory / f"{name}.pem"

    def read(self, timeout_s: float = 10) -> certmonger.Certmonger:
        return certmonger.read(self.lab.bus_address, timeout_s=timeout_s)

    def request(self, identifier: str) -> certmonger.Request:
        return next(request for request in self.read().requests if request.id == identifier)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One for the module; nothing is changed in it."""
    with Certmonger() as lab:
        yield Daemon(lab)


def test_a_request_for_a_file(daemon: Daemon) -> None:
    """Everything about it, as it was asked for, and the certificate that certmonger holds."""
    request = daemon.request("file")
    key, path = map(str, daemon.pair("c"))
    assert (request.status, request.stuck, request.ca, request.ca_error) == ("MONITORING", False, "SelfSign", "")
    assert (request.storage, request.location, request.nickname, request.name) == ("FILE", path, "", path)
    assert (request.key_location, request.key_nickname, request.pin_file) == (key, "", "")
    assert (request.pre_save, request.post_save) == (PRE, POST)
    assert (request.hostnames, request.principals) == (("a.example", "b.example"), ("HTTP/a.example@X",))
    assert (request.profile, request.monitoring, request.autorenew) == ("caIPAserviceCert", True, True)
    assert request.certificate is not None
    assert request.certificate.sans[:2] == ("DNS:a.example", "DNS:b.example")
    assert request.not_after == request.certificate.not_after
    assert request.submitted is not None
    assert abs((datetime.now(timezone.utc) - request.submitted).total_seconds()) < 120


def test_a_pin_is_read_and_not_shown(daemon: Daemon) -> None:
    """The PIN that certmonger keeps in the request is there for use; the request's text does not have it."""
    request = daemon.request("file")
    assert request.pin is not None
    assert request.pin.reveal() == b"geheim"
    assert "geheim" not in repr(daemon.read())


def test_a_request_in_an_nss_database(daemon: Daemon) -> None:
    """Directory, nickname and token of certificate and key, and the PIN's file."""
    request = daemon.request("nss")
    place = str(daemon.database)
    assert (request.storage, request.location, request.nickname, request.name) == ("NSSDB", place, "x y", "x y")
    assert (request.token, request.key_location, request.key_nickname) == ("NSS Certificate DB", place, "x y")
    assert (request.pin, request.pin_file) == (None, str(daemon.pin))
    assert request.certificate is not None


@pytest.mark.parametrize("scheme", ["sql:", "dbm:"])
def test_the_scheme_of_a_database(daemon: Daemon, scheme: str) -> None:
    """``sql:`` is the default and not told; ``dbm:`` stays, since another file would be read without it."""
    directory = daemon.directory / scheme.strip(":")
    directory.mkdir()
    daemon.lab.getcert("request", "-I", scheme, "-c", "mine", "-d", f"{scheme}{directory}", "-n", "n")
    try:
        shown = daemon.request(scheme).location
        assert shown == (f"dbm:{directory}" if scheme == "dbm:" else str(directory))
    finally:
        daemon.lab.getcert("stop-tracking", "-i", scheme)


def test_a_rejected_request(daemon: Daemon) -> None:
    """Status, stuck and the CA's words; no certificate, no dates."""
    request = daemon.request("rejected")
    assert (request.status, request.stuck, request.ca, request.ca_error) == ("CA_REJECTED", True, "mine", "not you")
    assert (request.certificate, request.not_after, request.pre_save) == (None, None, "")


def test_cas(daemon: Daemon) -> None:
    """Names, kinds, and the helper's command, byte for byte."""
    cas = {ca.name: ca for ca in daemon.read().cas}
    assert {"SelfSign", "IPA", "mine"} <= set(cas)
    assert cas["SelfSign"].kind == "INTERNAL:SELF"
    assert (cas["mine"].kind, cas["mine"].helper) == ("EXTERNAL", f"{daemon.directory}/helper --for 'a b'")


def test_many_requests_are_read_in_few_waits(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls are sent at once, so twenty more requests do not cost twenty waits."""
    waits, exchange = list[int](), Connection._exchange

    def counted(connection: Connection, messages: Iterable[Message]) -> list[Message]:
        answers = exchange(connection, messages)
        waits.append(len(answers))
        return answers

    monkeypatch.setattr(Connection, "_exchange", counted)
    daemon.read()
    before = len(waits)
    names = [f"many{number}" for number in range(20)]
    for name in names:
        daemon.lab.request(name, "mine", *daemon.pair(name), "-G", "EC", "-g", "256")
    try:
        waits.clear()
        assert len(daemon.read().requests) == 3 + len(names)
        assert len(waits) == before
        assert max(waits) > len(names)
    finally:
        for name in names:
            daemon.lab.getcert("stop-tracking", "-i", name)


def test_what_vanishes_meanwhile_is_left_out(daemon: Daemon) -> None:
    """A request or CA that is gone between the two waves is no error."""
    gone = [("/org/fedorahosted/certmonger/requests/Request999", "request"), ("/org/fedorahosted/x", "ca")]
    with Connection(daemon.lab.bus_address, 10) as connection:
        assert connection.ask([get_all(*place) for place in gone]) == [None, None]


def test_a_stopped_daemon_costs_the_time_limit(daemon: Daemon) -> None:
    """certmonger that waits for a hanging helper answers nobody."""
    os.kill(daemon.lab.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match=r"^certmonger: no answer in 0\.5 s"):
            daemon.read(0.5)
    finally:
        os.kill(daemon.lab.pid, signal.SIGCONT)
    assert daemon.read().requests


def test_a_daemon_that_is_down_is_not_started() -> None:
    """No owner of the name: that is said, and nothing starts certmonger, though D-Bus could."""
    with Certmonger() as lab:
        lab.stop()
        with pytest.raises(StoreError, match="is not running: systemctl start certmonger"):
            certmonger.read(lab.bus_address)
        assert not lab.running


def test_d_bus_starts_no_certmonger(tmp_path: Path) -> None:
    """On a bus that would start one on demand, reading does not demand it."""
    marker, services = tmp_path / "started", tmp_path / "services"
    services.mkdir()
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    (services / "c.service").write_text(f"[D-BUS Service]\nName={NAME}\nExec={program}\n")
    configuration = tmp_path / "bus.conf"
    text = BUS_CONFIGURATION.format(socket=tmp_path / "bus")
    configuration.write_text(text.replace("<auth>", f"<servicedir>{services}</servicedir><auth>"))
    command = ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bus:
        try:
            assert bus.stdout is not None
            address = bus.stdout.readline().decode().strip()
            with pytest.raises(StoreError, match="is not running"):
                certmonger.read(address, timeout_s=5)
            time.sleep(0.2)
            assert not marker.exists()
        finally:
            bus.terminate()

# SPDX-License-Identifier: MIT
"""The D-Bus client of certmonger against a bus that misbehaves."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from certwitness import certmonger
from certwitness.bus import Connection
from certwitness.errors import StoreError

jeepney = pytest.importorskip("jeepney")

REQUEST, CA = "/org/fedorahosted/certmonger/requests/Request1", "/org/fedorahosted/certmonger/cas/CA7"
PROPERTIES = {
    "nickname": ("s", "one"),
    "ca": ("o", "/org/fedorahosted/certmonger/requests/CA7"),
    "status": ("s", "MONITORING"),
    "stuck": ("b", False),
    "cert-storage": ("s", "NSSDB"),
    "cert-database": ("s", "sql:/etc/pki/pki-tomcat/alias/"),
    "key-storage": ("s", "FILE"),
    "key-file": ("s", "/k"),
    "key-pin": ("s", "geheim"),
    "cert": ("s", "no certificate"),
    "not-valid-after": ("x", 2**62),
}
Answer = Callable[[Any], Any]


class Bus:
    """A bus on a Unix socket whose answers to certmonger's calls are `answer`'s: a reply, or None for silence."""

    def __init__(self, path: Path, answer: Answer, greeting: bytes = b"OK 1234\r\n") -> None:
        self.address = f"unix:path={path}"
        self.flags: list[int] = []
        self._answer, self._greeting = answer, greeting
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:  # closed, and nobody came
            return
        with connection:
            connection.recv(1024)
            connection.sendall(self._greeting)
            data = connection.recv(1 << 16).replace(b"BEGIN\r\n", b"", 1)
            parser = jeepney.Parser()
            while True:
                parser.add_data(data)
                while (call := parser.get_next_message()) is not None:
                    self.flags.append(int(call.header.flags))
                    member = call.header.fields[jeepney.HeaderFields.member]
                    reply = jeepney.new_method_return(call, "s", (":1.1",)) if member == "Hello" else self._answer(call)
                    if reply is not None:
                        connection.sendall(reply.serialise(serial=call.header.serial + 100))
                data = connection.recv(1 << 16)
                if not data:
                    return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept(), which must not outlive the descriptor
        self._server.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Callable[..., Bus]]:
    """Makes buses."""
    made: list[Bus] = []

    def make(answer: Answer, **more: bytes) -> Bus:
        made.append(Bus(tmp_path / f"bus{len(made)}", answer, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def certmonger_like(call: Any) -> Any:
    """The answers of a certmonger with one request and one CA."""
    member = call.header.fields[jeepney.HeaderFields.member]
    properties = {
        "get_requests": ("ao", ([REQUEST],)),
        "get_known_cas": ("ao", ([CA],)),
        "get_type": ("s", ("EXTERNAL",)),
    }
    path = call.header.fields[jeepney.HeaderFields.path]
    values = PROPERTIES if path == REQUEST else {"nickname": ("s", "mine"), "external-helper": ("s", "/h x")}
    return jeepney.new_method_return(call, *properties.get(member, ("a{sv}", (values,))))


def error(name: str, text: str) -> Answer:
    """Answers with an error."""
    return lambda call: jeepney.new_error(call, f"org.freedesktop.DBus.Error.{name}", "s", (text,))


def test_a_request_and_its_ca(bus: Callable[..., Bus]) -> None:
    """The CA is found by its number, though its path is wrong; what makes no sense is none."""
    found = certmonger.read(bus(certmonger_like).address)
    request = found.requests[0]
    assert found.cas == (certmonger.CA("mine", "/h x", "EXTERNAL", ""),)
    assert (request.ca, request.location, request.key_location) == ("mine", "/etc/pki/pki-tomcat/alias", "/k")
    assert (request.certificate, request.not_after, request.hostnames, request.profile) == (None, None, (), "")
    assert "geheim" not in repr(request)


def test_no_call_starts_a_daemon(bus: Callable[..., Bus]) -> None:
    """Every call but the bus's own has NO_AUTO_START."""
    one = bus(certmonger_like)
    certmonger.read(one.address)
    assert one.flags[0] == 0
    assert set(one.flags[1:]) == {2}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NameHasNoOwner", "is not running: systemctl start certmonger"),
        ("ServiceUnknown", "is not running: systemctl start certmonger"),
        ("AccessDenied", "run as root"),
        ("NoReply", "org.freedesktop.DBus.Error.NoReply: two lines"),
        ("UnknownMethod", "is not certmonger"),
    ],
)
def test_errors_are_one_line(bus: Callable[..., Bus], name: str, words: str) -> None:
    """What D-Bus says becomes what to do, or is passed on."""
    with pytest.raises(StoreError) as raised:
        certmonger.read(bus(error(name, "two\nlines")).address)
    assert str(raised.value).startswith("certmonger: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_object_that_is_gone_is_left_out(bus: Callable[..., Bus]) -> None:
    """Listed, and removed before it was read."""

    def answer(call: Any) -> Any:
        gone = call.header.fields[jeepney.HeaderFields.path] in (REQUEST, CA)
        return error("UnknownObject", "")(call) if gone else certmonger_like(call)

    assert certmonger.read(bus(answer).address) == certmonger.Certmonger((), ())


@pytest.mark.parametrize("greeting", [b"", b"OK", b"O\r\n"[:1]])
def test_a_silent_bus_costs_the_time_limit(bus: Callable[..., Bus], greeting: bytes) -> None:
    """Whether it keeps silent in the greeting or after it."""
    for one in (bus(lambda _call: None, greeting=greeting), bus(lambda _call: None)):
        with pytest.raises(StoreError, match=r"no answer in 0\.3 s"):
            certmonger.read(one.address, timeout_s=0.3)


def test_a_bus_that_refuses_us(bus: Callable[..., Bus]) -> None:
    """The user is not let in."""
    with pytest.raises(StoreError, match="refuses this user"):
        certmonger.read(bus(certmonger_like, greeting=b"REJECTED EXTERNAL\r\n").address)


@pytest.mark.parametrize(
    "address", ["", "nonsense", "tcp:host=localhost,port=1", "unix:path=/nonexistent/bus", "unix:x"]
)
def test_an_address_without_a_bus(address: str) -> None:
    """What is no address, and where no bus is."""
    with pytest.raises(StoreError, match=r"^certmonger: "):
        certmonger.read(address, timeout_s=1)


def test_a_session_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that says where is not set."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with pytest.raises(StoreError, match="'session' is no D-Bus address"):
        certmonger.read("session")


def test_a_session_and_a_system_bus_by_name(bus: Callable[..., Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their variables are D-Bus's own."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus(certmonger_like).address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus(certmonger_like).address)
    assert certmonger.read("session").requests[0].id == certmonger.read("system").requests[0].id == "one"


class SlowBus(Bus):
    """Answers only when nothing has come for a moment, and counts how many calls wait then."""

    most = 0

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(self._greeting)
            connection.settimeout(0.1)
            parser, first = jeepney.Parser(), True
            waiting: list[Any] = []
            while True:
                try:
                    data = connection.recv(1 << 16)
                except socket.timeout:
                    self.most = max(self.most, len(waiting))
                    connection.sendall(b"".join(one.serialise(serial=1000 + one.header.serial) for one in waiting))
                    waiting.clear()
                    continue
                if not data:
                    return
                parser.add_data(data.replace(b"BEGIN\r\n", b"", 1) if first else data)
                first = False
                while (call := parser.get_next_message()) is not None:
                    hello = call.header.fields[jeepney.HeaderFields.member] == "Hello"
                    waiting.append(jeepney.new_method_return(call, "s", (":1.1",)) if hello else self._answer(call))


def test_no_more_calls_wait_than_the_system_bus_permits(tmp_path: Path) -> None:
    """dbus-daemon refuses a call while 128 of the same connection wait for their answers."""

    def many(call: Any) -> Any:
        if call.header.fields[jeepney.HeaderFields.member] == "get_requests":
            return jeepney.new_method_return(call, "ao", ([REQUEST] * 300,))
        return certmonger_like(call)

    there = SlowBus(tmp_path / "bus", many)
    try:
        assert len(certmonger.read(there.address).requests) == 300
        assert there.most == 100
    finally:
        there.close()


def test_a_message_that_cannot_be_understood(bus: Callable[..., Bus]) -> None:
    """Every user of the bus can send us a signal with a descriptor that is not there: it is dropped, and the answers
    and signals after it are taken."""
    jeepney_signal = jeepney.new_signal(jeepney.DBusAddress("/x", interface="a.b"), "C", "u", (0,))
    bad, good = (jeepney_signal.serialise(serial=7), jeepney_signal.serialise(serial=8))
    bad = bad.replace(b"\x01u\0", b"\x01h\0")  # the signature

    class Flooded:
        def __init__(self, answer: Any) -> None:
            self._answer = answer

        def serialise(self, serial: int) -> bytes:
            return bytes(bad + self._answer.serialise(serial=serial) + bad + good)

    with Connection(bus(lambda call: Flooded(certmonger_like(call))).address, 10) as connection:
        assert [request.id for request in certmonger.read_all(connection).requests] == ["one"]
        signal = connection.signal(10)
    assert signal is not None
    assert (signal.member, signal.body) == ("a.b.C", (0,))

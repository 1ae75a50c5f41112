# SPDX-License-Identifier: MIT
"""certmonger's requests and CAs, read over D-Bus. Nothing is changed and no daemon is started by it.

Two waves of calls over one connection, sent before answers are read. certmonger answers nobody while it waits for a
helper, so every wait has a limit: hence a socket of ours, as `jeepney.io` greets without one (0.6, 0.9).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from certwitness.certificates import Certificate
from certwitness.errors import CertificateError, StoreError
from certwitness.stores.pin import Pin

if TYPE_CHECKING:
    from jeepney import Message

STORE = "certmonger"
NAME = "org.fedorahosted.certmonger"
PATH = "/org/fedorahosted/certmonger"
_UNKNOWN = tuple(f"org.freedesktop.DBus.Error.Unknown{what}" for what in ("Object", "Method", "Interface"))
_ABSENT = ("org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.ServiceUnknown")
_AT_ONCE = 100  # dbus-daemon's system bus refuses a call while 128 of the same connection wait

Call = tuple[str, str, str, tuple[str, ...]]  # path, interface, method, arguments (strings)
Properties = Mapping[str, tuple[str, Any]]  # name -> D-Bus signature, value


@dataclass(frozen=True)
class Request:
    """A tracked certificate. Texts are "" where certmonger has none."""

    id: str
    status: str
    stuck: bool
    ca: str  # its name; "" if it has none, or one that was removed
    ca_error: str
    profile: str
    storage: str  # NSSDB or FILE
    location: str  # the database's directory, without "sql:" (but with "dbm:"), or the file
    nickname: str  # "" for files
    token: str
    key_location: str
    key_nickname: str
    pin: Pin | None
    pin_file: str
    certificate: Certificate | None  # what certmonger believes to be there, not what is
    not_after: datetime | None  # aware, UTC
    submitted: datetime | None  # when the helper last gave an answer that counted
    pre_save: str
    post_save: str
    principals: tuple[str, ...]  # what the next certificate is asked for with
    hostnames: tuple[str, ...]
    monitoring: bool
    autorenew: bool

    @property
    def name(self) -> str:
        """The nickname in a database, the path of a file."""
        return self.nickname if self.storage == "NSSDB" else self.location


@dataclass(frozen=True)
class CA:
    """A CA as certmonger knows it: `helper` is the command, `kind` is ``EXTERNAL`` or ``INTERNAL:SELF``."""

    name: str
    helper: str
    kind: str
    error: str


@dataclass(frozen=True)
class Certmonger:
    """Everything, in certmonger's order."""

    requests: tuple[Request, ...]
    cas: tuple[CA, ...]


def read(bus: str, *, timeout_s: float = 10) -> Certmonger:
    """Read all requests and CAs. `bus` is ``system``, ``session``, or a D-Bus address. What is removed meanwhile is
    left out. `timeout_s` is for all together.

    Raises StoreError: no bus, certmonger not on it, not permitted, no answer in time.
    """
    try:
        with _Connection(bus, timeout_s) as connection:
            return _read(connection)
    except (socket.timeout, TimeoutError):  # two until Python 3.10
        raise StoreError(STORE, f"no answer in {timeout_s:g} s: it may wait for a helper that hangs") from None
    except OSError as error:
        raise StoreError(STORE, f"D-Bus ({bus}): {error.strerror or error}") from error


def _read(connection: _Connection) -> Certmonger:
    listed = connection.ask([(PATH, NAME, "get_requests", ()), (PATH, NAME, "get_known_cas", ())])
    if None in listed:
        raise StoreError(STORE, f"what has the name {NAME} on the bus is not certmonger")
    requests, cas = ([str(path) for path in answer[0]] for answer in listed if answer)
    calls = [_get_all(path, "request") for path in requests] + [_get_all(path, "ca") for path in cas]
    calls += [(path, f"{NAME}.ca", "get_type", ()) for path in cas]
    answers = connection.ask(calls)
    known = answers[len(requests) :]
    described = {
        path: _ca(properties[0], str(kind[0]))
        for path, properties, kind in zip(cas, known, known[len(cas) :])
        if properties and kind
    }
    # A request's `ca` has the CA's number, but "requests" for "cas" in its path (certmonger 0.79.17).
    names = {path.rpartition("/")[2]: ca.name for path, ca in described.items()}
    return Certmonger(
        tuple(_request(answer[0], names) for answer in answers[: len(requests)] if answer), tuple(described.values())
    )


def _get_all(path: str, interface: str) -> Call:
    return path, "org.freedesktop.DBus.Properties", "GetAll", (f"{NAME}.{interface}",)


def _ca(properties: Properties, kind: str) -> CA:
    return CA(_text(properties, "nickname"), _text(properties, "external-helper"), kind, _text(properties, "ca-error"))


def _request(properties: Properties, cas: Mapping[str, str]) -> Request:
    pin = _text(properties, "key-pin")
    return Request(
        id=_text(properties, "nickname"),
        status=_text(properties, "status"),
        stuck=_flag(properties, "stuck"),
        ca=cas.get(_text(properties, "ca").rpartition("/")[2], ""),
        ca_error=_text(properties, "ca-error"),
        profile=_text(properties, "template-profile"),
        storage=_text(properties, "cert-storage"),
        location=_location(properties, "cert"),
        nickname=_text(properties, "cert-nickname"),
        token=_text(properties, "cert-token"),
        key_location=_location(properties, "key"),
        key_nickname=_text(properties, "key-nickname"),
        pin=Pin.from_text(pin) if pin else None,
        pin_file=_text(properties, "key-pin-file"),
        certificate=_certificate(_text(properties, "cert")),
        not_after=_moment(properties, "not-valid-after"),
        submitted=_moment(properties, "submitted-date"),
        pre_save=_text(properties, "cert-presave-command"),
        post_save=_text(properties, "cert-postsave-command"),
        principals=_texts(properties, "template-principal"),
        hostnames=_texts(properties, "template-hostname"),
        monitoring=_flag(properties, "monitoring"),
        autorenew=_flag(properties, "autorenew"),
    )


def _text(properties: Properties, name: str) -> str:
    value = properties.get(name, ("", ""))[1]
    return value if isinstance(value, str) else ""


def _texts(properties: Properties, name: str) -> tuple[str, ...]:
    value = properties.get(name, ("", ()))[1]
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _flag(properties: Properties, name: str) -> bool:
    return properties.get(name, ("", False))[1] is True


def _moment(properties: Properties, name: str) -> datetime | None:
    """Seconds since 1970; 0 is how certmonger says "never"."""
    value = properties.get(name, ("", 0))[1]
    try:
        return datetime.fromtimestamp(value, timezone.utc) if value else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _location(properties: Properties, which: str) -> str:
    if _text(properties, f"{which}-storage") == "FILE":
        return _text(properties, f"{which}-file")
    database = _text(properties, f"{which}-database").removeprefix("sql:")
    return database.rstrip("/") or database[:1]


def _certificate(pem: str) -> Certificate | None:
    try:
        return Certificate.from_pem(pem.encode())
    except CertificateError:
        return None


class _Connection:
    """A bus connection, closed by `with`. Its methods raise OSError, and TimeoutError when the time is over."""

    def __init__(self, bus: str, timeout_s: float) -> None:
        from jeepney import Parser
        from jeepney.bus import get_bus

        self._deadline = time.monotonic() + timeout_s
        self._parser = Parser()
        self._serial = 0
        try:
            address = get_bus(bus.upper() if bus in ("system", "session") else bus)
        except (KeyError, ValueError, RuntimeError) as error:  # no variable, no address, not a Unix socket
            raise StoreError(STORE, f"{bus!r} is no D-Bus address to use: {error}") from error
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._limit()
            self._socket.connect(address)
            self._greet()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *failure: object) -> None:
        self._socket.close()

    def ask(self, calls: Sequence[Call]) -> list[Sequence[Any] | None]:
        """Make all calls, then collect the answers, in the calls' order: None for an object that is not there."""
        from jeepney import DBusAddress, MessageFlag, new_method_call

        messages = []
        for path, interface, method, arguments in calls:
            address = DBusAddress(path, bus_name=NAME, interface=interface)
            message = new_method_call(address, method, "s" * len(arguments) or None, arguments)
            message.header.flags |= MessageFlag.no_auto_start
            messages.append(message)
        parts = [messages[start : start + _AT_ONCE] for start in range(0, len(messages), _AT_ONCE)]
        return [_body(answer) for part in parts for answer in self._exchange(part)]

    def _greet(self) -> None:
        """Authenticate as this process's user (D-Bus specification, "EXTERNAL"), and get a name on the bus."""
        from jeepney.bus_messages import message_bus

        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n") and len(answer) < 1024:
            answer += self._receive()
        if not answer.startswith(b"OK"):
            raise PermissionError(0, "the bus refuses this user")
        self._socket.sendall(b"BEGIN\r\n")
        self._exchange([message_bus.Hello()])

    def _exchange(self, messages: Iterable[Message]) -> list[Message]:
        """Send all and wait for the answers; signals in between are ignored."""
        from jeepney import HeaderFields

        wanted, data = list[int](), b""
        for message in messages:
            self._serial += 1
            wanted.append(self._serial)
            data += message.serialise(serial=self._serial)
        self._limit()
        self._socket.sendall(data)
        answers: dict[int, Message] = {}
        while len(answers) < len(wanted):
            message = self._parser.get_next_message()
            if message is None:
                self._parser.add_data(self._receive())
            elif message.header.fields.get(HeaderFields.reply_serial) in wanted:
                answers[message.header.fields[HeaderFields.reply_serial]] = message
        return [answers[serial] for serial in wanted]

    def _receive(self) -> bytes:
        self._limit()
        data = self._socket.recv(1 << 16)
        if data:
            return data
        raise ConnectionResetError(0, "the bus closed the connection")

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _body(answer: Message) -> Sequence[Any] | None:
    """What was returned; None if the object is unknown. Raises StoreError for other errors."""
    from jeepney import HeaderFields, MessageType

    if answer.header.message_type is not MessageType.error:
        body: Sequence[Any] = answer.body
        return body
    error = answer.header.fields.get(HeaderFields.error_name, "")
    if error in _UNKNOWN:
        return None
    words = dict.fromkeys(_ABSENT, "is not running: systemctl start certmonger")
    words["org.freedesktop.DBus.Error.AccessDenied"] = "D-Bus does not permit it: run as root"
    said = " ".join(map(str, (f"{error}:", *(answer.body or ()))))
    raise StoreError(STORE, words.get(error) or " ".join(said.split()))

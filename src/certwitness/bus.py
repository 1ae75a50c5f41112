# SPDX-License-Identifier: MIT
"""A D-Bus connection to certmonger: calls are sent before answers are read, signals are kept for whoever listens.

certmonger answers nobody while it waits for a helper, so every wait has a limit: hence a socket of ours, as
`jeepney.io` greets without one (0.6, 0.9). No daemon is started by a call.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from certwitness.errors import StoreError

if TYPE_CHECKING:
    from jeepney import Message

STORE = "certmonger"
NAME = "org.fedorahosted.certmonger"
PATH = "/org/fedorahosted/certmonger"
PROPERTIES = "org.freedesktop.DBus.Properties"
_UNKNOWN = tuple(f"org.freedesktop.DBus.Error.Unknown{what}" for what in ("Object", "Method", "Interface"))
_ABSENT = ("org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.ServiceUnknown")
_LEAST = 16  # bytes of a message that tell its size
_AT_ONCE = 100  # dbus-daemon's system bus refuses a call while 128 of the same connection wait


class Call(NamedTuple):
    """A method call to certmonger; `arguments` fit the D-Bus `signature`."""

    path: str
    interface: str
    method: str
    signature: str = ""
    arguments: tuple[Any, ...] = ()


class Signal(NamedTuple):
    """A signal: the object, "interface.member", what it carries (variants as (signature, value)), and the sender's own
    name on the bus: whoever is on it can send to us past the rules, and a sender's name is the bus's word."""

    path: str
    member: str
    body: tuple[Any, ...]
    sender: str


class Connection:
    """A connection to `bus` (``system``, ``session`` or a D-Bus address), closed by `with`. `timeout_s` is for all that
    is asked, until `allow` gives more.

    Everything raises StoreError: no bus, certmonger not on it, not permitted, no answer in time.
    """

    def __init__(self, bus: str, timeout_s: float) -> None:
        from jeepney.bus import get_bus

        self._bus = bus
        self.allow(timeout_s)
        self._received = bytearray()
        self._serial = 0
        self._signals = deque[Signal]()
        try:
            address = get_bus(bus.upper() if bus in ("system", "session") else bus)
        except (KeyError, ValueError, RuntimeError) as error:  # no variable, no address, not a Unix socket
            raise StoreError(STORE, f"{bus!r} is no D-Bus address to use: {error}") from error
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            with self._told():
                self._limit()
                self._socket.connect(address)
                self._greet()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """The end of it."""
        self._socket.close()

    def allow(self, timeout_s: float | None) -> None:
        """So much time from now on; None: no limit."""
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def ask(self, calls: Sequence[Call]) -> list[Sequence[Any] | None]:
        """Make all calls, then collect the answers, in the calls' order: None for an object that is not there."""
        from jeepney import DBusAddress, MessageFlag, new_method_call

        messages = []
        for call in calls:
            address = DBusAddress(call.path, bus_name=NAME, interface=call.interface)
            message = new_method_call(address, call.method, call.signature or None, call.arguments)
            message.header.flags |= MessageFlag.no_auto_start
            messages.append(message)
        parts = [messages[start : start + _AT_ONCE] for start in range(0, len(messages), _AT_ONCE)]
        with self._told():
            return [_body(answer) for part in parts for answer in self._exchange(part)]

    def listen(self, *rules: str) -> None:
        """Have the bus send us the signals that match `rules` (D-Bus specification, "Match Rules")."""
        from jeepney.bus_messages import message_bus

        with self._told():
            for answer in self._exchange([message_bus.AddMatch(rule) for rule in rules]):
                _body(answer)

    def owner(self) -> str:
        """certmonger's own name on the bus; "" while it is not there."""
        from jeepney import MessageType
        from jeepney.bus_messages import message_bus

        with self._told():
            (answer,) = self._exchange([message_bus.GetNameOwner(NAME)])
        return str(answer.body[0]) if answer.header.message_type is MessageType.method_return else ""

    def process(self) -> int:
        """certmonger's process ID, as the bus knows it; 0 while it is not there."""
        from jeepney import MessageType
        from jeepney.bus_messages import message_bus

        with self._told():
            (answer,) = self._exchange([message_bus.GetConnectionUnixProcessID(NAME)])
        return int(answer.body[0]) if answer.header.message_type is MessageType.method_return else 0

    def signal(self, timeout_s: float | None) -> Signal | None:
        """The next signal; None if there is none within `timeout_s` (None: no limit)."""
        self.allow(timeout_s)
        with self._told():
            try:
                while not self._signals:
                    self._take(self._next())
            except (socket.timeout, TimeoutError):
                return None
        return self._signals.popleft()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (socket.timeout, TimeoutError):  # two until Python 3.10
            told = f"no answer in {self._timeout_s:g} s: it may wait for a helper that hangs"
            raise StoreError(STORE, told) from None
        except OSError as error:
            raise StoreError(STORE, f"D-Bus ({self._bus}): {error.strerror or error}") from error

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
        """Send all and wait for the answers; signals in between are kept."""
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
            message = self._next()
            if message.header.fields.get(HeaderFields.reply_serial) in wanted:
                answers[message.header.fields[HeaderFields.reply_serial]] = message
            else:
                self._take(message)
        return [answers[serial] for serial in wanted]

    def _next(self) -> Message:
        """The next message. One that jeepney cannot take (a descriptor that is not there) is dropped: every user of the
        bus can send us some."""
        from jeepney.low_level import Message, calc_msg_size

        while True:
            begun = len(self._received) >= _LEAST
            size = calc_msg_size(self._received[:_LEAST]) if begun else _LEAST
            if begun and len(self._received) >= size:
                data = bytes(self._received[:size])
                del self._received[:size]
                with suppress(Exception):
                    return Message.from_buffer(data)
            else:
                self._received += self._receive()

    def _take(self, message: Message) -> None:
        """Keep a signal; what is nothing for us is dropped."""
        from jeepney import HeaderFields, MessageType

        if message.header.message_type is MessageType.signal:
            path, interface, member, sender = (
                str(message.header.fields.get(name, ""))
                for name in (HeaderFields.path, HeaderFields.interface, HeaderFields.member, HeaderFields.sender)
            )
            self._signals.append(Signal(path, f"{interface}.{member}", tuple(message.body or ()), sender))

    def _receive(self) -> bytes:
        self._limit()
        data = self._socket.recv(1 << 16)
        if data:
            return data
        raise ConnectionResetError(0, "the bus closed the connection")

    def _limit(self) -> None:
        if self._deadline is None:
            self._socket.settimeout(None)
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def get_all(path: str, interface: str) -> Call:
    """All properties of an object; `interface` is "request" or "ca"."""
    return Call(path, PROPERTIES, "GetAll", "s", (f"{NAME}.{interface}",))


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

# SPDX-License-Identifier: MIT
"""certmonger's requests and CAs, read over D-Bus in two waves of calls over one connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from certwitness.bus import NAME, PATH, STORE, Call, Connection, get_all
from certwitness.certificates import Certificate
from certwitness.errors import CertificateError, StoreError
from certwitness.stores.pin import Pin

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
    path: str = field(default="", compare=False)  # of its D-Bus object, until certmonger's next start

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
    path: str = field(default="", compare=False)


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
    with Connection(bus, timeout_s) as connection:
        return read_all(connection)


def read_all(connection: Connection) -> Certmonger:
    """The same over a connection that is there."""
    listed = connection.ask([Call(PATH, NAME, "get_requests"), Call(PATH, NAME, "get_known_cas")])
    if None in listed:
        raise StoreError(STORE, f"what has the name {NAME} on the bus is not certmonger")
    requests, cas = ([str(path) for path in answer[0]] for answer in listed if answer)
    calls = [get_all(path, "request") for path in requests] + [get_all(path, "ca") for path in cas]
    calls += [Call(path, f"{NAME}.ca", "get_type") for path in cas]
    answers = connection.ask(calls)
    known = answers[len(requests) :]
    described = {
        path: _ca(path, properties[0], str(kind[0]))
        for path, properties, kind in zip(cas, known, known[len(cas) :])
        if properties and kind
    }
    # A request's `ca` has the CA's number, but "requests" for "cas" in its path (certmonger 0.79.17).
    names = {path.rpartition("/")[2]: ca.name for path, ca in described.items()}
    return Certmonger(
        tuple(_request(path, answer[0], names) for path, answer in zip(requests, answers) if answer),
        tuple(described.values()),
    )


def _ca(path: str, properties: Properties, kind: str) -> CA:
    name, helper, error = (_text(properties, key) for key in ("nickname", "external-helper", "ca-error"))
    return CA(name, helper, kind, error, path)


def _request(path: str, properties: Properties, cas: Mapping[str, str]) -> Request:
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
        path=path,
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

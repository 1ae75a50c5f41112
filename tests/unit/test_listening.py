# SPDX-License-Identifier: MIT
"""What is heard of certmonger on the bus: from it alone, and again after the bus was away."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from certwitness import listening
from certwitness.bus import NAME, PROPERTIES, Signal
from certwitness.errors import StoreError
from certwitness.listening import Heard, Lost, Moved, Owner, understood

REQUEST = "/org/fedorahosted/certmonger/requests/Request1"
CHANGED = f"{PROPERTIES}.PropertiesChanged"
OWNER_CHANGED = "org.freedesktop.DBus.NameOwnerChanged"


def changed(**properties: Any) -> tuple[Any, ...]:
    """The body of PropertiesChanged."""
    return (f"{NAME}.request", {name: ("s", value) for name, value in properties.items()}, [])


@pytest.mark.parametrize(
    ("signal", "heard"),
    [
        (Signal(REQUEST, CHANGED, changed(status="SUBMITTING", csr="x"), ":1.7"), Moved(REQUEST, "SUBMITTING")),
        (Signal("/", OWNER_CHANGED, (NAME, ":1.7", ""), "org.freedesktop.DBus"), Owner("")),
        (Signal("/", OWNER_CHANGED, (NAME, "", ":1.9"), "org.freedesktop.DBus"), Owner(":1.9")),
        # not certmonger, nor the bus
        (Signal(REQUEST, CHANGED, changed(status="SUBMITTING"), ":1.8"), None),
        (Signal(REQUEST, CHANGED, changed(status="SUBMITTING"), ""), None),
        (Signal("/", OWNER_CHANGED, (NAME, ":1.7", ""), ":1.8"), None),
        # nothing for us
        (Signal(REQUEST, CHANGED, changed(csr="x"), ":1.7"), None),
        (Signal(REQUEST, CHANGED, (f"{NAME}.ca", {"status": ("s", "x")}, []), ":1.7"), None),
        (Signal(REQUEST, CHANGED, (), ":1.7"), None),
        (Signal(REQUEST, f"{NAME}.request.SavedCertificate", (), ":1.7"), None),
        (Signal("/", OWNER_CHANGED, ("another", "", ":1.9"), "org.freedesktop.DBus"), None),
        (None, None),
    ],
)
def test_only_certmonger_and_the_bus_are_heard(signal: Signal | None, heard: object) -> None:
    """Everybody on the bus can send us a signal that looks like certmonger's: the sender's own name tells."""
    assert understood(signal, ":1.7") == heard


class Bus:
    """Connections that are lost after what they tell."""

    def __init__(self, *lives: list[Signal | Exception]) -> None:
        self.lives = list(lives)
        self.silent = threading.Event()

    def __call__(self, *_: object) -> Bus:
        if not self.lives:
            self.silent.set()
            threading.Event().wait()  # for ever: the thread is a daemon's
        self.now = self.lives.pop(0)
        return self

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def listen(self, *rules: str) -> None:
        assert all("sender=" in rule for rule in rules)

    def owner(self) -> str:
        return ":1.7"

    def signal(self, timeout_s: float | None) -> Signal:
        assert timeout_s is None
        told = self.now.pop(0)
        if isinstance(told, Exception):
            raise told
        return told


def test_whatever_ends_a_connection_another_follows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a bus that is gone nor bytes that are no D-Bus end the listening; the pauses grow to a minute."""
    submitting = Signal(REQUEST, CHANGED, changed(status="SUBMITTING"), ":1.7")
    garbage: list[Signal | Exception] = [ValueError("no D-Bus")]
    bus = Bus([submitting, StoreError("certmonger", "closed")], garbage.copy(), garbage)
    refused = iter([True] * 8 + [False] * 99)
    pauses: list[float] = []

    def connect(*arguments: object) -> Bus:
        if not bus.lives and next(refused):
            raise StoreError("certmonger", "refused")
        return bus(*arguments)

    monkeypatch.setattr(listening, "Connection", connect)
    monkeypatch.setattr(time, "sleep", pauses.append)
    queue: SimpleQueue[Heard] = listening.start(f"unix:path={tmp_path}")
    assert bus.silent.wait(20)
    heard = [queue.get()[1] for _ in range(queue.qsize())]
    assert heard[:3] == [Owner(":1.7"), Moved(REQUEST, "SUBMITTING"), Lost("closed")]
    assert heard[3:5] == [Owner(":1.7"), Lost("certmonger: ValueError: no D-Bus")]
    assert heard[-1] == Lost("refused")
    assert pauses == [1, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60]

# SPDX-License-Identifier: MIT
"""What certmonger says of its requests, as it comes: a thread that takes signals off the bus, stamps and queues them.

A thread of its own, so that a step's time is that of the signal, however long the reader of the queue is at work. It
waits without a timer; only where there is no bus it tries again, less and less often.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import NamedTuple, Union

from certwitness.bus import NAME, PROPERTIES, STORE, Connection, Signal
from certwitness.course import Moment
from certwitness.errors import StoreError

_BUS = "org.freedesktop.DBus"
_REQUEST = f"{NAME}.request"
RULES = (
    f"type='signal',sender='{NAME}',interface='{PROPERTIES}',member='PropertiesChanged',arg0='{_REQUEST}'",
    f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{NAME}'",
)
CONNECT_S = 10.0
LONGEST_PAUSE_S = 60.0


class Moved(NamedTuple):
    """A request, by its object on the bus, has a new status."""

    path: str
    status: str


class Owner(NamedTuple):
    """certmonger is on the bus under this name of its own; "": it is not."""

    name: str


class Lost(NamedTuple):
    """There is no bus, or it does not let us listen."""

    reason: str


Heard = tuple[Moment, Union[Moved, Owner, Lost]]


def start(bus: str) -> SimpleQueue[Heard]:
    """Listen on `bus` (``system``, ``session`` or a D-Bus address) from now on; what is heard comes in the queue. After
    each Lost an Owner follows as soon as there is a bus again."""
    queue = SimpleQueue[Heard]()
    threading.Thread(target=_listen, args=(bus, queue), name="listening", daemon=True).start()
    return queue


def _listen(bus: str, queue: SimpleQueue[Heard]) -> None:
    pause_s = 1.0
    while True:
        try:
            with Connection(bus, CONNECT_S) as connection:
                connection.listen(*RULES)
                owner = connection.owner()
                queue.put((Moment.now(), Owner(owner)))
                pause_s = 1.0
                while True:
                    heard = understood(connection.signal(None), owner)
                    if isinstance(heard, Owner):
                        owner = heard.name
                    if heard:
                        queue.put((Moment.now(), heard))
        except StoreError as error:
            reason = error.reason
        except Exception as error:  # bytes that are no D-Bus, for instance
            reason = f"{STORE}: {type(error).__name__}: {error}"
        queue.put((Moment.now(), Lost(reason)))
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def understood(signal: Signal | None, owner: str) -> Moved | Owner | None:
    """What a signal says; None where it says nothing for us, or where it is not from certmonger, whose name on the bus
    is `owner`, or the bus."""
    if signal is None:
        return None
    if signal.sender == _BUS and signal.member == f"{_BUS}.NameOwnerChanged":
        name, _, new = (*signal.body, "", "", "")[:3]
        return Owner(str(new)) if name == NAME else None
    if signal.sender != owner or signal.member != f"{PROPERTIES}.PropertiesChanged" or len(signal.body) < 2:
        return None
    interface, changed = signal.body[:2]
    status = changed.get("status", ("s", ""))[1] if interface == _REQUEST else ""
    return Moved(signal.path, str(status)) if status else None

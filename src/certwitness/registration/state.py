# SPDX-License-Identifier: MIT
"""What was registered, and what it replaced: <state directory>/registration.json, replaced whole.

Written before a change (`done` is false then) and after it, so that whoever dies in between leaves what can be undone
or completed. The truth is what certmonger has: a file that is lost costs the memory of what cannot be read from there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from certwitness import whole_file
from certwitness.errors import CertwitnessError
from certwitness.events.fields import mapping, mappings, text

if TYPE_CHECKING:
    from certwitness.config import Config

CA, REQUEST, UNIT = "ca", "request", "unit"
_FILE, _LOCK = "registration.json", "registration.lock"
_ASIDE = ".unusable"


@dataclass(frozen=True)
class Entry:
    """One value that certwitness set: `field` of the object `name` (a CA, a request's id, a unit), what was there
    `before` it came, what it set (`after`), and whether that is known to have been done. A request is known again by
    its certificate: its id changes whenever it is tracked anew."""

    what: str
    name: str
    field: str
    before: str
    after: str
    certificate: str = ""
    location: str = ""
    done: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What it is known by."""
        return (self.what, self.field, self.certificate or self.name, self.location)


@dataclass(frozen=True)
class State:
    """All entries; whether the hooks of all requests are to be wrapped, and whether the gate is in."""

    entries: tuple[Entry, ...] = ()
    hooks: bool = False
    gate: bool = False

    def find(self, what: str, field: str, name: str, location: str = "") -> Entry | None:
        """The entry of a CA or unit by its name, of a request by its certificate and that one's place."""
        return next((entry for entry in self.entries if entry.key == (what, field, name, location)), None)

    def of(self, what: str) -> tuple[Entry, ...]:
        """The entries of one kind."""
        return tuple(entry for entry in self.entries if entry.what == what)

    def with_(self, *entries: Entry) -> State:
        """The same with these, each in the place of the one that is known by the same."""
        kept = self.without(*entries).entries
        return replace(self, entries=(*kept, *entries))

    def without(self, *entries: Entry) -> State:
        """The same without these."""
        gone = {entry.key for entry in entries}
        return replace(self, entries=tuple(entry for entry in self.entries if entry.key not in gone))


def read(config: Config) -> tuple[State, str]:
    """The state, and what is wrong with its file, "" if nothing is: then, and where there is none, nothing is known."""
    path = _path(config, _FILE)
    try:
        content = json.loads(whole_file.read(path))
    except FileNotFoundError:
        return State(), ""
    except OSError as error:
        return State(), f"{path}: {error.strerror or error}; what it says is not used"
    except (ValueError, RecursionError):
        return State(), f"{path}: not JSON; what it says is not used"
    found = mapping(content)
    entries = (
        Entry(**{name: text(one.get(name)) for name in _TEXTS}, done=one.get("done") is True)
        for one in mappings(found.get("entries"))
        if one.get("what") in (CA, REQUEST, UNIT)
    )
    # What cannot be put back is read from the wrapped command; only where a drop-in is, nothing may have been before.
    whole = tuple(one for one in entries if one.name and one.field and one.after and (one.before or one.what == UNIT))
    return State(whole, found.get("hooks") is True, found.get("gate") is True), ""


_TEXTS = ("what", "name", "field", "before", "after", "certificate", "location")


def write(config: Config, state: State) -> None:
    """Keep the state; one that holds nothing leaves no file. Raises CertwitnessError."""
    path = _path(config, _FILE)
    content: dict[str, Any] = {"hooks": state.hooks, "gate": state.gate, "entries": list(map(asdict, state.entries))}
    try:
        if state == State():
            if os.path.lexists(path):
                os.unlink(path)
            return
        whole_file.replace(path, json.dumps(content, indent=1).encode("ascii") + b"\n")
    except OSError as error:
        raise CertwitnessError(f"{path}: what is replaced cannot be kept: {error.strerror or error}") from None


def set_aside(config: Config) -> str:
    """Keep a file that `read` could not use under another name, which is returned: nobody else knows what it says.
    Raises CertwitnessError."""
    path = _path(config, _FILE)
    try:
        os.rename(path, path + _ASIDE)
    except OSError as error:
        raise CertwitnessError(f"{path}: cannot be set aside: {error.strerror}; nothing was changed") from None
    return path + _ASIDE


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Alone with the registration. Raises CertwitnessError: somebody else changes it, or the state directory cannot be
    written."""
    path = _path(config, _LOCK)
    try:
        whole_file.make_directories([config.state_directory])
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise CertwitnessError(f"{path}: {error.strerror or error}; nothing was changed") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            told = "another certwitness is changing the registration; nothing was changed: try again when it is done"
            raise CertwitnessError(told) from None
        yield
    finally:
        os.close(descriptor)


def _path(config: Config, name: str) -> str:
    return os.path.join(config.state_directory, name)

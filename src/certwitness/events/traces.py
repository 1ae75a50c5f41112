# SPDX-License-Identifier: MIT
"""Which renewal a run belongs to: the trace that its predecessors opened, or a new one.

Nothing in a helper's environment names the request (certmonger 0.79.17), so runs are joined by what stays the same from
one to the next: the CSR's friendlyName, the public key and the CA. What must be known of the run before is kept in one
small file a request, below the state directory. It can be lost without harm: the next run then opens a new trace.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from certwitness.events import log

# After these the renewal is over: certmonger has the certificate, or does not ask again by itself.
OVER = ("issued", "stuck")
# certmonger goes back to monitoring and asks again at the next threshold, which is another renewal; but where the
# certificate held has expired it asks every 30 seconds, and all of that is one (certmonger 0.79.17, exits 2 and 4).
OVER_UNLESS_EXPIRED = ("rejected", "unconfigured")


class Trace:
    """One renewal as the next run must know it.

    `trace_id`; `attempt`, the number of this run, from 1; `request`, `stdout` and `stderr`: digests of the previous
    run's, to leave out of the log what is the same again.
    """

    def __init__(self, path: str, state: dict[str, Any]) -> None:
        self._path = path
        self._state = state
        self.trace_id: str = state["trace_id"]
        self.attempt: int = state["attempt"] + 1

    def same_as_previous(self, name: str, digest: str) -> bool:
        """Whether the previous run of this renewal had the same `name` ("request", "stdout", "stderr")."""
        return bool(self._state.get(name) == digest)

    def save(self, renewal: str, **digests: str) -> None:
        """Keep this run's outcome (`renewal`, as in the event) for the next one. Raises OSError."""
        state = {**self._state, "trace_id": self.trace_id, "attempt": self.attempt, "renewal": renewal, **digests}
        directory = os.path.dirname(self._path)
        for missing in (os.path.dirname(directory), directory):
            try:
                os.mkdir(missing, 0o700)
            except FileExistsError:
                continue
        temporary = f"{self._path}.{os.getpid()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            os.write(descriptor, json.dumps(state).encode())
        finally:
            os.close(descriptor)
        os.replace(temporary, self._path)


def join(directory: str, *, name: str, key: str, ca: str, previous: str, expired: bool) -> Trace:
    """The trace of the run of the request that is known by `name` (friendlyName), `key` (SHA-256 of its public key) and
    `ca`; `previous` is the fingerprint of the certificate held ("" if none), `expired` whether that has expired.

    `directory` is the state directory. What cannot be read there counts as lost.
    """
    directory = os.path.join(directory, "renewals")
    path = os.path.join(directory, _file_name(name, key, ca))
    state = _read(path)
    if not state:
        # Exit 17 asks for another key: the next run is the same renewal with another public key.
        states = (_read(os.path.join(directory, entry)) for entry in _entries(directory))
        rekeyed = (s for s in states if (s.get("name"), s.get("ca"), s.get("renewal")) == (name, ca, "new-key"))
        state = max(rekeyed, key=lambda s: str(s.get("last")), default={})
    renewal = state.get("renewal")
    over = renewal in OVER or (renewal in OVER_UNLESS_EXPIRED and not expired)
    if not state or over or state.get("previous") != previous:
        state = {"trace_id": log.new_trace_id(), "attempt": 0}
    return Trace(path, {**state, "name": name, "key": key, "ca": ca, "previous": previous})


def _file_name(*identity: str) -> str:
    return hashlib.sha256("\0".join(identity).encode(errors="replace")).hexdigest()[:32] + ".json"


def _entries(directory: str) -> list[str]:
    try:
        return [entry for entry in os.listdir(directory) if entry.endswith(".json")]
    except OSError:
        return []


def _read(path: str) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            state = json.loads(os.read(descriptor, 1 << 16))
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return {}
    sound = isinstance(state, dict) and isinstance(state.get("attempt"), int)
    return state if sound and isinstance(state.get("trace_id"), str) else {}

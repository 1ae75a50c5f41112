# SPDX-License-Identifier: MIT
"""Which renewal a run belongs to: the trace that its predecessors opened, or a new one.

Nothing in a helper's environment names the request (certmonger 0.79.17), so runs are joined by what stays the same from
one to the next: the CSR's friendlyName, the public key and the CA. What must be known of the run before is kept in one
small file a request, below the state directory. It can be lost without harm: the next run then opens a new trace.
Nothing is read or written where others than root could have written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from typing import Any

from certwitness.events import log

# After these the renewal is over: certmonger has the certificate, or does not ask again by itself.
OVER = ("issued", "stuck")
# certmonger goes back to monitoring and asks again at the next threshold, which is another renewal; but where the
# certificate held has expired it asks every 30 seconds, and all of that is one (certmonger 0.79.17, exits 2 and 4).
OVER_UNLESS_EXPIRED = ("rejected", "unconfigured")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_MOST_ATTEMPTS = 1 << 31


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
        """Keep this run's outcome (`renewal`, as in the event) for the next one, if that could be known as such.
        Raises OSError that names the path."""
        if not self._path:
            return
        state = {**self._state, "trace_id": self.trace_id, "attempt": self.attempt, "renewal": renewal, **digests}
        directory = os.path.dirname(self._path)
        for missing in (os.path.dirname(directory), directory):
            try:
                os.mkdir(missing, 0o700)
            except FileExistsError:
                _check(missing)
        temporary = f"{self._path}.{os.getpid()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            try:
                os.write(descriptor, json.dumps(state).encode())
            finally:
                os.close(descriptor)
            os.replace(temporary, self._path)
        except OSError:
            os.unlink(temporary)
            raise


def join(directory: str, *, name: str, key: str, ca: str, previous: str, expired: bool) -> Trace:
    """The trace of the run of the request that is known by `name` (friendlyName), `key` (SHA-256 of its public key) and
    `ca`; `previous` is the fingerprint of the certificate held ("" if none), `expired` whether that has expired.

    `directory` is the state directory. What cannot be read there, or cannot be trusted, counts as lost. Without `name`
    and `key` there is nothing to join by: all requests of the CA would share one trace.
    """
    identity = {"name": name, "key": key, "ca": ca, "previous": previous}
    new = {"trace_id": log.new_trace_id(), "attempt": 0, **identity}
    if not name and not key:
        return Trace("", new)
    renewals = os.path.join(directory, "renewals")
    path = os.path.join(renewals, _file_name(name, key, ca))
    try:
        _check(directory)
        _check(renewals)
    except OSError:
        return Trace(path, new)
    state = _read(path) or _rekeyed(renewals, path, name, ca, previous)
    renewal = state.get("renewal")
    over = renewal in OVER or (renewal in OVER_UNLESS_EXPIRED and not expired)
    if not state or over or state.get("previous") != previous:
        return Trace(path, new)
    return Trace(path, {**state, **identity})


def _rekeyed(directory: str, path: str, name: str, ca: str, previous: str) -> dict[str, Any]:
    """The state of the renewal that was asked for another key (exit 17), of which this run is the next. It moves to
    `path`: a state that is not where its key says has been joined, and no third key can join it."""
    wanted = (name, ca, previous, "new-key")
    found: dict[str, dict[str, Any]] = {}
    for entry in _entries(directory):
        state = _read(os.path.join(directory, entry))
        is_wanted = tuple(state.get(field) for field in ("name", "ca", "previous", "renewal")) == wanted
        if is_wanted and entry == _file_name(name, str(state.get("key")), ca):
            found[entry] = state
    if not found:
        return {}
    last = max(found, key=lambda entry: str(found[entry].get("last")))
    try:
        os.replace(os.path.join(directory, last), path)
    except OSError:
        return {}
    return found[last]


def _check(directory: str) -> None:
    """Raise OSError where others could have put something into `directory`."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory (a symbolic link is not followed)", directory)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        advice = f"others than root can write it; chown root {directory} && chmod go-w {directory}"
        raise PermissionError(errno.EPERM, advice, directory)


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
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) and _is_sound(state) else {}


def _is_sound(state: dict[str, Any]) -> bool:
    attempt, trace_id = state.get("attempt"), state.get("trace_id")
    counts = type(attempt) is int and 0 <= attempt < _MOST_ATTEMPTS
    return counts and isinstance(trace_id, str) and bool(_TRACE_ID.fullmatch(trace_id))

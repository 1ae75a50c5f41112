# SPDX-License-Identifier: MIT
"""Make the changes of a plan one after the other: each is written down, made, read back, and let settle.

certmonger answers nobody while it waits for a helper, and object numbers change when it is restarted: so every answer
has a limit, and an object is asked for its name before it is changed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from certwitness.bus import NAME, PROPERTIES, STORE, Call, Connection, get_all
from certwitness.errors import CertwitnessError, LogError, StoreError
from certwitness.events import log
from certwitness.registration import state as states
from certwitness.registration import units
from certwitness.registration.command_line import shown
from certwitness.registration.plan import Change, Left, Plan
from certwitness.registration.state import CA, REQUEST, UNIT, Entry, State
from certwitness.registration.wrapping import Wrapping
from certwitness.tracked import AT_REST

if TYPE_CHECKING:
    from certwitness.config import Config

# For an answer of a certmonger that waits for a helper, and for a request to come to rest, before and after its change.
ANSWER_S, SETTLE_S = 60.0, 120.0
# certmonger runs a changed helper within some milliseconds.
BEGUN_S = 0.5
_PAUSE_S = 0.1

REGISTER, UNREGISTER, REAPPLY = "register", "unregister", "reapply"


@dataclass
class Outcome:
    """What came of a plan: changes that were `done`, that were not (`undone`, and why in `stopped`), what was `left` as
    it is, and trouble that changed nothing (`problems`)."""

    done: list[Change] = field(default_factory=list)
    undone: list[Change] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped: str = ""


def apply(
    plan: Plan, config: Config, bus: str, why: str, flags: Mapping[str, bool], tell: Callable[[Change], None]
) -> Outcome:
    """Make the changes. `why` is REGISTER, UNREGISTER or REAPPLY; `flags` are fields of State to be set; `tell` hears
    of each change that was done. A signal to end lets the change that is being made be finished.

    Raises CertwitnessError before anything is changed: somebody else changes the registration, the state cannot be
    kept, certmonger is not there.
    """
    with states.locked(config), _ending() as asked:
        return _Work(plan, config, why, tell, asked).run(bus, flags)


class _Work:
    def __init__(
        self, plan: Plan, config: Config, why: str, tell: Callable[[Change], None], asked: Sequence[int]
    ) -> None:
        self._plan, self._config, self._why, self._tell = plan, config, why, tell
        self._asked = asked  # signals to end
        self._wrapping = Wrapping(config)
        self._outcome = Outcome()
        self._settled: list[Change] = []  # done or left
        self._trace_id = log.new_trace_id()
        self._state = self._registered = State()  # as it is kept, and as it was when nobody else could change it

    def run(self, bus: str, flags: Mapping[str, bool]) -> Outcome:
        outcome, plan = self._outcome, self._plan
        stored, unusable = states.read(self._config)  # why was told with the plan
        known = {entry.key: entry for entry in stored.entries}
        same = [replace(entry, done=True) for entry in plan.same if self._why != UNREGISTER]
        self._registered = stored
        same = [entry for entry in same if known.get(entry.key) != entry and self._is_still_wanted(entry)]
        hooks, gate = flags.get("hooks", stored.hooks), flags.get("gate", stored.gate)
        with ExitStack() as stack:
            ask = any(change.entry.what != UNIT for change in plan.changes)
            connection = stack.enter_context(Connection(bus, ANSWER_S)) if ask else None
            if unusable:
                aside = states.set_aside(self._config)
                outcome.problems.append(
                    f"what was replaced is not known: {aside} is the state file as it was; see certwitness registration"
                )
            self._state = stored
            self._keep(replace(stored.with_(*same).without(*plan.forget), hooks=hooks, gate=gate))
            self._all(connection)
        if any(change.entry.what == UNIT for change in outcome.done):
            problem = units.reload()
            outcome.problems += [problem] if problem else []
        return outcome

    def _all(self, connection: Connection | None) -> None:
        """The changes, those of one object together."""
        outcome = self._outcome
        for _, group in groupby(self._plan.changes, key=lambda change: (change.entry.what, change.path)):
            changes = list(group)
            if not all(self._is_still_wanted(change.entry) for change in changes):
                self._leave(changes, "it was unregistered meanwhile")
                continue
            if self._asked and not outcome.stopped:
                outcome.stopped = self._asked_to_end()
            if outcome.stopped:
                outcome.undone += changes
                continue
            try:
                if connection is None or changes[0].entry.what == UNIT:
                    self._unit(changes[0])
                else:
                    self._object(connection, changes)
            except CertwitnessError as error:
                outcome.stopped = str(error)
                outcome.undone += [change for change in changes if change not in self._settled]

    def _unit(self, change: Change) -> None:
        if self._is_to_be_made(change, units.read(change.path)):
            self._intend([change])
            units.write(change.path, change.after)
            self._made(change)

    def _object(self, connection: Connection, changes: list[Change]) -> None:
        """The changes of one CA or request. Raises CertwitnessError: nothing more can be done."""
        entry = changes[0].entry
        found = self._rested(connection, changes[0])
        if found is None:
            self._leave(changes, "it is not there any more, or certmonger was restarted: run the command again")
            return
        if not _is_at_rest(entry, found):
            if self._asked:
                raise CertwitnessError(self._asked_to_end())
            status = _text(found, "status")
            self._leave(changes, f"certmonger works on it, {status} for {SETTLE_S:g} s: run the command again later")
            return
        wanted = [change for change in changes if self._is_to_be_made(change, _text(found, change.entry.field))]
        if not wanted:
            return
        self._intend(wanted)
        ran = _children(connection) if entry.what == CA else None
        self._set(connection, wanted)
        if ran is not None:
            self._let_helpers_end(connection, ran)
        found = self._rested(connection, changes[0])
        for change in wanted:
            if found is None or _text(found, change.entry.field) != change.after:
                raise StoreError(STORE, f"{entry.name}: {change.entry.field} is not what was set")
            self._made(change)
        if found is not None and not _is_at_rest(entry, found) and not self._asked:
            status = _text(found, "status")
            raise StoreError(STORE, f"{entry.name}: set, and {status} for {SETTLE_S:g} s since: the helper may hang")

    def _is_still_wanted(self, entry: Entry) -> bool:
        """What is put back was planned by a state file that may say something else by now: somebody unregistered."""
        all_of_them = {REQUEST: self._registered.hooks, UNIT: self._registered.gate}.get(entry.what, False)
        return self._why != REAPPLY or all_of_them or entry.key in {one.key for one in self._registered.entries}

    def _is_to_be_made(self, change: Change, now: str) -> bool:
        if now == change.after:  # by another certwitness, since the plan was made
            self._made(change)
        elif now != change.before:
            self._leave([change], f"somebody changed its {change.entry.field} meanwhile: run the command again")
        elif self._why != UNREGISTER and change.entry.what != UNIT and self._wrapping.fault(change.after):
            self._leave([change], f"not set, it could not be run: {self._wrapping.fault(change.after)}")
        else:
            return True
        return False

    def _set(self, connection: Connection, changes: list[Change]) -> None:
        entry, path = changes[0].entry, changes[0].path
        if entry.what == CA:
            variant = ("s", changes[0].after)
            call = Call(path, PROPERTIES, "Set", "ssv", (f"{NAME}.ca", entry.field, variant))
        else:
            values = {change.entry.field: ("s", change.after) for change in changes}
            call = Call(path, f"{NAME}.request", "modify", "a{sv}", (values,))
        connection.allow(ANSWER_S)
        answer = connection.ask([call])[0]
        if answer is None or (entry.what != CA and answer[0] is not True):
            raise StoreError(STORE, f"{entry.name}: certmonger does not take the change")

    def _rested(self, connection: Connection, change: Change) -> Mapping[str, tuple[str, Any]] | None:
        """The object's properties as soon as nothing runs for it, after SETTLE_S, or when asked to end; None if it is
        not there."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            connection.allow(ANSWER_S)
            answer = connection.ask([get_all(change.path, change.entry.what)])[0]
            found: Mapping[str, tuple[str, Any]] = answer[0] if answer else {}
            if _text(found, "nickname") != change.entry.name:
                return None
            if _is_at_rest(change.entry, found) or self._asked or time.monotonic() > deadline:
                return found
            time.sleep(_PAUSE_S)

    def _let_helpers_end(self, connection: Connection, ran: set[int]) -> None:
        """Wait for what certmonger runs since the change of a CA, that of the next one not to come on top of it. `ran`
        are those from before: a renewal may take hours."""
        begun = time.monotonic()
        seen = False
        while not self._asked and time.monotonic() < begun + (SETTLE_S if seen else BEGUN_S):
            connection.allow(ANSWER_S)
            runs = bool((_children(connection) or set()) - ran)
            if seen and not runs:
                return
            seen = seen or runs
            time.sleep(_PAUSE_S)

    def _asked_to_end(self) -> str:
        return f"asked to end ({signal.Signals(self._asked[0]).name})"

    def _intend(self, changes: list[Change]) -> None:
        """Write down what is about to be changed."""
        if self._why != UNREGISTER:
            self._keep(self._state.with_(*(replace(change.entry, done=False) for change in changes)))

    def _made(self, change: Change) -> None:
        """Write down that it is, in the state file and in the event log."""
        entry = change.entry
        known = self._why == UNREGISTER
        self._keep(self._state.without(entry) if known else self._state.with_(replace(entry, done=True)))
        self._outcome.done.append(change)
        self._settled.append(change)
        level = "warning" if self._why == REAPPLY else "info"
        event = log.event("registration.changed", level, self._trace_id, log.new_span_id(), what=entry.what)
        values = {"before": shown(change.before), "after": shown(change.after)}
        more = {"name": entry.name, "field": entry.field, **values, "why": self._why, "by": str(os.getuid())}
        try:
            log.append(self._config.events_file, {**event, **more})
        except LogError as error:
            told = f"the change is not in the event log: {error}"
            self._outcome.problems += [told] if told not in self._outcome.problems else []
        self._tell(change)

    def _keep(self, state: State) -> None:
        if state != self._state:
            states.write(self._config, state)
            self._state = state

    def _leave(self, changes: list[Change], why: str) -> None:
        self._outcome.left += [Left(change.entry.what, change.entry.name, why) for change in changes]
        self._settled += changes


def _children(connection: Connection) -> set[int] | None:
    """The processes that certmonger runs; None where that cannot be seen."""
    pid = connection.process()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return set(map(int, file.read().split()))
    except OSError:
        return None


@contextmanager
def _ending() -> Iterator[list[int]]:
    """The signals that asked us to end since, instead of ending."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_at_rest(entry: Entry, found: Mapping[str, tuple[str, Any]]) -> bool:
    return entry.what == CA or _text(found, "status") in AT_REST or found.get("stuck", ("b", False))[1] is True


def _text(found: Mapping[str, tuple[str, Any]], name: str) -> str:
    value = found.get(name, ("", ""))[1]
    return value if isinstance(value, str) else ""

# SPDX-License-Identifier: MIT
"""What is to be changed, before anything is: per CA, request and unit, what is there and what shall be.

Nothing here changes anything, and nothing but certmonger's answers, the state file and the drop-ins is read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from certwitness import places
from certwitness.bus import get_all
from certwitness.errors import CertwitnessError
from certwitness.registration import units
from certwitness.registration.command_line import CommandLineError, modify_ca, modify_hooks, shown, split
from certwitness.registration.state import CA, REQUEST, UNIT, Entry, State
from certwitness.registration.wrapping import Wrapping, guards, is_wrapped
from certwitness.save import POST_SAVE, PRE_SAVE
from certwitness.tracked import AT_REST

if TYPE_CHECKING:
    from certwitness import certmonger
    from certwitness.bus import Connection
    from certwitness.certmonger import Certmonger, Request
    from certwitness.config import Config

HELPER, DROP_IN = "external-helper", "drop-in"
# D-Bus property of a request: the hook of ours that goes before it.
HOOKS = {"cert-presave-command": PRE_SAVE, "cert-postsave-command": POST_SAVE}
# A request in these is sent to the helper at once when its hook is changed (certmonger.md, 6).
WOKEN = ("CA_UNREACHABLE", "CA_WORKING")

Uids = Mapping[str, Mapping[str, str]]  # D-Bus path of a request -> property -> uid as text


@dataclass(frozen=True)
class Change:
    """One value: `before` is there, `after` shall be. `entry` is what the state file keeps of it; `path` is its D-Bus
    object or its file; `status` that of the request."""

    before: str
    after: str
    entry: Entry
    path: str
    status: str = ""


@dataclass(frozen=True)
class Left:
    """What stays as it is, though it was to be changed, and why."""

    what: str
    name: str
    why: str


@dataclass
class Plan:
    """All of it. `same`: entries of what is as it shall be; `forget`: entries of what is gone or put back; `absent`:
    names of CAs that certmonger has not."""

    changes: list[Change] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    same: list[Entry] = field(default_factory=list)
    forget: list[Entry] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def woken(self) -> list[Change]:
        """Changes that send a waiting request to its helper at once."""
        return [change for change in self.changes if change.status in WOKEN]

    @property
    def busy(self) -> list[Change]:
        """Changes of requests that certmonger is working on: they have to wait."""
        return [change for change in self.changes if change.status and change.status not in AT_REST]


def uids(connection: Connection, there: Certmonger) -> Uids:
    """As whom certmonger runs the hooks of each request. Raises StoreError."""
    found = {}
    answers = connection.ask([get_all(request.path, "request") for request in there.requests])
    for request, answer in zip(there.requests, answers):
        properties = answer[0] if answer else {}
        names = (name.replace("-command", "-uid") for name in HOOKS)
        found[request.path] = {name: str(properties.get(name, ("", ""))[1]) for name in names}
    return found


def register_cas(plan: Plan, there: Certmonger, state: State, wrapping: Wrapping, names: Iterable[str]) -> None:
    """Add what it takes to have the helpers of the CAs `names` wrapped."""
    for name in names:
        ca = next((ca for ca in there.cas if ca.name == name), None)
        if ca is None:
            plan.absent.append(name)
            continue
        if ca.kind != "EXTERNAL":
            plan.left.append(Left(CA, name, "certmonger itself is this CA: it has no helper"))
            continue
        known = state.find(CA, HELPER, name)
        try:
            after, original = _helper(ca, known, wrapping)
        except CommandLineError as error:
            plan.left.append(Left(CA, name, str(error)))
            continue
        _add(plan, Change(ca.helper, after, Entry(CA, name, HELPER, original, after), ca.path), wrapping)


def register_hooks(plan: Plan, there: Certmonger, state: State, wrapping: Wrapping, owners: Uids) -> None:
    """Add what it takes to have the hooks of all requests that have any wrapped. Those of certificates that certmonger
    does not track any more are forgotten."""
    tracked = {(request.name, request.location) for request in there.requests}
    plan.forget += [entry for entry in state.of(REQUEST) if (entry.certificate, entry.location) not in tracked]
    for request in there.requests:
        for name, phase in HOOKS.items():
            command = _hook(request, name)
            if not command:
                continue
            known = state.find(REQUEST, name, request.name, request.location)
            try:
                original = _original(command, known, wrapping)
                after = wrapping.hook(original, phase, request.name)
            except CommandLineError as error:
                plan.left.append(Left(REQUEST, request.id, str(error)))
                continue
            owner = owners.get(request.path, {}).get(name.replace("-command", "-uid"), "")
            if command != after and owner not in ("", str(os.geteuid())):
                why = f"its {phase} command runs as uid {owner}, and would run as {os.geteuid()} once it is changed"
                plan.left.append(Left(REQUEST, request.id, why))
                continue
            entry = Entry(REQUEST, request.id, name, original, after, request.name, request.location)
            _add(plan, Change(command, after, entry, request.path, request.status), wrapping)


def register_gate(plan: Plan, config: Config) -> None:
    """Add what it takes to have the gate's drop-ins in systemd. Raises CertwitnessError: there are none."""
    found, unread = units.drop_ins(config)
    if not found and not unread:
        raise CertwitnessError(f"{places.GATE_UNITS}: the gate's drop-ins are not there; install certwitness again")
    plan.left += [Left(UNIT, unit, why) for unit, why in unread]
    fault = units.fault()
    for one in found:
        # An older one of ours is nobody's original.
        entry = Entry(UNIT, one.unit, DROP_IN, "" if units.START_GATE in one.now else one.now, one.wanted)
        if one.now == one.wanted:
            plan.same.append(entry)
        elif fault:
            plan.left.append(Left(UNIT, one.unit, f"not set, it could not be run: {fault}"))
        else:
            plan.changes.append(Change(one.now, one.wanted, entry, one.path))


def unregister_cas(plan: Plan, there: Certmonger, state: State, wrapping: Wrapping) -> None:
    """Add what it takes to have the helpers as they were."""
    for ca in there.cas:
        known = state.find(CA, HELPER, ca.name)
        _put_back(plan, ca.helper, known, Entry(CA, ca.name, HELPER, "", ""), ca.path, wrapping)
    names = {ca.name for ca in there.cas}
    for entry in state.of(CA):
        if entry.name not in names:
            plan.absent.append(entry.name)
            plan.forget.append(entry)


def unregister_hooks(plan: Plan, there: Certmonger, state: State, wrapping: Wrapping) -> None:
    """Add what it takes to have the hooks of all requests as they were."""
    seen = set()
    for request in there.requests:
        for name in HOOKS:
            known = state.find(REQUEST, name, request.name, request.location)
            entry = Entry(REQUEST, request.id, name, "", "", request.name, request.location)
            seen.add(entry.key)
            _put_back(plan, _hook(request, name), known, entry, request.path, wrapping, request.status)
    plan.forget += [entry for entry in state.of(REQUEST) if entry.key not in seen]


def unregister_gate(plan: Plan, config: Config, state: State) -> None:
    """Add what it takes to have systemd without the gate."""
    found, unread = units.drop_ins(config, state.of(UNIT))
    plan.left += [Left(UNIT, unit, why) for unit, why in unread]
    for one in found:
        known = state.find(UNIT, DROP_IN, one.unit)
        entry = known or Entry(UNIT, one.unit, DROP_IN, "", one.wanted)
        if one.now in (one.wanted, entry.after) and one.now != entry.before:
            plan.changes.append(Change(one.now, entry.before, entry, one.path))
            continue
        if one.now != entry.before:
            why = f"somebody changed {one.path}: remove the file, or what of ours is in it"
            plan.left.append(Left(UNIT, one.unit, why))
        if known:
            plan.forget.append(known)


def command_of(changes: Sequence[Change]) -> str:
    """What an administrator would type to have the same of one object, but for secrets; "" for a drop-in."""
    entry = changes[0].entry
    if entry.what == CA:
        return modify_ca(entry.name, shown(changes[0].after))
    values = {change.entry.field: shown(change.after) for change in changes}
    return modify_hooks(entry.name, *map(values.get, HOOKS)) if entry.what == REQUEST else ""


def broken(command: str, known: Entry) -> str:
    """What somebody made of a registered helper that no wrapping mends; "" if nothing."""
    try:
        parts, ours = split(command), split(known.after)
        if len(guards(command)) > 1:
            return "the guard stands twice: it waits an hour for its own lock"
    except CommandLineError:
        return ""
    if len(parts) == 1 < len(ours) and parts == ours[:1]:
        return "only the first word was kept, as FreeIPA's remove_principal_from_cas does (ipa-client-install)"
    return ""


def names_of_cas(state: State, *more: Iterable[str]) -> list[str]:
    """The CAs in the state file and `more`, each once."""
    return list(dict.fromkeys((*(name for part in more for name in part), *(entry.name for entry in state.of(CA)))))


def _helper(ca: certmonger.CA, known: Entry | None, wrapping: Wrapping) -> tuple[str, str]:
    """What the helper of the CA is to be, and what it is without us."""
    if known and broken(ca.helper, known):
        return known.after, known.before
    original = _original(ca.helper, known, wrapping)
    if len(guards(original)) > 1:
        told = f"{shown(ca.helper)!r}: the guard stands twice, and waits for its own lock; leave one"
        raise CommandLineError(f"{told}: {modify_ca(ca.name, '…')}")
    return wrapping.helper(original), original


def _hook(request: Request, name: str) -> str:
    return request.pre_save if HOOKS[name] == PRE_SAVE else request.post_save


def _original(command: str, known: Entry | None, wrapping: Wrapping) -> str:
    return known.before if known and command == known.after else wrapping.original(command)


def _add(plan: Plan, change: Change, wrapping: Wrapping) -> None:
    if change.before == change.after:
        plan.same.append(change.entry)
        return
    fault = wrapping.fault(change.after)
    if fault:
        plan.left.append(Left(change.entry.what, change.entry.name, f"not set, it could not be run: {fault}"))
    else:
        plan.changes.append(change)


def _put_back(
    plan: Plan, now: str, known: Entry | None, entry: Entry, path: str, wrapping: Wrapping, status: str = ""
) -> None:
    """What the value `now` becomes without us. `entry` is of the object as it is today."""
    if known and now == known.after:
        plan.changes.append(Change(now, known.before, replace(known, name=entry.name), path, status))
    elif is_wrapped(now):
        try:
            after = wrapping.original(now)
        except CommandLineError as error:
            plan.left.append(Left(entry.what, entry.name, str(error)))
            return
        kept = replace(known, name=entry.name) if known else entry
        plan.changes.append(Change(now, after, kept, path, status))
    elif known:
        plan.forget.append(known)
        if now != known.before:
            was = f"it was {shown(known.before)!r} before us, and is {shown(now)!r} now"
            why = f"somebody changed its {entry.field} since: {was}"
            plan.left.append(Left(entry.what, entry.name, why))


def check_names(asked: Collection[str], there: Certmonger) -> None:
    """Raises CertwitnessError: one of the CAs that the administrator named is not there."""
    known = [ca.name for ca in there.cas]
    for name in asked:
        if name not in known:
            raise CertwitnessError(f"--ca {name}: certmonger has no such CA; it has {', '.join(known) or 'none'}")

# SPDX-License-Identifier: MIT
"""What is wrapped today, what is not, what drifted from what was registered and why, and what could not even be run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certwitness.registration import units
from certwitness.registration.command_line import CommandLineError, shown, split
from certwitness.registration.plan import DROP_IN, HELPER, HOOKS, broken
from certwitness.registration.state import CA, REQUEST, UNIT, Entry, State
from certwitness.registration.wrapping import CAS, GUARD, Wrapping, guards, is_ours, is_wrapped
from certwitness.save import PRE_SAVE

if TYPE_CHECKING:
    from certwitness.certmonger import Certmonger
    from certwitness.config import Config

# The worst last.
REGISTERED, NOT_REGISTERED, DRIFTED, CANNOT_RUN = "registered", "not registered", "drifted", "cannot run"


@dataclass(frozen=True)
class Standing:
    """How one value stands: `now` is there, `wanted` was registered ("" if nothing was), `why` is for people."""

    what: str
    name: str
    field: str
    standing: str
    now: str
    wanted: str = ""
    why: str = ""
    certificate: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "what": self.what, "name": self.name, "field": self.field, "certificate": self.certificate or None,
            "standing": self.standing, "why": self.why or None, "now": shown(self.now),
            "wanted": shown(self.wanted) or None,
        }  # fmt: skip


def cas(there: Certmonger, state: State, wrapping: Wrapping) -> Iterator[Standing]:
    """The CAs of a FreeIPA server and all others that are registered or wrapped."""
    for ca in there.cas:
        known = state.find(CA, HELPER, ca.name)
        if not (known or ca.name in CAS or is_wrapped(ca.helper)):
            continue
        standing, why = _command(ca.helper, known, wrapping)
        if known and standing == DRIFTED and not why:
            why = "somebody ran getcert modify-ca -e" if ca.helper != known.before else _as_before(known)
        yield Standing(CA, ca.name, HELPER, standing, ca.helper, known.after if known else "", why)
    names = {ca.name for ca in there.cas}
    for entry in state.of(CA):
        if entry.name not in names:
            why = "certmonger has no such CA any more (the server was uninstalled, or getcert remove-ca)"
            why += "; certwitness register forgets it"
            yield Standing(CA, entry.name, HELPER, DRIFTED, "", entry.after, why)


def hooks(there: Certmonger, state: State, wrapping: Wrapping) -> Iterator[Standing]:
    """The hooks of all requests."""
    seen = set()
    for request in there.requests:
        for name, phase in HOOKS.items():
            now = request.pre_save if phase == PRE_SAVE else request.post_save
            known = state.find(REQUEST, name, request.name, request.location)
            seen.add(Entry(REQUEST, request.id, name, "", "", request.name, request.location).key)
            if not now and not known:
                continue
            standing, why = _command(now, known, wrapping) if now else (DRIFTED, "the command was removed")
            if standing == NOT_REGISTERED and state.hooks:
                standing, why = DRIFTED, "the request came after the hooks were registered"
            if known and standing == DRIFTED and not why:
                changed = "getcert start-tracking -i or resubmit -i changed it"
                why = _as_before(known) if now == known.before else changed
                if request.id != known.name:
                    why = f"tracking was made anew (it was request {known.name}), as ipa-server-upgrade does"
            wanted = known.after if known else ""
            yield Standing(REQUEST, request.id, name, standing, now, wanted, why, request.name)
    for entry in state.of(REQUEST):
        if entry.key not in seen:
            why = "certmonger does not track the certificate any more"
            yield Standing(REQUEST, entry.name, entry.field, DRIFTED, "", entry.after, why, entry.certificate)


def gate(config: Config, state: State) -> Iterator[Standing]:
    """The gate's drop-ins."""
    found, unread = units.drop_ins(config, state.of(UNIT))
    for unit, why in unread:
        yield Standing(UNIT, unit, DROP_IN, DRIFTED, "", "", why)
    fault = units.fault()
    for one in found:
        known = state.find(UNIT, DROP_IN, one.unit)
        wanted = known.after if known else ""
        if not one.now:
            standing, why = (DRIFTED, f"{one.path} is gone") if known else (NOT_REGISTERED, "")
        elif fault:
            standing, why = CANNOT_RUN, f"{fault}: the service starts, and nobody asks whether it can"
        elif one.now != one.wanted:
            standing, why = DRIFTED, f"{one.path} is not what this certwitness would write"
        else:
            standing, why = REGISTERED, ""
        yield Standing(UNIT, one.unit, DROP_IN, standing, one.now, wanted, why)


def _command(now: str, known: Entry | None, wrapping: Wrapping) -> tuple[str, str]:
    """How a helper or hook stands; a DRIFTED one may have no reason yet."""
    fault = wrapping.fault(now)
    if fault and (known or is_wrapped(now)):
        made = broken(now, known) if known else ""
        return CANNOT_RUN, f"{fault}; {made}" if made else fault
    if known:
        made = broken(now, known)
        if made:
            return DRIFTED, made
    in_front = _in_front_of_guard(now)
    if in_front:
        return DRIFTED, in_front
    if not is_wrapped(now):
        return (DRIFTED if known else NOT_REGISTERED), ""
    if known and now != known.after:
        return DRIFTED, "still wrapped, with other words than were registered"
    return REGISTERED, "" if known else "the state file does not know it: certwitness register"


def _in_front_of_guard(command: str) -> str:
    try:
        stands = guards(command)
        ours = [index for index, word in enumerate(split(command)) if is_ours(word)]
    except CommandLineError:
        return ""
    if stands and ours and ours[0] < stands[-1]:
        later = "and waits an hour for its own lock then"
        twice = "the guard waits an hour for its own lock"
        told = twice if stands[0] < ours[0] else f"the next upgrade puts another guard in front, {later}"
        return f"certwitness stands in front of {GUARD}: {told}"
    return ""


def _as_before(known: Entry) -> str:
    if not known.done:
        return "the registration did not get this far"
    return "it is again what it was before certwitness"

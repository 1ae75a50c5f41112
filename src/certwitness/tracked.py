# SPDX-License-Identifier: MIT
"""A certificate under certmonger's care, and whether something is on its way for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certwitness import catalogue
from certwitness.stores import nss

if TYPE_CHECKING:
    from certwitness.catalogue import Role
    from certwitness.certmonger import Request

SUBSYSTEM = "subsystem"
# Statuses in which certmonger waits, and nothing is on its way (certmonger.md, 4). In all others a step is being taken.
AT_REST = (
    "MONITORING", "CA_REJECTED", "CA_UNREACHABLE", "CA_UNCONFIGURED", "CA_WORKING", "NEED_GUIDANCE", "NEED_CA",
    "NEED_KEY_GEN_PIN", "NEED_KEY_GEN_PERMS", "NEED_KEY_GEN_TOKEN", "NEED_KEYINFO_READ_PIN",
    "NEED_KEYINFO_READ_TOKEN", "NEED_CSR_GEN_PIN", "NEED_CSR_GEN_TOKEN", "NEED_CERTSAVE_PERMS", "NEED_CERTSAVE_TOKEN",
    "NEED_SCEP_DATA", "INVALID", "NEWLY_ADDED_NEED_KEYINFO_READ_PIN", "NEWLY_ADDED_NEED_KEYINFO_READ_TOKEN",
)  # fmt: skip
# FreeIPA's renewal lock holds a step up for an hour at the most; the step itself takes minutes.
LONGEST_STEP_S = 2 * 3600
# From the helper's end to that of the post-save command: pki-tomcatd's restart alone may take five minutes.
LONGEST_SAVE_S = 900


@dataclass(frozen=True)
class Tracked:
    """A certificate under certmonger's care: where it is saved, what it is for, and certmonger's request (None where
    certmonger could not be read, and FreeIPA's own places are taken instead)."""

    storage: str  # NSSDB or FILE
    location: str
    nickname: str
    role: Role
    request: Request | None = field(default=None, compare=False)
    ambiguous: bool = field(default=False, compare=False)  # another database has this nickname, too

    @property
    def name(self) -> str:
        """As certmonger names it: the nickname, or the PEM file. FreeIPA 4.4 has a Server-Cert in two databases: their
        names have the database, too."""
        if self.ambiguous:
            return f"{self.nickname} in {self.location}"
        return self.nickname or self.location

    @property
    def on_hardware(self) -> bool:
        """Whether it is on an HSM's token: tools call it TOKEN:nickname there."""
        return self.request is not None and nss.is_hardware(self.request.token)

    @property
    def nickname_for_tools(self) -> str:
        """Its nickname as NSS's tools take it."""
        return f"{self.request.token}:{self.nickname}" if self.request and self.on_hardware else self.nickname

    @property
    def resting(self) -> bool:
        """Whether certmonger waits: nothing is being asked, saved or run for it. True where it cannot be asked."""
        return self.request is None or self.request.stuck or self.request.status in AT_REST


def of_requests(requests: Iterable[Request]) -> tuple[Tracked, ...]:
    """What the requests track, those with a role in the catalogue's order first."""
    requests = tuple(requests)
    nicknames = Counter(request.nickname for request in requests if request.nickname)
    found = [
        Tracked(
            request.storage,
            request.location,
            request.nickname,
            catalogue.role_of(nickname=request.nickname, location=request.location, post_save=request.post_save),
            request,
            nicknames[request.nickname] > 1,
        )
        for request in requests
    ]
    order = {role.key: number for number, role in enumerate(catalogue.ROLES)}
    return tuple(sorted(found, key=lambda one: (order.get(one.role.key, len(order)), one.name)))


def usual_places(database: str, nicknames: Collection[str], ra_certificate: str) -> tuple[Tracked, ...]:
    """FreeIPA's certificates where it has them, for when certmonger cannot be asked: those of `nicknames` in Dogtag's
    NSS database, and the agent's file ("" where there is none)."""
    found = [Tracked("NSSDB", database, role.nickname, role) for role in catalogue.ROLES if role.nickname in nicknames]
    if ra_certificate:
        found.append(Tracked("FILE", ra_certificate, "", catalogue.BY_KEY["ra"]))
    return tuple(found)

# SPDX-License-Identifier: MIT
"""One look at the host's stores, as `verify` and `status` take it: which checks, which certificates, how long."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from certwitness import verification
from certwitness.errors import CertwitnessError, StoreError
from certwitness.findings import CRITICAL, ERROR, PENDING, Finding

if TYPE_CHECKING:
    from certwitness.certificates import Certificate
    from certwitness.checks.check import Check
    from certwitness.evidence import Evidence
    from certwitness.tracked import Tracked
    from certwitness.verification import Result

# Seconds between looks while there is something to wait for; the last one repeats.
PAUSES = (1, 2, 4, 5)
AWAITED = (CRITICAL, ERROR, PENDING)
_MOST_NAMED = 20


@dataclass(frozen=True)
class Look:
    """What was seen: `tracked` are the certificates that were asked for, `names` their names where they are not all."""

    evidence: Evidence
    tracked: tuple[Tracked, ...]
    names: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of all results, in the order of the checks."""
        return tuple(finding for result in self.results for finding in result.findings)


def look(evidence: Evidence, checks: Iterable[Check], words: Sequence[str] = ()) -> Look:
    """Run `checks` for the certificates that `words` name, for all and the host without any.

    Raises CertwitnessError, with the evidence closed, for an unknown name, and for an expected certificate that belongs
    to none.
    """
    try:
        tracked = named(evidence, words)
        if evidence.expect:
            belongs(evidence, evidence.expect)
        names = tuple(one.name for one in tracked) if words else ()
        return Look(evidence, tracked, names, tuple(verification.run(evidence, checks, names)))
    except BaseException:
        evidence.close()
        raise


def settled(
    seen: Callable[[], Look],
    wait_s: float,
    tell: Callable[[Sequence[Finding], float], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Look:
    """Look again, less and less often, until nothing is CRITICAL, ERROR or PENDING, or `wait_s` seconds are over; the
    last look, with its evidence still open. `tell` hears after each what is awaited, and the seconds left."""
    deadline = clock() + wait_s
    for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
        last = seen()
        awaited = [finding for finding in last.findings if finding.level in AWAITED]
        left = deadline - clock()
        if not awaited or left <= 0:
            break
        last.evidence.close()
        tell(awaited, left)
        sleep(min(pause, left))
    return last


def chosen(checks: Sequence[Check], only: Sequence[str], skip: Sequence[str]) -> tuple[Check, ...]:
    """What is left of `checks`. Raises CertwitnessError for a name that none has, and where none is left."""
    known = [check.name for check in checks]
    for name in (*only, *skip):
        if name not in known:
            raise CertwitnessError(f"no check {name!r}; known: {', '.join(known)}")
    left = tuple(check for check in checks if (not only or check.name in only) and check.name not in skip)
    if not left:
        raise CertwitnessError("--skip leaves no check to run")
    return left


def named(evidence: Evidence, words: Sequence[str]) -> tuple[Tracked, ...]:
    """The tracked certificates that `words` name, by nickname, PEM file or request id; all without any.

    Raises CertwitnessError for a word that names none, with what there is.
    """
    if not words:
        return evidence.tracked
    found: dict[Tracked, None] = {}
    for word in words:
        ours = [one for one in evidence.tracked if _is_named(one, word)]
        if not ours:
            raise CertwitnessError(f"no certificate {word!r} is tracked here; {_known(evidence)}")
        found.update(dict.fromkeys(ours))
    return tuple(found)


def belongs(evidence: Evidence, expected: Certificate) -> None:
    """Raise CertwitnessError unless the expected certificate takes the place of a tracked one, by key or subject."""
    reasons = []
    for one in evidence.tracked:
        try:
            if evidence.held(one) is not None and evidence.wanted(one) == expected:
                return
        except StoreError as error:
            reasons.append(str(error))
    unseen = f"; could not look everywhere: {reasons[0]}" if reasons else ""
    raise CertwitnessError(
        f"the expected certificate (serial {expected.serial_text}, {expected.subject}) has neither the key nor the "
        f"subject of a certificate that is tracked here{unseen}"
    )


def expected_certificate(path: str) -> Certificate:
    """The first certificate of a PEM file. Raises CertwitnessError that names the file."""
    from certwitness.stores import pem

    file = pem.read(path)
    if not file.certificates:
        raise CertwitnessError(f"{path}: {'there is no such file' if file.missing else file.problem}")
    return file.certificates[0]


def _is_named(tracked: Tracked, word: str) -> bool:
    name = word == tracked.nickname if tracked.nickname else os.path.abspath(word) == tracked.location
    return name or bool(tracked.request and tracked.request.id == word)


def _known(evidence: Evidence) -> str:
    names = [one.name for one in evidence.tracked]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    words = f"known: {', '.join(names[:_MOST_NAMED])}{more}, and their requests' ids" if names else "nothing is"
    try:
        evidence.requests  # noqa: B018
    except StoreError as error:
        words += f" (certmonger could not be asked: {error.reason})"
    return words

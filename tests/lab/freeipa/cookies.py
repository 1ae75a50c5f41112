# SPDX-License-Identifier: MIT
"""A helper run as FreeIPA's handlers see it, and the JSON cookie that each level of handlers wraps around the next.

A cookie is ``{"cookie": "<inner>", "profile": <name or null>}``; see freeipa.md 5.3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Callable

ISSUED = 0
WAIT = 1
REJECTED = 2
UNREACHABLE = 3
UNCONFIGURED = 4
WAIT_WITH_DELAY = 5


@dataclass(frozen=True)
class Run:
    """What certmonger's variables say: SUBMIT or POLL, the cookie of the level at hand, and the PEM texts."""

    operation: str
    cookie: str | None
    profile: str | None
    csr: str
    certificate: str

    @property
    def polls(self) -> bool:
        """Whether there is something to go on with."""
        return self.operation == "POLL"


@dataclass(frozen=True)
class Result:
    """Exit code and text (certificate, message or cookie); `delay` in seconds goes with WAIT_WITH_DELAY."""

    code: int
    text: str = ""
    delay: str = ""

    @property
    def waits(self) -> bool:
        """Whether the text is a cookie."""
        return self.code in (WAIT, WAIT_WITH_DELAY)

    def lines(self) -> list[str]:
        """What goes to stdout."""
        return [self.delay, self.text] if self.code == WAIT_WITH_DELAY else [self.text] if self.text else []


Handler = Callable[[Run], Result]


class BadCookieError(Exception):
    """The cookie cannot be used; the message is what goes to stdout, with exit code 4."""


def call(handler: Handler, run: Run) -> Result:
    """Run `handler` one level deeper: take the cookie of its level out, put the one it gives back in.

    A profile that is not the cookie's own starts the request anew.
    """
    inner = run
    if run.polls:
        try:
            profile, cookie = _open(run)
        except BadCookieError as error:
            return Result(UNCONFIGURED, str(error))
        inner = replace(run, cookie=cookie)
        if profile != run.profile:
            inner = replace(run, operation="SUBMIT", cookie=None)
    result = handler(inner)
    if result.waits:
        return replace(result, text=json.dumps({"cookie": result.text, "profile": run.profile}))
    return result


def split(run: Run, *states: str) -> tuple[str, str]:
    """A cookie ``state:rest``, where the state must be one of `states`. Raises BadCookieError."""
    if not run.cookie:
        raise BadCookieError("Cookie not provided")
    state, _, rest = run.cookie.partition(":")
    if state not in states:
        raise BadCookieError(f"Invalid cookie: {run.cookie!r}")
    return state, rest


def _open(run: Run) -> tuple[str | None, str]:
    """Profile and inner cookie. An empty cookie is tolerated, as FreeIPA does since 2020."""
    if run.cookie is None:
        raise BadCookieError("Cookie not provided")
    if not run.cookie:
        return run.profile, ""
    try:
        content = json.loads(run.cookie)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BadCookieError(f"Invalid cookie: {run.cookie!r}")
    if "profile" not in content:
        raise BadCookieError("No 'profile' in cookie")
    profile, cookie = content["profile"], content.get("cookie", "")
    if not isinstance(profile, (str, type(None))):
        raise BadCookieError(f"Invalid 'profile' in cookie: {profile!r}")
    if not isinstance(cookie, str):
        raise BadCookieError(f"Invalid 'cookie' in cookie: {cookie!r}")
    return profile, cookie

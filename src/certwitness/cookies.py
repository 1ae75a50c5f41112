# SPDX-License-Identifier: MIT
r"""Cookies taken apart: what a helper gave certmonger to hand back at the next POLL.

Two forms are known:

- Dogtag's helpers (certmonger 0.79.17): ``state=approve&requestId=7``.
- FreeIPA's dogtag-ipa-ca-renew-agent-submit: one line of JSON ``{"cookie": INNER, "profile": NAME or null}``, where
  INNER is ``request:COOKIE`` (the CA is asked), ``store:PEM:COOKIE`` (the certificate is issued and not yet stored in
  LDAP; COOKIE holds the number of failed attempts), ``retrieve:COOKIE``, the cookie of the level below, or nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from certwitness.certificates import Certificate
from certwitness.errors import CertificateError

_LEVELS = 8  # FreeIPA nests three at most
_DOGTAG = re.compile(r"[A-Za-z]{1,64}=[^\s\"{}]{0,512}", re.ASCII)
_STEP = re.compile(r"(request|retrieve|store):")
_STORE = re.compile(r"(-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\s*):", re.DOTALL)


def parts(text: str) -> dict[str, Any]:
    """What is in a cookie; empty where it is of no known form. Never raises.

    Keys, each only where the cookie has it: ``state``, ``request_id`` (Dogtag), ``steps`` (list, outermost first),
    ``profile`` (str or None), ``store_attempts`` (failed ones so far), ``certificate`` (as in events: issued, waits to
    be stored), ``certificate_problem`` (why the one in the cookie cannot be read).
    """
    found: dict[str, Any] = {}
    text = text.strip()
    for _level in range(_LEVELS):
        inner = _unwrapped(text, found)
        if inner is None:
            break
        text = inner.strip()
    return found


def _unwrapped(text: str, found: dict[str, Any]) -> str | None:
    """Note one level of a cookie in `found` and return the level below; None at the innermost."""
    step = _STEP.match(text)
    if step and "profile" in found:  # FreeIPA's words stand inside its JSON only
        found.setdefault("steps", []).append(step[1])
        rest = text[step.end() :]
        stored = _STORE.match(rest) if step[1] == "store" else None
        if stored:
            _note_certificate(stored[1], found)
            rest = rest[stored.end() :]
        return rest
    if text.startswith("{"):
        return _json(text, found)
    if text.isascii() and text.isdigit() and "store" in found.get("steps", ()):
        found["store_attempts"] = int(text[:9])
    elif _DOGTAG.fullmatch(text):
        pairs = dict(parse_qsl(text))
        found.update({ours: pairs[theirs] for ours, theirs in _DOGTAG_KEYS if theirs in pairs})
    return None


_DOGTAG_KEYS = (("state", "state"), ("request_id", "requestId"))


def _json(text: str, found: dict[str, Any]) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("cookie"), str):
        return None
    profile = value.get("profile")
    if not found.get("profile"):  # the outermost that names one; inner levels repeat it
        found["profile"] = profile[:256] if isinstance(profile, str) else None
    inner: str = value["cookie"]
    return inner


def _note_certificate(pem: str, found: dict[str, Any]) -> None:
    try:
        found["certificate"] = Certificate.from_pem(pem.encode()).as_event()
    except CertificateError as error:
        found["certificate_problem"] = str(error)

# SPDX-License-Identifier: MIT
"""An NSS database as certmonger's requests use it: with the PIN that somebody has for it, and with its HSM tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from certwitness.errors import StoreError
from certwitness.stores import nss
from certwitness.stores.pin import Pin

if TYPE_CHECKING:
    from certwitness.certmonger import Request
    from certwitness.host import Host


def read(host: Host, location: str, requests: Sequence[Request]) -> nss.NssDatabase:
    """All of the internal token, and of HSM tokens the certificates that `requests` have there, as ``TOKEN:nickname``
    (FreeIPA 4.12 and newer). Raises StoreError."""
    database = nss.read(location, None, pin(host, location, requests))
    there = [one for one in requests if one.nickname and nss.is_hardware(one.token)]
    if not there:
        return database
    tokens = nss.read(location, [f"{one.token}:{one.nickname}" for one in there], token_pin(host, location, there))
    problems = [problem for problem in (database.pin_problem, tokens.pin_problem) if problem]
    return nss.NssDatabase(location, {**database.entries, **tokens.entries}, "; ".join(problems))


def pin(host: Host, location: str, requests: Sequence[Request]) -> Pin | None:
    """The PIN of the internal token: from a request's PIN file, a request itself, or Dogtag's password.conf; None where
    nobody has one. Files that are missing or cannot be read are passed over: the check `pin` is about them."""
    for request in requests:
        if nss.is_hardware(request.token):
            continue
        found = (request.pin_file and _from_file(request.pin_file)) or request.pin
        if found:
            return found
    return _from_file(host.pki_password_file) if location.rstrip("/") == host.pki_nssdb.rstrip("/") else None


def token_pin(host: Host, location: str, requests: Sequence[Request]) -> Pin | None:
    """The PINs of the HSM's tokens: Dogtag's password.conf has all of them (``hardware-TOKEN=``), a request its own."""
    dogtag = _from_file(host.pki_password_file) if location.rstrip("/") == host.pki_nssdb.rstrip("/") else None
    return dogtag or next((one.pin for one in requests if one.pin and nss.is_hardware(one.token)), None)


def _from_file(path: str) -> Pin | None:
    try:
        return Pin.from_file(path)
    except StoreError:
        return None

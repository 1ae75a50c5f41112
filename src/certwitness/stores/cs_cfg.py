# SPDX-License-Identifier: MIT
"""Dogtag's CS.cfg, a subsystem's configuration (with copies of its certificates before PKI 11.5), and password.conf.

Lines of ``key=value``; only the first ``=`` separates, so base64 is whole. There are no escapes and no continued lines.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

from certwitness.certificates import Certificate
from certwitness.errors import CertificateError, StoreError
from certwitness.stores import regular_file


class Passwords(Mapping[str, str]):
    """The passwords of password.conf by name (``internal``, ``hardware-<token>``, ...). Its repr shows names only."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Passwords({', '.join(self._values)})"


def read(path: str) -> Mapping[str, tuple[str, ...]]:
    """Every value of every key, in the file's order. A key that is there twice counts with its last value.

    Raises StoreError: not there, not permitted, no regular file, over 1 MiB.
    """
    found: dict[str, list[str]] = {}
    for key, value in _pairs(path):
        found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def certificate(values: Mapping[str, tuple[str, ...]], key: str) -> Certificate | str | None:
    """The certificate that a key of CS.cfg holds as base64 DER on one line: None where the key is not there, and words
    (one line) where its value is no certificate. From PKI 11.5 on the keys mean nothing (freeipa.md, section 4)."""
    if not values.get(key):
        return None
    text = "".join(values[key][-1].split())
    if not text:
        return f"{key} is empty"
    try:
        return Certificate.from_der(base64.b64decode(text, validate=True))
    except ValueError:
        return f"{key} is not base64"
    except CertificateError as error:
        return f"{key} is {error}"


def password_conf(path: str) -> Passwords:
    """The passwords in a password.conf. Raises StoreError as `read`."""
    return Passwords(dict(_pairs(path)))


def _pairs(path: str) -> Iterator[tuple[str, str]]:
    file = regular_file.read(path)
    if file is None:
        raise StoreError(path, "there is no such file")
    # Not splitlines(): a value may hold what it takes for the end of a line (form feed, U+2028).
    for line in file.data.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.strip().partition("=")
        if equals and key.strip() and not line.lstrip().startswith(("#", "!")):
            yield key.strip(), value.strip()

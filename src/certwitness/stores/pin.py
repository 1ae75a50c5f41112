# SPDX-License-Identifier: MIT
"""The PIN of an NSS database or of a key file: read from where services keep it, never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from certwitness.errors import StoreError
from certwitness.stores import regular_file

# How the internal token is named before a PIN: 389-ds's pin.txt (with and without FIPS mode), mod_nss, Dogtag's
# password.conf. (FreeIPA 4.x writes the first and the last.)
_INTERNAL = (
    "Internal (Software) Token:",
    "NSS Certificate DB:",
    "NSS FIPS 140-2 Certificate DB:",
    "internal:",
    "internal=",
)
_HARDWARE = "hardware-"


class Pin:
    """A secret. `str()`, `repr()` and pickling never give it away; `reveal` and `descriptor` do."""

    __slots__ = ("_hardware", "_secret")

    def __init__(self, secret: str, hardware: Mapping[str, str]) -> None:
        self._secret = secret
        self._hardware = dict(hardware)

    @classmethod
    def from_text(cls, text: str) -> Pin:
        """The PIN itself, exactly as it is."""
        return cls(text, {})

    @classmethod
    def from_file(cls, path: str) -> Pin:
        """The PIN in a file: the first line, or what stands after the internal token's name (``Internal (Software)
        Token:PIN``, ``internal=PIN``). Lines ``hardware-TOKEN=PIN`` are the PINs of other tokens. Raises StoreError."""
        file = regular_file.read(path)
        if file is None:
            raise StoreError(path, "there is no such PIN file")
        lines = file.data.decode("utf-8", "surrogateescape").replace("\r", "\n").split("\n")
        hardware = dict(line[len(_HARDWARE) :].partition("=")[::2] for line in lines if _is_hardware(line))
        for line in lines:
            for name in _INTERNAL:
                if line.startswith(name):
                    return cls(line[len(name) :], hardware)
        return cls("" if hardware else lines[0], hardware)

    def reveal(self, token: str = "") -> bytes:
        """The PIN of `token` (default: the internal one, or the only one there is)."""
        return self._hardware.get(token, self._secret).encode("utf-8", "surrogateescape")

    @contextmanager
    def descriptor(self, token: str = "") -> Iterator[int]:
        """A descriptor of memory that holds the PIN: hand it to a child in `pass_fds`, and name it
        ``/proc/self/fd/<n>`` there. It is on no disk and in no argument list."""
        memory = os.memfd_create("pin")
        try:
            os.write(memory, self.reveal(token))
            yield memory
        finally:
            os.close(memory)

    def __repr__(self) -> str:
        return "Pin(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a PIN is not stored")


def _is_hardware(line: str) -> bool:
    return line.startswith(_HARDWARE) and "=" in line

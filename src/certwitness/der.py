# SPDX-License-Identifier: MIT
"""The little DER (X.690) that is read by hand, because `cryptography` refuses or hides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def children(contents: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The DER elements in `contents`: tag, contents, whole element. Raises ValueError where they are damaged."""
    position = 0
    while position < len(contents):
        start, tag = position, contents[position]
        length = contents[position + 1] if position + 1 < len(contents) else 0x80
        position += 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or tag & 0x1F == 0x1F:
                raise ValueError("length or tag is not DER")
            length = int.from_bytes(contents[position : position + size], "big")
            position += size
        end = position + length
        if end > len(contents):
            raise ValueError("an element ends beyond its container")
        yield tag, contents[position:end], contents[start:end]
        position = end


def sequence(der: bytes) -> list[tuple[int, bytes, bytes]]:
    return list(children(next(children(der))[1]))


def intact_children(contents: bytes) -> list[tuple[int, bytes, bytes]]:
    """Like `children`, but what comes before the damage is returned, and nothing raised."""
    found: list[tuple[int, bytes, bytes]] = []
    try:
        for child in children(contents):
            found.append(child)
    except ValueError:
        pass
    return found


def value_of(der: bytes) -> bytes:
    """Contents of the first element in `der`; empty where there is none."""
    first = intact_children(der)[:1]
    return first[0][1] if first else b""


def oid_text(contents: bytes) -> str:
    """An object identifier as dotted numbers."""
    numbers, number = [], 0
    for byte in contents:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    if not numbers:
        return "?"
    first = min(numbers[0] // 40, 2)
    return ".".join(map(decimal, [first, numbers[0] - 40 * first, *numbers[1:]]))


def decimal(number: int) -> str:
    """`number` in decimal; in hex where Python's limit on long conversions stands against it (1,700 bytes and more)."""
    try:
        return str(number)
    except ValueError:
        return hex(number)

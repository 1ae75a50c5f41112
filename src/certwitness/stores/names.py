# SPDX-License-Identifier: MIT
"""Distinguished names as text, compared as a directory server does, and Dogtag's `description` values.

Every writer spells a name in its own way: cryptography (RFC 4514, numbers for types it has no name for), OpenLDAP (what
FreeIPA uses), NSS and Java (what Dogtag uses). So a name is taken apart before it is compared.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Union

from certwitness.der import value_of

# OID -> names of the attribute type: RFC 4519, RFC 2985, and what NSS, OpenSSL and Java write.
_NAMES = {
    "2.5.4.3": "cn commonname",
    "2.5.4.4": "sn surname",
    "2.5.4.5": "serialnumber",
    "2.5.4.6": "c countryname",
    "2.5.4.7": "l localityname",
    "2.5.4.8": "st s stateorprovincename",
    "2.5.4.9": "street streetaddress",
    "2.5.4.10": "o organizationname",
    "2.5.4.11": "ou organizationalunitname",
    "2.5.4.12": "title t",
    "2.5.4.13": "description",
    "2.5.4.15": "businesscategory",
    "2.5.4.16": "postaladdress",
    "2.5.4.17": "postalcode",
    "2.5.4.41": "name",
    "2.5.4.42": "givenname gn",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationqualifier",
    "2.5.4.46": "dnqualifier dnq",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationidentifier",
    "0.9.2342.19200300.100.1.1": "uid userid",
    "0.9.2342.19200300.100.1.3": "mail",
    "0.9.2342.19200300.100.1.25": "dc domaincomponent",
    "1.2.840.113549.1.9.1": "e email emailaddress",
}
# What Dogtag writes (JSS, X500NameAttrMap) where cryptography writes the number.
_DOGTAG = {
    "2.5.4.4": "SN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.12": "TITLE",
    "2.5.4.42": "GIVENNAME",
    "2.5.4.43": "INITIALS",
    "2.5.4.44": "GENERATIONQUALIFIER",
    "2.5.4.46": "DNQUALIFIER",
    "0.9.2342.19200300.100.1.3": "MAIL",
    "1.2.840.113549.1.9.1": "E",
}
_TYPES = {name: oid for oid, names in _NAMES.items() for name in names.split()}
_STRINGS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be"}
_STRINGS[0x1E] = "utf-16-be"

_TYPE = re.compile(r"\s*(?:OID\.)?([0-9]+(?:\.[0-9]+)*|[A-Za-z][A-Za-z0-9-]*)\s*=\s*", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"(?:(?<=^)|(?<=[,+]))([0-9]+(?:\.[0-9]+)+)(?==)", re.ASCII)
_HEX = re.compile(r"#((?:[0-9A-Fa-f]{2})+)\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*', re.DOTALL)
_PLAIN = re.compile(r'(?:[^",;+\\]|\\.)*', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_BLANKS = re.compile(r"[ \t\n\r\f\v]+")
_SERIAL = re.compile(r"-?[0-9]{1,400}", re.ASCII)

Value = Union[str, bytes]
Name = tuple[tuple[tuple[str, str], ...], ...]


class Description(NamedTuple):
    """A user's `description`, by which Dogtag finds it: ``2;<serial>;<issuer>;<subject>`` (PKI 10 to 11)."""

    version: str
    serial: int
    issuer: str
    subject: str


def same_dn(a: str, b: str) -> bool:
    """Whether two texts are one distinguished name. Text that is no name is compared without regard to case.

    Like 389-ds 2.3 for directory strings: types by name or OID, case and blanks do not matter, nor how something is
    escaped, nor the order within an RDN of several values. Never raises.
    """
    names = canonical(a), canonical(b)
    if None in names:
        return a.casefold() == b.casefold()
    return names[0] == names[1]


def as_dogtag(text: str) -> str:
    """A name as cryptography writes it (RFC 4514), with the keywords that Dogtag has for types without one there."""
    return _NUMBER.sub(lambda match: _DOGTAG.get(match[1], match[1]), text)


def canonical(text: str) -> Name | None:
    """A distinguished name in a form that is equal for equal names (hashable); None for text that is none.

    RFC 4514, and of the older RFC 1779 what Java still writes: quotes, ``;`` between RDNs, ``OID.`` before numbers.
    """
    name: list[tuple[tuple[str, str], ...]] = []
    rdn: list[tuple[str, str]] = []
    position, separator = 0, "," if text.strip() else ""
    while separator:
        ava = _ava(text, position)
        if ava is None:
            return None
        kind, value, position = ava
        rdn.append((kind, value))
        separator = text[position : position + 1]
        position += 1
        if separator != "+":
            name.append(tuple(sorted(rdn)))
            rdn = []
    return tuple(name)


def parse_description(text: str) -> Description | None:
    """Take a `description` apart; None if it is of another form. Only the first three semicolons outside of escapes
    and quotes separate, so names may hold semicolons."""
    parts = _split(text)
    if parts is None or not _SERIAL.fullmatch(parts[1].strip()):
        return None
    return Description(parts[0].strip(), int(parts[1]), parts[2].strip(), parts[3].strip())


def serial(text: str) -> int | None:
    """A serial number as an attribute holds it: decimal, of any size and sign; None for anything else."""
    return int(text) if _SERIAL.fullmatch(text.strip()) else None


def _split(text: str) -> list[str] | None:
    """At the first three semicolons that are neither escaped nor quoted; at the first three, if that gives fewer."""
    ends = [match.start() for match in re.finditer(r'\\.|"(?:[^"\\]|\\.)*"|;', text, re.DOTALL) if match[0] == ";"][:3]
    if len(ends) == 3:
        starts = [0, *(end + 1 for end in ends)]
        return [text[start:end] for start, end in zip(starts, [*ends, len(text)])]
    parts = text.split(";", 3)
    return parts if len(parts) == 4 else None


def _ava(text: str, position: int) -> tuple[str, str, int] | None:
    """Type and value at `position`, and where they end: at a separator or the end of the text."""
    found = _TYPE.match(text, position)
    if found is None:
        return None
    kind = _TYPES.get(found[1].lower(), found[1].lower())
    position = found.end()
    encoded = _HEX.match(text, position)
    if encoded is not None:
        value, position = _fold(_from_der(bytes.fromhex(encoded[1]))), encoded.end()
    else:
        quoted = _QUOTED.match(text, position)
        plain = quoted or _PLAIN.match(text, position)
        if plain is None:
            return None
        value, position = _fold(_unescape(plain[plain.lastindex or 0])), plain.end()
    if position < len(text) and text[position] not in ",;+":
        return None
    return kind, value, position


def _unescape(text: str) -> Value:
    """The value as text; bytes where they are not UTF-8."""
    raw = _ESCAPE.sub(_escaped, text.encode("utf-8", "surrogatepass"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _escaped(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else match[2]


def _from_der(der: bytes) -> Value:
    """The text of a DER string; the DER itself where it is something else."""
    try:
        return value_of(der).decode(_STRINGS[der[0]])
    except (KeyError, ValueError, IndexError):
        return der


def _fold(value: Value) -> str:
    if isinstance(value, bytes):
        return f"#{value.hex()}"
    return _BLANKS.sub(" ", value).strip(" ").lower()

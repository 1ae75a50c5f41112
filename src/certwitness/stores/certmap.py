# SPDX-License-Identifier: MIT
"""389-ds's certmap.conf: by a certificate's issuer, how the entry of its holder is found.

``certmap NAME ISSUER`` opens a mapping and ``NAME:property value`` lines follow (389-ds 2.3, lib/ldaputil/dbconf.c; the
case of NAME matters). FreeIPA's mapping `ipaca` has the CA's subject as issuer, ``CmapLdapAttr seeAlso`` and
``verifycert on`` (freeipa.md, section 4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from certwitness.errors import StoreError
from certwitness.stores import regular_file

_MAPPING = re.compile(r"certmap\s+(\S+)\s*(.*)")


@dataclass(frozen=True)
class CertMap:
    """One mapping. `issuer` is a DN, or ``default`` in the mapping `default`, which is for all others; keys of
    `properties` are lower case, a property without a value is ""."""

    name: str
    issuer: str
    properties: Mapping[str, str]


def read(path: str) -> tuple[CertMap, ...]:
    """The mappings in the file's order. A property given twice counts with its first value, as in 389-ds.

    Raises StoreError: not there, not permitted, no regular file, over 1 MiB, or a line that 389-ds would refuse, which
    then does not start.
    """
    file = regular_file.read(path)
    if file is None:
        raise StoreError(path, "there is no such file")
    found: list[CertMap] = []
    for number, line in enumerate(file.data.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        opening = _MAPPING.fullmatch(text)
        if opening and (opening[2] or opening[1] == "default"):
            found.append(CertMap(opening[1], opening[2], {}))
        elif found and not opening and _belongs(text, found[-1].name):
            name, _, value = text[len(found[-1].name) :].lstrip(": \t").replace("\t", " ").partition(" ")
            properties = {name.lower(): value.strip(), **found[-1].properties}
            found[-1] = replace(found[-1], properties=properties)
        else:
            raise StoreError(path, f"line {number} is neither a mapping with an issuer nor a property of the one above")
    return tuple(found)


def _belongs(text: str, name: str) -> bool:
    """Whether a line is ``NAME:property ...`` (389-ds takes a blank for the colon, too)."""
    return re.match(re.escape(name) + r"[:\s][:\s]*[^:\s]", text) is not None

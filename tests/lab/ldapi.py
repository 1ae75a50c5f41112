# SPDX-License-Identifier: MIT
"""Reading and writing 389-ds as root over LDAPI, by OpenLDAP's own tools: 10 ms a call, and nothing to import.

Bound with SASL EXTERNAL, uid 0 is Directory Manager. Values are bytes, attribute names are lower case.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Union

Entry = dict[str, list[bytes]]
Value = Union[str, bytes]

NO_SUCH_OBJECT = 32
DEADLINE_S = 20.0


class LdapError(Exception):
    """The tool ended with `code`, which is LDAP's result code (255: the server was not reached)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Ldapi:
    """One server by its socket. Every method raises LdapError with the tool's words."""

    def __init__(self, socket: Path) -> None:
        self.uri = "ldapi://" + str(socket).replace("/", "%2F")

    def search(self, base: str, scope: str = "sub", filter_: str = "(objectClass=*)") -> dict[str, Entry]:
        """Entries by DN; an absent base is no entry. `scope` is base, one or sub."""
        try:
            text = self._run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, "-s", scope, filter_)
        except LdapError as error:
            if error.code == NO_SUCH_OBJECT:
                return {}
            raise
        return dict(_parse(text))

    def read(self, dn: str) -> Entry | None:
        """One entry, None if it is not there."""
        return next(iter(self.search(dn, "base").values()), None)

    def add(self, *entries: tuple[str, Mapping[str, Sequence[Value]]]) -> None:
        """Add entries, in order."""
        records = (
            "\n".join([_line("dn", dn), "changetype: add"] + [_line(n, v) for n, vs in attributes.items() for v in vs])
            for dn, attributes in entries
        )
        self._run("ldapmodify", text="\n\n".join(records))

    def modify(self, dn: str, *changes: tuple[str, str, Iterable[Value]]) -> None:
        """Change an entry: (add | replace | delete, attribute, values)."""
        lines = [_line("dn", dn), "changetype: modify"]
        for kind, name, values in changes:
            lines += [f"{kind}: {name}", *(_line(name, value) for value in values), "-"]
        self._run("ldapmodify", text="\n".join(lines))

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        self._run("ldapdelete", dn)

    def answers(self) -> bool:
        """Whether the server is there and takes us for Directory Manager."""
        try:
            return "cn=directory manager" in self._run("ldapwhoami").lower()
        except LdapError:
            return False

    def _run(self, tool: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [tool, "-Q", "-Y", "EXTERNAL", "-H", self.uri, *arguments],
            input=text + "\n" if text else "",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise LdapError(done.returncode, " ".join(words) or f"{tool} ended with {done.returncode}")
        return done.stdout


def _line(name: str, value: Value) -> str:
    data = value.encode() if isinstance(value, str) else value
    return f"{name}:: {base64.b64encode(data).decode()}"


def _parse(text: str) -> Iterable[tuple[str, Entry]]:
    for record in text.strip().split("\n\n"):
        dn = ""
        entry: Entry = {}
        for line in record.splitlines():
            name, _, rest = line.partition(":")
            value = base64.b64decode(rest[1:]) if rest.startswith(":") else rest.strip().encode()
            if name == "dn":
                dn = value.decode()
            else:
                entry.setdefault(name.lower(), []).append(value)
        if dn:
            yield dn, entry

# SPDX-License-Identifier: MIT
"""The commands that mend a store, ready to paste as root: LDIF for ldapmodify, certutil, getcert.

What is put in comes from certificates and entries, so everything is quoted for the shell, and encoded for LDIF.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from typing import Union

from certwitness.certificates import Certificate
from certwitness.host import Host
from certwitness.stores.directory import Entry, parse_description, same_dn
from certwitness.tracked import Tracked

# RFC 2849, SAFE-STRING without what a terminal or a shell could take amiss; anything else goes as base64.
_SAFE = re.compile(r"[!-9;=-~][ -~]*(?<! )")

# FreeIPA's name for the mapping of its CA in certmap.conf.
NEW_MAPPING = "ipaca"

Value = Union[str, bytes]
Change = tuple[str, str, Sequence[Value]]


def modify(host: Host, dn: str, *changes: Change) -> str:
    """An ldapmodify over LDAPI: each change is (add | replace | delete, attribute, values)."""
    lines = [_line("dn", dn), "changetype: modify"]
    for number, (kind, attribute, values) in enumerate(changes):
        lines += ["-"] if number else []
        lines += [f"{kind}: {attribute}", *(_line(attribute, value) for value in values)]
    return f"ldapmodify -Q -Y EXTERNAL -H {shlex.quote(host.uri)} <<'EOF'\n" + "\n".join(lines) + "\nEOF"


def add(host: Host, dn: str, attributes: Sequence[tuple[str, Value]]) -> str:
    """An ldapadd over LDAPI."""
    lines = [_line("dn", dn), *(_line(name, value) for name, value in attributes)]
    return f"ldapadd -Q -Y EXTERNAL -H {shlex.quote(host.uri)} <<'EOF'\n" + "\n".join(lines) + "\nEOF"


def description(certificate: Certificate, entry: Entry | None = None) -> str:
    """What a user's `description` must be: ``2;<serial>;<issuer>;<subject>``.

    Dogtag looks for that text as it is, so where `entry` already spells these names in its own way they stay so.
    """
    issuer, subject = certificate.issuer, certificate.subject
    for text in entry.texts("description") if entry else ():
        old = parse_description(text)
        if old and same_dn(old.issuer, issuer) and same_dn(old.subject, subject):
            issuer, subject = old.issuer, old.subject
    return f"2;{certificate.serial_text};{issuer};{subject}"


def renewal_entry(host: Host, dn: str, name: str, certificate: Certificate, *, exists: bool) -> str:
    """Put `certificate`, alone, into cn=<name>,cn=ca_renewal."""
    if exists:
        return modify(host, dn, ("replace", "userCertificate", [certificate.der]))
    classes = [("objectClass", value) for value in ("top", "pkiuser", "nscontainer")]
    return add(host, dn, [*classes, ("cn", name), ("userCertificate", certificate.der)])


def certmap(path: str, name: str, issuer: str) -> str:
    """Make the mapping `name` of 389-ds's certmap.conf that of `issuer`, by seeAlso and verified; add it where `name`
    is ""."""
    lines = [f"certmap {name or NEW_MAPPING} {issuer}"]
    lines += [f"{name or NEW_MAPPING}:CmapLdapAttr seeAlso", f"{name or NEW_MAPPING}:verifycert on"]
    if not name:
        return shlex.join(["printf", r"%s\n", "", *lines]) + f" >> {shlex.quote(path)}"
    pattern = re.sub(r"[][\\.*^$/]", r"\\\g<0>", name)
    replacement = r"\n".join(re.sub(r"[\\/&]", r"\\\g<0>", line) for line in lines)
    edits = [f"/^[[:space:]]*{pattern}[:[:space:]][:[:space:]]*{key}/Id" for key in ("CmapLdapAttr", "verifycert")]
    edits.append(f"s/^[[:space:]]*certmap[[:space:]][[:space:]]*{pattern}\\([[:space:]].*\\)*$/{replacement}/")
    return shlex.join(["sed", "-i.before", *(word for edit in edits for word in ("-e", edit)), path])


def one_line(certificate: Certificate) -> str:
    """The certificate as base64 on one line, as CS.cfg holds it."""
    return base64.b64encode(certificate.der).decode()


def restart(unit: str) -> str:
    """Restart a systemd unit."""
    return f"systemctl restart {shlex.quote(unit)}"


def getcert(tracked: Tracked, command: str, *options: str) -> str:
    """A getcert command for the certificate's request."""
    request = tracked.request.id if tracked.request else "ID"
    return shlex.join(["getcert", command, "-i", request, *options])


def _line(name: str, value: Value) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if isinstance(value, str) and _SAFE.fullmatch(text):
        return f"{name}: {text}"
    data = value.encode() if isinstance(value, str) else value
    return f"{name}:: {base64.b64encode(data).decode()}"

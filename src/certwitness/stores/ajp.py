# SPDX-License-Identifier: MIT
"""Whether Apache and Tomcat share one AJP secret: if not, every call to the CA through Apache is a 403.

Tomcat's AJP connectors have it as ``secret`` (9.0.31 and later) or ``requiredSecret`` (before); for a time PKI wrote
one and FreeIPA the other, so both may be there (freeipa pull request 6303). Apache has it in the lines
``ProxyPassMatch ajp://localhost:8009 secret=...`` of ipa-pki-proxy.conf.
"""

from __future__ import annotations

import shlex
from xml.parsers import expat

from certwitness.errors import StoreError
from certwitness.stores import regular_file

_ATTRIBUTES = ("secret", "requiredSecret")
_DIRECTIVES = ("proxypassmatch", "proxypass")


def secrets_agree(server_xml: str, proxy_conf: str) -> bool | None:
    """Whether every AJP connector and every line that proxies to one have the same secret; None if none has any.

    Where a connector has both attributes with different values it depends on Tomcat's version which counts: False.
    Raises StoreError (a file missing, unreadable, no XML). Neither result nor error holds a secret.
    """
    connectors, proxied = _connectors(server_xml), _proxied(proxy_conf)
    if not any(connectors + proxied):
        return None
    return set(connectors) == set(proxied) and len(set(proxied)) == 1


def _connectors(path: str) -> list[str]:
    """Secrets of the AJP connectors, "" for a connector without one."""
    found: list[str] = []

    def connector(name: str, attributes: dict[str, str]) -> None:
        if name == "Connector" and "ajp" in attributes.get("protocol", "").lower():
            found.extend([attributes[key] for key in _ATTRIBUTES if attributes.get(key)] or [""])

    def refuse(*_declaration: object) -> None:
        raise StoreError(path, "declares a DOCTYPE, which is not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler = connector
    parser.StartDoctypeDeclHandler = refuse  # entities could grow without end
    try:
        parser.Parse(_content(path), True)
    except expat.ExpatError as error:
        raise StoreError(path, f"is no XML: {expat.ErrorString(error.code)}, line {error.lineno}") from None
    return found


def _proxied(path: str) -> list[str]:
    """Secrets of the lines that proxy to AJP, "" for a line without one."""
    found: list[str] = []
    for line in _content(path).decode("utf-8", "replace").replace("\\\n", " ").split("\n"):
        words = _words(line)
        if words and words[0].lower() in _DIRECTIVES and any(word.startswith("ajp://") for word in words):
            secrets = [word[len("secret=") :] for word in words if word.lower().startswith("secret=")]
            found.append(secrets[-1] if secrets else "")
    return found


def _words(line: str) -> list[str]:
    """An Apache directive's words, without quotes."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:  # a quote without an end: not a directive of ours
        return []


def _content(path: str) -> bytes:
    file = regular_file.read(path)
    if file is None:
        raise StoreError(path, "there is no such file")
    return file.data

# SPDX-License-Identifier: MIT
"""Print docs/events.md, generated from the JSON Schema of the event log:
`python tools/events_md.py > docs/events.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

INTRODUCTION = """# The event log

Generated from `src/certwitness/events/schema.json` by `tools/events_md.py`; a test compares them.

`/var/log/certwitness/events.jsonl` (`[events] file`), directory 0700, file 0600: one JSON object a line, ASCII only, in
the order of writing. The ids have the sizes of W3C Trace Context and OpenTelemetry: a renewal is a trace, a run a span.
Readers ignore fields that they do not know.
"""


def pages(schema: dict[str, Any]) -> Iterator[str]:
    """The lines of the document."""
    yield INTRODUCTION
    yield "## Every event\n"
    yield from _table(schema)
    definitions = schema["$defs"]
    for name in sorted(definitions, key=lambda name: "." not in name):
        definition = definitions[name]
        if "properties" in definition:
            yield f"\n## {name}\n"
            yield f"{definition['description']}\n"
            yield from _table(definition)


def _table(definition: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | always | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in definition["properties"].items():
        if "description" in field:
            always = "yes" if name in definition.get("required", ()) else ""
            yield f"| `{name}` | {_type(field)} | {always} | {field['description']} |"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return "string" if name == "digest" else f"[{name}](#{name.replace('.', '')})"
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"])
    if "enum" in field:
        return " ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field["type"]
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{text} of {_type(field['items'])}" if text == "array" else text


def document() -> str:
    """The whole document."""
    schema = json.loads(files("certwitness.events").joinpath("schema.json").read_text(encoding="utf-8"))
    return "\n".join(pages(schema)) + "\n"


if __name__ == "__main__":
    print(document(), end="")

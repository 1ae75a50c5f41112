# SPDX-License-Identifier: MIT
"""Write the man pages: `python tools/man_pages.py install/certwitness.conf DIRECTORY`.

Their texts are those of the help (click's commands), of the default configuration, of the event log's JSON Schema, of
the programs' own first comments and of certwitness.protocol.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import click

from certwitness import __version__, config, operations, protocol
from certwitness.cli import program

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = {
    "certwitness.1": "witness every certmonger renewal on a FreeIPA server",
    "certwitness.conf.5": "configuration of certwitness",
    "certwitness-events.5": "event log of certwitness",
    "certwitness-helpers.8": "programs of certwitness that certmonger and systemd run",
}


def pages(configuration: str) -> dict[str, str]:
    """The text of each page in roff, by file name; `configuration` is the text of the default configuration."""
    bodies = (_command(), _configuration(configuration), _events(), _helpers())
    return {
        name: "\n".join([*_head(name), *body, *_see_also(name)]) + "\n" for name, body in zip(PAGES, bodies)
    }  # fmt: skip


# --- roff


# What groff would show otherwise.
GLYPHS = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}


def roff(text: str) -> str:
    """`text` as roff: nothing in it is a request or an escape, `words in backticks` are bold."""
    text = re.sub(r"[-\\'^~]|[^\x00-\x7f]", lambda found: GLYPHS.get(found[0]) or f"\\[u{ord(found[0]):04X}]", text)
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text).replace("`", "\\(ga")
    return "\\&" + text if text[:1] == "." else text


def _head(name: str) -> Iterator[str]:
    title, _, section = name.rpartition(".")
    yield f'.TH "{roff(title.upper())}" "{section}" "" "certwitness {__version__}" "certwitness"'
    # A broken option or path cannot be copied. groff hyphenates again after each heading as HY says.
    yield ".nh"
    yield ".nr HY 0"
    yield ".ad l"
    yield ".SH NAME"
    yield f"{roff(title)} \\- {roff(PAGES[name])}"


def _see_also(name: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    others = [other.rpartition(".") for other in PAGES if other != name]
    yield ",\n".join([*(f".BR {roff(title)} ({section})" for title, _, section in others), ".BR getcert (1)"]).replace(
        "),", ") ,"
    )


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs separated by empty lines; indented ones, and those that click leaves as they are, keep their lines."""
    for paragraph in re.split(r"\n[ \t]*\n", text.strip("\n")):
        lines = paragraph.split("\n")
        yield ".PP"
        if lines[0].strip() == "\b" or all(line.startswith("    ") for line in lines):
            yield ".EX"
            yield from (roff(line) for line in lines if line.strip() != "\b")
            yield ".EE"
        else:
            yield roff(" ".join(line.strip() for line in lines))


def _entry(term: str, *texts: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{roff(term)}\\fR"
    yield "\n.br\n".join(roff(text) for text in texts)


# --- certwitness(1)


def _command() -> Iterator[str]:
    root = click.Context(program, info_name="certwitness", **program.context_settings)
    yield ".SH SYNOPSIS"
    yield _usage(root)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(_help(program))
    yield ".SH OPTIONS"
    yield from _options(root)
    yield from _paragraphs("`--config` and `--help` may stand after the command as well.")
    yield ".SH COMMANDS"
    for name in program.list_commands(root):
        command = program.get_command(root, name) or program
        context = click.Context(command, info_name=name, parent=root)
        yield f'.SS "certwitness {roff(name)}"'
        yield _usage(context)
        yield from _paragraphs(_help(command))
        yield from _options(context, root)
    yield ".SH FILES"
    yield from _entry(config.DEFAULT_PATH, "The configuration; may be missing.")
    yield from _entry(config.Config().events_file, "The event log, with its rotated files beside it.")
    yield from _entry(
        config.Config().state_directory, "What joins the runs of a renewal, holds, and what registration replaced."
    )


def _help(command: click.Command) -> str:
    text = (command.help or "").split("\f")[0]
    lines = text.split("\n")
    indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip() and line.strip() != "\b"]
    cut = min(indents, default=0) if lines and not lines[0].startswith(" ") else 0
    return "\n".join([lines[0], *(line[cut:] for line in lines[1:])])


def _usage(context: click.Context) -> str:
    words = [context.command_path, *context.command.collect_usage_pieces(context)]
    return f"\\fB{roff(words[0])}\\fR {roff(' '.join(words[1:]))}"


def _options(context: click.Context, beside: click.Context | None = None) -> Iterator[str]:
    """The options of a command, but for those that `beside` has, too."""
    known = (
        {option for parameter in beside.command.get_params(beside) for option in parameter.opts} if beside else set()
    )
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record and not known & {*parameter.opts}:
            yield from _entry(record[0], record[1])


# --- certwitness.conf(5)


def _configuration(text: str) -> Iterator[str]:
    introduction, sections = _parse(text)
    yield ".SH SYNOPSIS"
    yield roff(config.DEFAULT_PATH)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(introduction)
    yield from _paragraphs(
        "[section], key = value, and comments that begin a line with # or ;. An unknown section or key, a key that is "
        "set twice, and a file that others than root can write are errors: `certwitness` names them and ends; a helper "
        "works with the defaults, and says so in the journal."
    )
    yield ".SH KEYS"
    for section, keys in sections.items():
        yield f'.SS "[{roff(section)}]"'
        for key, (comment, example) in keys.items():
            kind = config.KNOWN[section].get(key) or config.KNOWN[section]["*"]
            told = "" if kind.lower() in comment.lower() else f" ({kind})"
            yield from _entry(f"{key} = {example}", f"{comment}{told}")


def _parse(text: str) -> tuple[str, dict[str, dict[str, tuple[str, str]]]]:
    """The default configuration: its first comment, and for each section and key the comment above it and what it
    is set to there. A line `# text` is a comment, a line `#key = value` a key with its default.

    Raises ValueError: a key without a comment, a line that is none of these.
    """
    introduction, section = "", ""
    comment: list[str] = []
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            comment.append(line[2:])
        elif line.startswith("["):
            introduction, comment = introduction or " ".join(comment), []
            section = line.strip("[]")
            sections[section] = {}
        elif line.startswith("#"):
            key, _, value = line[1:].partition(" = ")
            if not comment or not value:
                raise ValueError(f"default configuration: {line}: no comment above it, or no value")
            sections[section][key] = (" ".join(comment), value)
            comment = []
        elif line:
            raise ValueError(f"default configuration: {line}: neither a comment nor a section nor a key")
    return introduction, sections


# --- certwitness-events(5)


def _events() -> Iterator[str]:
    schema = json.loads(files("certwitness.events").joinpath("schema.json").read_text(encoding="utf-8"))
    yield ".SH SYNOPSIS"
    yield roff(config.Config().events_file)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(
        "One JSON object a line, ASCII only, in the order of writing. A renewal is a trace, a run a span, with ids of "
        "the sizes of W3C Trace Context. Readers ignore fields that they do not know. Rotated files beside it are read "
        "too; of packed ones only `.gz`."
    )
    yield ".SH EVERY EVENT"
    yield from _fields(schema)
    definitions = {name: one for name, one in schema["$defs"].items() if "properties" in one}
    for heading, is_event in (("EVENTS", True), ("PARTS OF EVENTS", False)):
        yield f".SH {heading}"
        for name, definition in definitions.items():
            if (definition in _alternatives(schema)) == is_event:
                yield f'.SS "{roff(name)}"'
                yield from _paragraphs(definition["description"])
                yield from _fields(definition)


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The kinds of event: what the schema chooses from."""
    return [schema["$defs"][one["$ref"].rpartition("/")[2]] for one in schema["oneOf"] if "$ref" in one]


def _fields(definition: dict[str, Any]) -> Iterator[str]:
    for name, field in definition["properties"].items():
        if "description" in field:
            always = "" if name in definition.get("required", ()) else ", not always"
            yield from _entry(name, f"({_type(field)}{always}) {field['description']}")


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return "string" if name == "digest" else name
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"])
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    kind = field["type"]
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{text} of {_type(field['items'])}" if text == "array" else text


# --- certwitness-helpers(8)


def _helpers() -> Iterator[str]:
    yield ".SH DESCRIPTION"
    for directory in ("helpers", "hooks"):
        there = sorted((CHECKOUT / directory).iterdir())
        for file in (one for one in there if not one.is_symlink()):
            names = [file.name, *(one.name for one in there if one.is_symlink() and one.resolve() == file)]
            yield f'.SS "{roff(", ".join(names))}"'
            yield from _paragraphs(_first_comment(file.read_text(encoding="utf-8")))
    yield ".SH OPERATIONS"
    yield from _paragraphs("What certmonger asks a helper (CERTMONGER_OPERATION).")
    for name, meaning in operations.OPERATIONS.items():
        yield from _entry(name, meaning)
    yield ".SH ENVIRONMENT"
    yield from _paragraphs("What certmonger tells a helper; each is set only when it is not empty.")
    for name, meaning in operations.VARIABLES.items():
        yield from _entry(name, meaning)
    yield ".SH EXIT STATUS"
    yield from _paragraphs(
        "That of the real program, unchanged. What certmonger does after a SUBMIT or POLL that ended so (0.79.17):"
    )
    for _, group in groupby(protocol.TABLE, lambda entry: (entry.name, entry.meaning)):
        entries = list(group)
        codes = f"{entries[0].code} to {entries[-1].code}" if len(entries) > 1 else str(entries[0].code)
        yield from _outcome(codes, entries[0])
    yield from _outcome("18 to 255", protocol.outcome(18))
    yield from _outcome("signal 9, and any other", protocol.outcome(signal=9))
    yield from _paragraphs("After a data operation:")
    for code in range(7):
        yield from _entry(str(code), operations.for_data_operation(code, None))


def _outcome(exit_words: str, entry: protocol.Outcome) -> Iterator[str]:
    state = f"a renewal: {entry.state_renewal}{', stuck' if entry.stuck_renewal else ''}"
    first = f"a first request: {entry.state_first}{', stuck' if entry.stuck_first else ''}"
    yield from _entry(
        f"{exit_words}: {entry.name}", entry.meaning, f"{state}; {first}", f"tries again: {entry.retry}",
        f"look at: {entry.look_at}",
    )  # fmt: skip


def _first_comment(text: str) -> str:
    """The comment at the beginning of a program, after its `#!` line and its licence."""
    comment = takewhile(lambda line: line.startswith("#"), text.split("\n")[1:])
    return "\n".join(line[2:] for line in comment if "SPDX" not in line).strip("\n")


def main(configuration: str, directory: str) -> None:
    """Write every page into `directory`, which is made if it is missing."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, text in pages(Path(configuration).read_text(encoding="utf-8")).items():
        (Path(directory) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

# SPDX-License-Identifier: MIT
"""The man pages, the default configuration and bash's completion say what the program does."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from certwitness import config, host, operations, protocol
from certwitness.cli import program
from tests.unit.harness import CHECKOUT
from tools import bash_completion, man_pages

CONFIGURATION = (CHECKOUT / "install" / "certwitness.conf").read_text(encoding="utf-8")
PAGES = man_pages.pages(CONFIGURATION)
# What our pages use of man(7) and roff.
REQUESTS = {".TH", ".nh", ".nr", ".ad", ".SH", ".SS", ".TP", ".PP", ".EX", ".EE", ".BR", ".br"}


def plain(page: str) -> str:
    """A page's text without roff's escapes."""
    text = re.sub(r"\\f[BR]", "", PAGES[page])
    for glyph, escape in man_pages.GLYPHS.items():
        text = text.replace(escape, glyph)
    return text.replace("\\(ga", "`").replace("\\&", "")


def commands() -> Iterator[tuple[str, click.Command]]:
    root = click.Context(program)
    for name in program.list_commands(root):
        command = program.get_command(root, name)
        assert command
        yield name, command


def loaded(path: Path, text: str) -> config.Config:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return config.load(str(path))


def test_commands() -> None:
    """certwitness(1) has every subcommand with every option; those that all have, once."""
    text = plain("certwitness.1")
    for name, command in commands():
        section = text.partition(f'.SS "certwitness {name}"\n')[2].partition("\n.SS ")[0]
        assert section, name
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or (parameter.opts[0] in section) != (
                parameter.opts == ["--config"]
            )
    assert text.count("\n--config FILE\n") == text.count("\n-h, --help\n") == 1


def test_configuration() -> None:
    """certwitness.conf(5) has every section and key."""
    text = plain("certwitness.conf.5")
    for section, keys in config.KNOWN.items():
        part = text.partition(f'.SS "[{section}]"\n')[2].partition("\n.SS ")[0]
        for key in keys.keys() - {"*"}:
            assert f"\n{key} = " in part


def test_default_configuration_changes_nothing(tmp_path: Path) -> None:
    """The configuration as it is installed sets nothing."""
    assert [values for values in loaded(tmp_path / "conf", CONFIGURATION).values.values() if values] == []


def test_defaults(tmp_path: Path) -> None:
    """What the default configuration shows as default is the default, on ipa.example.com of EXAMPLE.COM."""
    defaults = tmp_path / "default.conf"
    defaults.write_text("[global]\nrealm = EXAMPLE.COM\nhost = ipa.example.com\nbasedn = dc=example,dc=com\n")
    shown = loaded(tmp_path / "conf", re.sub(r"(?m)^#(?! )", "", CONFIGURATION))
    default = config.Config()
    assert {section: {*keys} - {"*"} for section, keys in config.KNOWN.items()} == {
        section: {*keys} if section != "helpers" else set() for section, keys in shown.values.items()
    }
    for name in ("events_file", "state_directory", "look_s", "landing_s", "reapply", "units"):
        assert getattr(shown, name) == getattr(default, name)
    there = host.load(default, str(defaults))
    assert dataclasses.replace(host.load(shown, str(defaults)), config=default) == there


def test_events() -> None:
    """certwitness-events(5) has every event, every part of one and every field that is described."""
    schema = json.loads((CHECKOUT / "src" / "certwitness" / "events" / "schema.json").read_text())
    text = plain("certwitness-events.5")
    for name, definition in schema["$defs"].items():
        fields = [field for field, one in definition.get("properties", {}).items() if "description" in one]
        part = text.partition(f'.SS "{name}"\n')[2].partition("\n.SS ")[0]
        assert [field for field in fields if f"\n{field}\n" not in part] == []
    assert text.index('.SS "run.ended"') < text.index(".SH PARTS OF EVENTS") < text.index('.SS "stream"')


def test_helpers() -> None:
    """certwitness-helpers(8) has every program by each of its names, every operation, variable and exit."""
    text = plain("certwitness-helpers.8")
    headings = " ".join(re.findall(r'^\.SS "(.*)"$', text, re.MULTILINE)).replace(",", "").split()
    assert sorted(headings) == sorted(
        file.name for directory in ("helpers", "hooks") for file in (CHECKOUT / directory).iterdir()
    )
    for word in (*operations.OPERATIONS, *operations.VARIABLES, *(entry.name for entry in protocol.TABLE)):
        assert word in text
    assert "SPDX" not in text


@pytest.mark.parametrize("page", PAGES)
def test_only_our_requests(page: str) -> None:
    """No line of a text is taken for a request, and no byte is anything but ASCII."""
    assert {line.split(" ")[0] for line in PAGES[page].splitlines() if line[:1] in (".", "'")} <= REQUESTS
    assert PAGES[page].isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".SH x", "\\&.SH x"),
        ("'x", "\\(aqx"),
        ("a\\fBb", "a\\efBb"),
        ("--json", "\\-\\-json"),
        ("`word`", "\\fBword\\fR"),
        ("a … b", "a \\[u2026] b"),
    ],
)
def test_roff(text: str, expected: str) -> None:
    """A text stays that text."""
    assert man_pages.roff(text) == expected


@pytest.mark.parametrize(
    "text", ["[events]\n#file = /x\n", "[events]\n# What.\n#file\n", "[events]\n# What.\nfile = /x\n"]
)
def test_default_configuration_that_cannot_be_told(text: str) -> None:
    """A key without a comment or a value, and one that is set, stop the man pages."""
    with pytest.raises(ValueError, match="default configuration"):
        man_pages.pages(text)


def test_completion() -> None:
    """Bash's completion has every subcommand, option and choice."""
    text = bash_completion.script()
    for name, command in commands():
        words = re.findall(rf"^        {name}\) words='(.*)' ;;$", text, re.MULTILINE)[0].split()
        for parameter in command.params:
            if isinstance(parameter.type, click.Choice):
                assert " ".join(parameter.type.choices) in text
            if isinstance(parameter, click.Option):
                assert {*parameter.opts} <= {*words}

# SPDX-License-Identifier: MIT
"""What the documents for people say is so: tables, examples, paths, make targets, configuration keys."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from certwitness import config
from certwitness.cli import run
from tests.unit.harness import CHECKOUT
from tools import checks_md
from tools.exit_codes_md import BEGIN, END, updated

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
# Where README puts the checkout on a server.
INSTALLED = "/opt/certwitness/"
PATH = re.compile(r"(?:helpers|src|tests|tools|docs|bench)/[\w./*-]+|(?:Makefile|LICENSE|[A-Z]+\.md|pyproject\.toml)")


def text_of(document: str) -> str:
    return (CHECKOUT / document).read_text(encoding="utf-8")


def examples(text: str) -> Iterator[tuple[str, str, int]]:
    """The command lines `$ certwitness explain …` and `$ certwitness --help` of the `console` blocks, what they print,
    and their exit status (that of the `$ echo $?` after them, else 0)."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
        for number, (command, printed) in enumerate(steps):
            if re.match(r"certwitness (?:explain|--help)\b", command):
                after = steps[number + 1] if number + 1 < len(steps) else ("", "")
                yield command, printed, int(after[1]) if after[0] == "echo $?" else 0


def paths(text: str) -> Iterator[str]:
    """Every path of the checkout that a document names: as a link, in backticks, in a block of commands."""
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            yield target
    words = (word for code in re.findall(r"`([^`\n]+)`", text) for word in code.split())
    yield from (word for word in words if PATH.fullmatch(word))
    yield from re.findall(rf"{INSTALLED}(?!\.venv)([\w./-]+)", text)


def test_exit_codes_are_current() -> None:
    """The tables of exit codes are those of certwitness.protocol; if not, run tools/exit_codes_md.py."""
    assert updated(text_of("README.md")) == text_of("README.md")


def test_checks_are_current() -> None:
    """The table of checks is that of certwitness.checks; if not, run tools/checks_md.py."""
    assert checks_md.updated(text_of("README.md")) == text_of("README.md")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_markers_are_needed(text: str) -> None:
    """Without both markers, in their order, nothing is written."""
    with pytest.raises(ValueError, match="needs the lines"):
        updated(text)


EXAMPLES = list(examples(text_of("README.md")))


@pytest.mark.parametrize(("command", "printed", "status"), EXAMPLES, ids=[command for command, _, _ in EXAMPLES])
def test_example(
    command: str, printed: str, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example prints what README shows, and exits as it says."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(shlex.split(command)[1:]) == status
    assert capsys.readouterr().out == printed


def test_examples_are_found() -> None:
    """The examples are not skipped unseen."""
    assert {"certwitness --help", "certwitness explain 3"} <= {command for command, _, _ in EXAMPLES}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths(document: str) -> None:
    """Every file and directory of the checkout that is named exists."""
    named = set(paths(text_of(document)))
    assert named
    assert [path for path in sorted(named) if not list(CHECKOUT.glob(path))] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets(document: str) -> None:
    """Every `make TARGET` exists."""
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text_of(document))) <= targets


def test_configuration() -> None:
    """README's example of a configuration is one that can be read, names every section and key, and the defaults."""
    blocks = re.findall(r"^```ini\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    for section, keys in config.KNOWN.items():
        assert f"[{section}]" in blocks[0]
        for key in keys.keys() - {"*"}:
            assert re.search(rf"^{key} = ", blocks[0], re.MULTILINE)
    defaults = config.Config()
    assert f"file = {defaults.events_file}\n" in blocks[0]
    assert f"directory = {defaults.state_directory}\n" in blocks[0]


def test_example_configuration_is_accepted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The example is accepted as it stands."""
    path = tmp_path_factory.mktemp("readme") / "certwitness.conf"
    path.touch(mode=0o600)
    path.write_text(re.findall(r"^```ini\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)[0])
    assert list(config.load(str(path)).helpers) == ["dogtag-ipa-ca-renew-agent-submit"]

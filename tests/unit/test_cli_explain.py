# SPDX-License-Identifier: MIT
"""certwitness explain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certwitness import protocol
from certwitness.cli import run
from certwitness.cli.explain import explain

GOLDEN = Path(__file__).with_name("golden")


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(["explain", "--json", *words]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert len(answers) == 1
    found: dict[str, Any] = answers[0]
    return found


@pytest.mark.parametrize("code", [*range(18), 18, 127, 255])
def test_every_code(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each exit code is explained as the table has it."""
    entry = protocol.outcome(code)
    found = answer(capsys, str(code))
    assert (found["code"], found["name"], found["next"]) == (code, entry.name, entry.retry)
    assert found["renewal"] == {"state": entry.state_renewal, "stuck": entry.stuck_renewal}
    assert run(["explain", str(code)]) == 0
    assert entry.meaning in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["exit", "status", "3"], "UNREACHABLE"),
        (["UNREACHABLE"], "UNREACHABLE"),
        (["need_rekey"], "NEED_REKEY"),
        (["signal 9"], "KILLED BY SIGKILL"),
        (["signal", "11"], "KILLED BY SIGSEGV"),
        (["SIGKILL"], "KILLED BY SIGKILL"),
        (["killed", "by", "sigterm"], "KILLED BY SIGTERM"),
        (["ca-error: Error 7 connecting to https://x: no"], "curl-7-connect"),
        (["Updated", "certificate", "not", "available"], "not-updated"),
        (["Giving up. To retry storing the certificate"], "store-given-up"),
    ],
)
def test_words(words: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, signals and messages are understood."""
    found = answer(capsys, *words)
    assert found["name"] == name
    assert found["to_do"]


@pytest.mark.parametrize("text", ["blah", "256", "-9", "signal 99", "signal 0", "SIGNOTHING", "RESERVED", "\x1b[31m"])
def test_unknown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not known is said to be so, cleanly, and is UNKNOWN."""
    assert run(["explain", "--", text]) == 3
    output = capsys.readouterr().out
    assert "Nothing is known about" in output
    assert "\x1b" not in output


def test_unknown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs nothing known is an empty list."""
    assert run(["explain", "--json", "blah"]) == 3
    assert json.loads(capsys.readouterr().out) == {"answers": []}


def test_standard_input() -> None:
    """With - each line of standard input that is known is explained; what is no text does no harm."""
    code = "from certwitness.cli import main; main(['explain', '-'])"
    lines = b"nothing\nError 60 connecting to x\n\n\xff\xfe\n\tca-error: Internal error\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, input=lines, check=True)
    assert b"server's certificate is not trusted" in done.stdout
    assert b"ended with an exception" in done.stdout
    assert done.stdout.count(b"to do") == 2
    empty = subprocess.run([sys.executable, "-c", code], capture_output=True, input=b"\n", check=False)
    assert empty.returncode == 3
    assert empty.stdout.startswith(b"Nothing was given to explain.")


def test_most_telling_message_only() -> None:
    """Of several messages that fit one line the most telling is given."""
    found = explain('Server at "https://x" replied: 1: Invalid Credential.')
    assert [entry["name"] for entry in found] == ["invalid-credential"]


@pytest.mark.parametrize("words", ["0", "2", "6", "11", "SIGKILL", "Error 7 connecting to https://x: Couldn't connect"])
def test_golden(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The explanation reads as it was approved."""
    run(["explain", words])
    name = words.partition(" connecting")[0].replace(" ", "-")
    assert capsys.readouterr().out == (GOLDEN / f"explain-{name}.txt").read_text()

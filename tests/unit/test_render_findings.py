# SPDX-License-Identifier: MIT
"""Findings as people read them."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from certwitness.findings import Finding
from certwitness.render.findings import headline, report, verify_command
from tests.unit import findings_factory as make

GOLDEN = Path(__file__).with_name("golden")


def text(findings: list[Finding], columns: int = 0) -> str:
    return "".join(f"{line.text}\n" for line in report(findings, columns))


@pytest.mark.parametrize("columns", [0, 80])
def test_golden(columns: int) -> None:
    """Findings of every kind read as they were approved, wide and wrapped."""
    top = headline(make.everything(), 13, 27, "ipa.example.test").text
    assert f"{top}\n{text(make.everything(), columns)}" == (GOLDEN / f"findings-{columns}.txt").read_text()


@pytest.mark.parametrize("columns", [0, 80])
def test_commands_can_be_copied_as_they_stand(columns: int, tmp_path: Path) -> None:
    """What is printed between the remedy and the next finding runs in a shell, here-documents and all."""
    for program in ("ldapmodify", "systemctl"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho "$0 $*"; [ {program} = systemctl ] || cat\n')
        (tmp_path / program).chmod(0o755)
    printed = text([make.USER_CERTIFICATE], columns)
    script = printed[printed.index("ldapmodify") :]
    done = subprocess.run(["sh", "-e"], input=script, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, text=True,
                          capture_output=True, check=True)  # fmt: skip
    expected = make.LDIF.split("\n", 1)[1].removesuffix("EOF")
    assert expected in done.stdout
    assert done.stdout.endswith(f"{tmp_path}/{make.RESTART}\n")


def test_commands_of_one_line_are_indented() -> None:
    """Without a here-document the commands stand out from the text."""
    assert f"\n        {make.MASTER.commands[0]}\n" in text([make.MASTER])


def test_commands_are_never_wrapped_nor_marked() -> None:
    """On the narrowest terminal a command is one line, without colour."""
    lines = {line.text: line.style for line in report([make.USER_CERTIFICATE], 40)}
    assert all(lines[line] == "" for line in make.LDIF.split("\n"))


def test_commands_are_not_repeated() -> None:
    """A second finding with the same commands points at the first."""
    printed = text([make.USER_CERTIFICATE, make.BIND])
    assert printed.count("ldapmodify") == 1
    assert "the same commands as for user-certificate above" in printed
    other = replace(make.BIND, certificate=make.AUDIT)
    assert f"as for user-certificate of {make.SUBSYSTEM} above" in text([make.USER_CERTIFICATE, other])


def test_long_commands_may_be_left_out() -> None:
    """Where there is no room for them it is said how to see them."""
    lines = [line.text for line in report([make.USER_CERTIFICATE], 0, longest=100)]
    assert lines[-1] == f"        the commands: certwitness verify '{make.SUBSYSTEM}'"
    assert any(make.MASTER.commands[0] in line.text for line in report([make.MASTER], 0, longest=100))


def test_prose_is_wrapped_to_the_terminal() -> None:
    """But for commands no line is wider than the terminal, and what follows stands under what began."""
    for line in text([replace(make.USER_CERTIFICATE, commands=())], 60).splitlines():
        assert len(line) <= 60
    assert "    breaks    pki-tomcatd will not start: 389-ds maps its\n              certificate to nobody" in text(
        [make.USER_CERTIFICATE], 60
    )


def test_a_long_name_stays_whole() -> None:
    """A DN or a path that is wider than the terminal can still be copied."""
    path = f"/etc/{'x-' * 40}/alias"
    assert path in text([replace(make.EXPIRY, found=f"in {path} there is none")], 50)


def test_one_reason_is_told_once() -> None:
    """All checks that could not look for one reason are one block, with their certificates counted."""
    findings = [make.unknown("certmap"), *(make.unknown("users", f"c{number}") for number in range(3))]
    assert text(findings) == (
        "\nUNKNOWN  directory: could not look: Can't contact LDAP server\n"
        "    not known  certmap, users (3 certificates)\n"
    )


def test_nothing_from_the_network_steers_the_terminal() -> None:
    """Control characters of every field are shown, not sent."""
    evil = "x\x1b[2J\u202ey"
    finding = Finding(evil, "ERROR", evil, evil, evil, evil, evil, evil, (f"echo {evil}\n{evil}",), evil)
    printed = text([finding, replace(finding, level="UNKNOWN"), replace(finding, level="PENDING")])
    assert not {"\x1b", "\u202e"} & set(printed)


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "h: 1 certificate, 2 checks: OK"),
        ([make.pending("cs-cfg")], "h: 1 certificate, 2 checks: PENDING (1 pending)"),
        ([make.EXPIRY, make.MASTER, make.EXPIRY], "h: 1 certificate, 2 checks: ERROR (1 error, 2 warnings)"),
    ],
)
def test_headline(findings: list[Finding], words: str) -> None:
    """The headline names the worst and counts the rest."""
    assert headline(findings, 1, 2, "h").text == words


@pytest.mark.parametrize("name", ["-x", "a b", "it's $(reboot)"])
def test_command_is_safe_to_paste(name: str) -> None:
    """Whatever a certificate is called, the command that looks at it again takes it as its name."""
    words = shlex.split(verify_command(name))
    assert words[-1] == name
    assert words[:-1] == ["certwitness", "verify", *(["--"] if name.startswith("-") else [])]

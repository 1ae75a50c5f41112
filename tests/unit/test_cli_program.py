# SPDX-License-Identifier: MIT
"""The command line as a whole: statuses, one line for every trouble, what is imported."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from certwitness import __version__
from certwitness.cli import SUBCOMMANDS, run
from tests.unit import events_factory as make

COMMAND = [sys.executable, "-c", "from certwitness.cli import main; main()"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with one issued renewal; its configuration is beside it."""
    configure(tmp_path)
    return make.write(tmp_path / "events.jsonl", make.issued())


def configure(directory: Path) -> str:
    path = directory / "certwitness.conf"
    path.write_text(f"[events]\nfile = {directory}/events.jsonl\n")
    path.chmod(0o600)
    return str(path)


def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, input=stdin, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing command"),
        (["nothing"], "No such command 'nothing'"),
        (["--nothing"], "--nothing"),
        (["renewals", "--nothing"], "--nothing"),
        (["renewals", "--since", "yesterday"], "neither like 7d"),
        (["renewals", "--state", "good"], "good"),
        (["renewals", "extra"], "extra"),
        (["tail", "-n", "many"], "many"),
        (["tail", "-n", "-3"], "-3"),
        (["explain"], "Missing argument"),
        (["status", "extra"], "extra"),
        (["verify", "--only"], "--only"),
        (["checks", "extra"], "extra"),
        (["--config"], "--config"),
        (["--config", "/nowhere/certwitness.conf", "renewals"], "/nowhere/certwitness.conf"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is UNKNOWN, with one line that says what is wrong."""
    assert run(arguments) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("certwitness: ")
    assert output.err.count("\n") == 1
    assert says in output.err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--version and --help print and succeed."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"certwitness {__version__}\n"
    for arguments in (["--help"], ["renewals", "-h"], *([name, "--help"] for name in SUBCOMMANDS)):
        assert run(arguments) == 0
        assert "Usage: certwitness" in capsys.readouterr().out


def test_help_lists_the_commands_without_loading_them() -> None:
    """The overview of the commands imports none of them."""
    code = "from certwitness.cli import run; import sys; run(['--help']); print('certwitness.cli.show' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("False\n")
    assert re.findall(r"^  (\w+)  ", output[output.index("Commands:") :], re.MULTILINE) == list(SUBCOMMANDS)


def test_config_before_and_after_the_subcommand(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--config is taken everywhere, and the one after the subcommand counts."""
    config = str(log.with_name("certwitness.conf"))
    assert run(["--config", config, "renewals"]) == 0
    assert run(["renewals", "--config", config]) == 0
    assert run(["--config", "/nowhere", "renewals", "--config", config]) == 0
    assert "issued" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["renewals", "show", "tail"])
@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_log_that_is_none(tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that is missing, a directory or a FIFO is UNKNOWN with one line that names it, and nothing hangs."""
    path = tmp_path / "events.jsonl"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    assert run([name, "--config", configure(tmp_path)]) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"certwitness: {path}: ")
    assert output.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_log_that_may_not_be_read(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log without permission is UNKNOWN with one line."""
    log.chmod(0)
    assert run(["renewals", "--config", str(log.with_name("certwitness.conf"))]) == 3
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["renewals", "show", "tail"])
def test_empty_log_names_the_next_step(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty log is UNKNOWN, and says where it is and how to register the helper."""
    make.write(tmp_path / "events.jsonl", [])
    assert run([name, "--config", configure(tmp_path)]) == 3
    output = capsys.readouterr().out
    assert str(tmp_path / "events.jsonl") in output
    assert "\n  certwitness register\n" in output


@pytest.mark.parametrize("name", ["renewals", "show", "tail"])
def test_garbage_is_told_and_the_rest_is_shown(log: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Garbage in the log is told on stderr, one line a kind, and the events around it are shown."""
    log.write_bytes(b"\x00\xff\n\x1b]0;x\n" + log.read_bytes() + b'{"torn')
    assert run([name, "--config", str(log.with_name("certwitness.conf"))]) == 0
    output = capsys.readouterr()
    assert "subsystemCert cert-pki-ca" in output.out
    assert output.err.startswith(f"certwitness: {log}")
    assert output.err.count("\n") == 1


def test_nothing_but_garbage(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log in which no event can be read is UNKNOWN."""
    log.write_bytes(os.urandom(5000).replace(b"\n", b"") + b"\n")
    assert run(["renewals", "--config", str(log.with_name("certwitness.conf"))]) == 3
    assert "not JSON" in capsys.readouterr().err


def test_closed_pipe_is_silent(log: Path) -> None:
    """A reader that goes away (| head) ends the command without a word."""
    many = [make.ended(number, trace=f"trace {number}", nickname=str(number)) for number in range(3000)]
    make.write(log, many)
    arguments = ["--config", str(log.with_name("certwitness.conf")), "renewals", "--json"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_full_disk_is_one_line(log: Path) -> None:
    """Output that cannot be written is one line, not a traceback."""
    arguments = ["--config", str(log.with_name("certwitness.conf")), "renewals"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    assert done.stderr == b"certwitness: output: No space left on device\n"


def test_interrupt_is_quiet(log: Path) -> None:
    """Ctrl-C ends a command without a traceback."""
    arguments = ["--config", str(log.with_name("certwitness.conf")), "tail", "-f", "-n", "1"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait() == 130


def test_hanging_reader_does_not_hold_up_the_end() -> None:
    """A thread that still reads a store when all is said does not keep the command from ending."""
    code = (
        "import threading, time; from certwitness.cli import main; "
        "threading.Thread(target=time.sleep, args=(30,)).start(); main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == f"certwitness {__version__}\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(log: Path, closed: str) -> None:
    """Without stdin, stdout or stderr the command ends as it does with them: no file of ours takes their place."""
    config = str(log.with_name("certwitness.conf"))
    command = [sys.executable, "-c", "from certwitness.cli import main; main()", "--config", config, "renewals"]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_streams_are_opened_again() -> None:
    """Whatever is opened later is above the standard descriptors."""
    code = "import os, sys; from certwitness.cli import _open_standard_streams as f; f(); sys.exit(os.open('/', 0))"
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, check=False).returncode == 3


def test_nickname_that_the_locale_cannot_print(log: Path) -> None:
    """A nickname outside the locale's characters is shown escaped."""
    make.write(log, [*make.issued(), make.ended(9, trace="two", nickname="Zertifikät")])
    arguments = ["--config", str(log.with_name("certwitness.conf")), "renewals"]
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=environ, check=False)
    assert b"Zertifik\\xe4t" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [["explain", "3"], ["explain", "Error 7 connecting to x"], ["renewals"], ["renewals", "--json"], ["tail"]],
)
def test_what_is_not_imported(log: Path, arguments: list[str]) -> None:
    """Off a terminal rich is not imported, and cryptography never by what only reads the log; what click itself imports
    (on CPython 3.10 subprocess, for one) is not ours."""
    code = (
        "import sys, click; before = set(sys.modules); from certwitness.cli import run; run(sys.argv[1:]); "
        "sys.stderr.write(' '.join(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    config = ["--config", str(log.with_name("certwitness.conf"))]
    done = subprocess.run([sys.executable, "-c", code, *arguments, *config], capture_output=True, text=True, check=True)
    assert not {"rich", "cryptography", "structlog", "subprocess"} & set(done.stderr.split())
    assert "certwitness" in done.stderr.split()

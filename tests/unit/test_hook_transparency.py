# SPDX-License-Identifier: MIT
"""Contract 2 for hooks: the command finds and does what it would without us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.unit.harness import CHECKOUT, SHELLS, program, python_program
from tests.unit.hook_harness import ENVIRONMENT, HookTree, Started, inspector, run

SCHEMA = json.loads((CHECKOUT / "src" / "certwitness" / "events" / "schema.json").read_text())
PHASES = ("pre-save", "post-save")


@pytest.fixture
def tree(tmp_path: Path) -> HookTree:
    return HookTree(tmp_path)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def check(events: list[dict[str, Any]]) -> None:
    for event in events:
        Draft202012Validator(SCHEMA).validate(event)


@pytest.mark.parametrize("phase", PHASES)
def test_a_command_is_run_once_and_recorded(tree: HookTree, tmp_path: Path, phase: str) -> None:
    """Both events, one span, with what the command said, which nobody else keeps."""
    command = program(tmp_path / "command", f"echo run >>{tmp_path}/runs; echo out; echo err >&2; exit 3")
    assert run(tree.hooked([command, "x"], phase)) == 3
    assert (tmp_path / "runs").read_text() == "run\n"
    started, ended = tree.events()
    check([started, ended])
    assert [started["event"], ended["event"]] == ["hook.started", "hook.ended"]
    assert (started["phase"], started["certificate"], started["trace_found"]) == (phase, "a certificate", False)
    assert started["command"] == ended["command"] == [str(command), "x"]
    assert (started["span_id"], started["trace_id"], started["pid"]) == (
        ended["span_id"], ended["trace_id"], ended["pid"],
    )  # fmt: skip
    assert (ended["exit"], ended["level"]) == ({"code": 3, "signal": None}, "error")
    assert (ended["stdout"]["text"], ended["stderr"]["text"]) == ("out\n", "err\n")
    assert "no realm" in started["observer"][0]


@pytest.mark.parametrize("ignored", [(), (signal.SIGPIPE,), (signal.SIGTERM, signal.SIGXFSZ)])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_finds_what_it_would_find(
    tmp_path: Path, phase: str, shell: str, ignored: tuple[signal.Signals, ...]
) -> None:
    """Arguments, environment, directory, umask, process group, signals, stdin closed, certmonger's pipe, no other."""
    tree = HookTree(tmp_path, shell=shell)
    env = {**ENVIRONMENT, "EMPTY": "", "LC_ALL": "C", "ODD": "line\nline\n"}
    words = ["-vv", "a b", "--cert", "x", "--", "ümlaut", "*", "--config"]

    def found(command: list[object], name: str) -> str:
        assert run(command, env, ignored=ignored) == 0
        return (tmp_path / name).read_text()

    bare = found([inspector(tmp_path), tmp_path / "bare", *words], "bare")
    assert "stdin closed" in bare
    assert "open: 9" in bare
    assert found(list(tree.hooked([inspector(tmp_path), tmp_path / "hooked", *words], phase)), "hooked") == bare


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_death_by_signal_is_death_by_the_same_signal(tree: HookTree, tmp_path: Path, number: signal.Signals) -> None:
    """And so it is recorded."""
    assert run(tree.hooked([program(tmp_path / "command", f"kill -{int(number)} $$")])) == -number
    assert tree.hook_ended()["exit"] == {"code": None, "signal": int(number)}
    check(tree.events())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_hook_reaches_the_command(tree: HookTree, tmp_path: Path, number: signal.Signals) -> None:
    """The stop of certmonger.service, for example; the command's answer to it is ours."""
    name = number.name[3:]
    command = program(
        tmp_path / "command",
        f"trap 'echo got {name}; exit 5' {name}; echo >{tmp_path}/ready x; while :; do sleep 0.05; done",
    )
    started = Started(tree.hooked([command]))
    wait_for(tmp_path / "ready")
    started.process.send_signal(number)
    assert started.end() == 5
    assert tree.hook_ended()["stdout"]["text"] == f"got {name}\n"


def test_sigint_while_looking_ends_it_without_the_command(tree: HookTree, tmp_path: Path) -> None:
    """As it would have ended the command at its first moment."""
    tree.config.write_text(tree.config.read_text() + "[hooks]\nlook_s = 30\n")
    save_look = tree.package / "save_look.py"
    save_look.write_text(f"import time\nopen({str(tmp_path / 'looks')!r}, 'w').write('x')\ntime.sleep(30)\n")
    started = Started(tree.hooked([program(tmp_path / "command", f"echo >{tmp_path}/ran x")]))
    wait_for(tmp_path / "looks")
    started.process.send_signal(signal.SIGINT)
    assert started.end() == -signal.SIGINT
    assert not (tmp_path / "ran").exists()


def test_a_killed_hook_takes_the_command_with_it(tree: HookTree, tmp_path: Path) -> None:
    """SIGKILL of what certmonger started ends what it wanted run, as without us."""
    command = python_program(
        tmp_path / "command",
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)",
    )
    started = Started(tree.hooked([command]))
    pid = int(wait_for(tmp_path / "pid"))
    started.process.kill()
    assert started.end() == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert tree.kinds() == ["hook.started"]


def test_signals_that_cannot_be_passed_on(tree: HookTree, tmp_path: Path) -> None:
    """The command has become another user's, as with sudo: it runs on, once, and what it says is kept."""
    child = tree.package / "child.py"
    text = child.read_text(encoding="utf-8")
    assert "os.kill(self.pid, number)" in text
    child.write_text(text.replace("os.kill(self.pid, number)", "raise PermissionError(1, 'not permitted')"))
    command = program(tmp_path / "command", f"echo >>{tmp_path}/pid $$; sleep 2; echo said; exit 4")
    started = Started(tree.hooked([command]))
    wait_for(tmp_path / "pid")
    for _ in range(4):
        os.kill(started.process.pid, signal.SIGTERM)
        time.sleep(0.1)
    assert started.end() == 4
    assert len((tmp_path / "pid").read_text().splitlines()) == 1
    assert tree.hook_ended()["stdout"]["text"] == "said\n"


def test_a_stop_is_not_held_up_once_the_command_has_ended(tree: HookTree, tmp_path: Path) -> None:
    """certmonger is stopped while the hook looks whether it landed: nobody waits for that."""
    record = tree.package / "save_record.py"
    text = record.read_text(encoding="utf-8")
    slow = f"import time; open({str(tmp_path / 'looking')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    changed = text.replace("    from certwitness import conclusion, host\n", f"    {slow}\n", 1)
    assert changed != text
    record.write_text(changed)
    started = Started(tree.hooked(["/bin/true"]))
    looking = int(wait_for(tmp_path / "looking"))
    os.kill(started.process.pid, signal.SIGTERM)
    try:
        assert started.end() == -signal.SIGTERM
        assert tree.kinds() == ["hook.started", "hook.ended"]
    finally:
        os.kill(looking, signal.SIGKILL)


def test_a_grandchild_that_keeps_stdout_open_is_not_waited_for(tree: HookTree, tmp_path: Path) -> None:
    """certmonger reads no hook's stdout: a service that the command leaves behind holds nothing up, if it closed
    certmonger's own pipe, which Python's subprocess does."""
    command = program(tmp_path / "command", f"(exec 9>&-; echo >{tmp_path}/pid $$; exec sleep 60) & echo early; exit 4")
    started = Started(tree.hooked([command]))
    begun = time.monotonic()
    assert started.end(50) == 4
    assert time.monotonic() - begun < 45
    assert tree.hook_ended()["stdout"]["text"] == "early\n"


def test_large_output(tree: HookTree, tmp_path: Path) -> None:
    """It is taken, however much it is, and not all of it is kept."""
    command = python_program(tmp_path / "command", "import os\nfor n in range(256): os.write(1 + n % 2, b'x' * 65536)")
    assert run(tree.hooked([command])) == 0
    ended = tree.hook_ended()
    assert ended["stdout"]["size"] == ended["stderr"]["size"] == 8 << 20
    assert len(ended["stdout"]["text"]) < 1 << 16


def test_secrets_are_not_recorded(tree: HookTree, tmp_path: Path) -> None:
    """Of the command line and of what it says."""
    command = program(tmp_path / "command", "echo '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----'")
    run(tree.hooked([command, "--pin=geheim123"]))
    text = tree.log.read_text()
    assert "c2VjcmV0" not in text
    assert "geheim123" not in text


@pytest.mark.parametrize(
    ("kind", "code"), [("missing", 127), ("not executable", 126), ("a directory", 126), ("no interpreter", 127)]
)
@pytest.mark.parametrize("phase", PHASES)
def test_a_command_that_cannot_be_executed(tree: HookTree, tmp_path: Path, kind: str, code: int, phase: str) -> None:
    """certmonger would say nothing: here it is CRITICAL, with the next step."""
    command = tmp_path / "command"
    if kind == "a directory":
        command.mkdir()
    elif kind != "missing":
        program(command, "exit 0", interpreter="/nonexistent" if kind == "no interpreter" else "/bin/sh")
    if kind == "not executable":
        command.chmod(0o644)
    assert run(tree.hooked([command], phase)) == code
    ended = tree.hook_ended()
    check(tree.events())
    assert (ended["exit"], ended["level"]) == ({"code": code, "signal": None}, "critical")
    (finding,) = ended["findings"]
    assert (finding["check"], finding["level"], finding["where"]) == ("command", "CRITICAL", str(command))
    assert "getcert start-tracking" in finding["remedy"]


def test_a_script_without_an_interpreter_line(tree: HookTree, tmp_path: Path) -> None:
    """execvp(3) gives it to /bin/sh, and so do we."""
    command = tmp_path / "command"
    command.write_text(f'echo "$@" >{tmp_path}/said; exit 3\n')
    command.chmod(0o755)
    assert run(tree.hooked([command, "a b"])) == 3
    assert (tmp_path / "said").read_text() == "a b\n"


def test_without_a_command(tree: HookTree) -> None:
    """There is nothing to run: it is witnessed, and all is well."""
    assert run(tree.hooked([])) == 0
    assert run(tree.hooked([], "pre-save", "--cert", "x")) == 0
    assert tree.kinds() == ["hook.started", "hook.ended"] * 2
    check(tree.events())
    assert tree.hook_ended()["command"] == []


@pytest.mark.parametrize("options", [("--",), ("--config", "/nonexistent", "--"), ("--cert",)])
def test_wrong_usage_costs_the_look_and_not_the_command(
    tree: HookTree, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """No --cert NAME: the certificate is null, and it is said."""
    command = program(tmp_path / "command", f"echo run >>{tmp_path}/runs")
    if options == ("--cert",):
        assert run(tree.hooked([], "post-save", "--cert")) == 0
    else:
        assert run(tree.hooked([command], "post-save", *options)) == 0
        assert (tmp_path / "runs").read_text() == "run\n"
    if "--config" not in options:
        assert tree.hook_ended()["certificate"] is None
        assert "no --cert NAME" in tree.hook_ended()["observer"][0]
        check(tree.events())


@pytest.mark.parametrize("name", ["--", "\x1b[31m\nnew line", "$(exit 9) \udcff '\""])
@pytest.mark.parametrize("witnessed", [True, False])
@pytest.mark.parametrize("shell", SHELLS)
def test_odd_names_and_arguments(tmp_path: Path, shell: str, witnessed: bool, name: str) -> None:
    """Nothing in them is taken for an option, a pattern or a command; the log has them in UTF-8."""
    tree = HookTree(tmp_path, shell=shell)
    if not witnessed:
        shutil.rmtree(tree.package)
    body = f"import os, sys\nopen({str(tmp_path / 'given')!r}, 'a').write(ascii(sys.argv[1:]))\nsys.exit(5)"
    arguments = [name, "--cert", "", "--"]
    assert run(tree.hooked([python_program(tmp_path / "it", body), *arguments], "pre-save", "--cert", name)) == 5
    assert (tmp_path / "given").read_text() == ascii(arguments)
    if witnessed:
        assert tree.hook_ended()["certificate"] == name.replace("\udcff", "\\xff")
        check(tree.events())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("phase", PHASES)
def test_the_hook_of_another_user(phase: str) -> None:
    """certmonger runs it as whoever set it: what is root's cannot be read or written, and the command runs."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as directory:
        tree = HookTree(Path(directory))
        (tree.root / ".venv").unlink()
        (tree.root / ".venv" / "bin").mkdir(parents=True)
        (tree.root / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")  # ours may be in root's home
        for path in (tree.root, Path(directory)):
            subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
        tree.log.parent.chmod(0o700)
        tree.config.chmod(0o600)
        command = program(Path(directory) / "command", f'[ "$(id -u)" = {nobody} ] && exit 7')
        body = f"import os, sys\nos.setgroups([])\nos.setgid({nobody})\nos.setuid({nobody})\n"
        become = python_program(Path(directory) / "become", f"{body}os.execv(sys.argv[1], sys.argv[1:])")
        assert run([become, *tree.hooked([command], phase)]) == 7
        assert not tree.log.exists()


def test_killed_at_random_moments(tree: HookTree, tmp_path: Path) -> None:
    """SIGKILL again and again: the command ran once or not at all, and no line of the log is torn."""
    command = program(tmp_path / "command", f"echo run >>{tmp_path}/runs")
    begun = time.monotonic()
    assert run(tree.hooked([command])) == 0
    whole = time.monotonic() - begun
    for number in range(24):
        (tmp_path / "runs").write_text("")
        started = Started(tree.hooked([command]))
        time.sleep(whole * number / 20)
        started.process.kill()
        assert started.end() in (0, -signal.SIGKILL)
        assert (tmp_path / "runs").read_text() in ("", "run\n")
    (tmp_path / "runs").write_text("")
    assert run(tree.hooked([command])) == 0
    assert (tmp_path / "runs").read_text() == "run\n"
    time.sleep(0.5)  # what writes beside a killed hook
    check(tree.events())
    assert tree.log.read_bytes().endswith(b"\n")


def test_two_at_once(tree: HookTree, tmp_path: Path) -> None:
    """They share nothing."""
    command = program(tmp_path / "command", "sleep 0.3; exit $1")
    both = [Started(tree.hooked([command, number], phase)) for number, phase in enumerate(PHASES)]
    assert [started.end() for started in both] == [0, 1]
    spans = [event["span_id"] for event in tree.events()]
    assert sorted(map(spans.count, spans)) == [2, 2, 2, 2]


def test_the_pipe_ends_with_the_hook(tree: HookTree, tmp_path: Path) -> None:
    """While the command runs certmonger sees no end of file, though the command closed all it had."""
    command = program(tmp_path / "command", f"exec 9>&-; echo >{tmp_path}/ready x; sleep 0.5")
    started = Started(tree.hooked([command]))
    wait_for(tmp_path / "ready")
    os.set_blocking(started._reading, False)
    with pytest.raises(BlockingIOError):
        os.read(started._reading, 1)
    os.set_blocking(started._reading, True)
    assert started.end() == 0

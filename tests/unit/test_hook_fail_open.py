# SPDX-License-Identifier: MIT
"""Contract 3 for hooks: whatever of ours is missing, breaks or hangs, the command runs, once."""

from __future__ import annotations

import ast
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.harness import CHECKOUT, INTERPRETER_DAMAGES, SHELLS, program
from tests.unit.hook_harness import ENVIRONMENT, HookTree, Started, inspector, run
from tests.unit.test_fail_open import Raise, dev_log, fill

__all__ = ["dev_log"]

PHASES = ("pre-save", "post-save")
PARENT = ["hook", "save", "beside", "child", "relay", "config", "run"]
BESIDE = ["save_look", "save_record", "conclusion", "evidence", "events/log", "errors", "journal"]


@pytest.fixture
def tree(tmp_path: Path) -> HookTree:
    return HookTree(tmp_path)


@pytest.fixture
def command(tmp_path: Path) -> Path:
    return program(tmp_path / "command", f'echo "run $*" >>{tmp_path}/runs; exit 3')


def runs_once(tree: HookTree, command: Path, phase: str = "post-save", *options: str) -> None:
    assert run(tree.hooked([command, "a b"], phase, *options)) == 3
    assert (command.parent / "runs").read_text() == "run a b\n"
    (command.parent / "runs").unlink()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("options", [(), ("--cert", "x"), ("--",), ("--cert", "--", "--")])
def test_package_removed(tree: HookTree, command: Path, phase: str, options: tuple[str, ...]) -> None:
    """However the hook is written, the stub finds the command in it as the program does."""
    runs_once(tree, command, phase, *options)
    shutil.rmtree(tree.package)
    runs_once(tree, command, phase, *options)
    assert run(tree.hooked([], phase, "--cert", "x")) == 0


@pytest.mark.parametrize("module", [*PARENT, *BESIDE])
@pytest.mark.parametrize("damage", ["removed", "garbage"])
def test_module_damaged(tree: HookTree, command: Path, module: str, damage: str) -> None:
    """Any one module that is gone or cannot be compiled costs the record and nothing else."""
    tree.damage_module(module, damage)
    runs_once(tree, command)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("damage", INTERPRETER_DAMAGES)
def test_interpreter_damaged(tmp_path: Path, command: Path, shell: str, damage: str) -> None:
    """Without an interpreter that can be executed the command runs unwitnessed."""
    tree = HookTree(tmp_path, shell=shell)
    tree.damage_interpreter(damage)
    for phase in PHASES:
        runs_once(tree, command, phase)
        assert run(tree.hooked([tmp_path / "missing"], phase)) == 127


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("damage", ["package", "interpreter", "module", "beside"])
@pytest.mark.parametrize("ignored", [(), (signal.SIGPIPE, signal.SIGXFSZ)])
def test_unwitnessed_run_finds_what_it_would_find(
    tmp_path: Path, shell: str, damage: str, ignored: tuple[signal.Signals, ...]
) -> None:
    """Descriptors, signals and environment are certmonger's, but for what bash exports at every exec (SHLVL, _)."""
    tree = HookTree(tmp_path, shell=shell)
    env = {**ENVIRONMENT, "ODD": "line\nline\n"}

    def found(words: list[str], name: str) -> str:
        assert run([*words], env, ignored=ignored) == 0
        return (tmp_path / name).read_text().replace(", (b'SHLVL', b'0')", "")

    bare = found([str(inspector(tmp_path)), str(tmp_path / "bare")], "bare")
    if damage == "package":
        shutil.rmtree(tree.package)
    elif damage == "interpreter":
        (tree.root / ".venv").unlink()
    else:
        (tree.package / ("hook.py" if damage == "module" else "beside.py")).write_text("def (")
    hooked = found(tree.hooked([inspector(tmp_path), tmp_path / "hooked"]), "hooked")
    assert hooked == bare


def statements(*modules: str) -> Iterator[tuple[str, int]]:
    """Every statement inside a function of these modules."""
    for module in modules:
        source = (CHECKOUT / "src/certwitness" / f"{module}.py").read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                    if isinstance(node, ast.stmt) and node is not function and not is_docstring:
                        yield module, node.lineno


@pytest.mark.parametrize("kind", ["runs", "not executable"])
def test_injected_exceptions(tree: HookTree, command: Path, kind: str) -> None:
    """An exception at any statement of what runs in the hook itself: the command runs once, and ends as it does."""
    if kind == "not executable":
        command.chmod(0o644)
    wrong = []
    for module, line in sorted(set(statements("hook", "save", "beside"))):
        path = tree.package / f"{module}.py"
        original = path.read_text(encoding="utf-8")
        path.write_text(ast.unparse(ast.fix_missing_locations(Raise(line).visit(ast.parse(original)))))
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            cached.unlink()
        status = run(tree.hooked([command, "a b"]))
        runs = command.parent / "runs"
        ran = runs.read_text() if runs.exists() else ""
        # 127 is how a child ends that could not become the command, where we do not get to ask why.
        if (status, ran) not in ([(3, "run a b\n")] if kind == "runs" else [(126, ""), (127, "")]):
            wrong.append((module, line, original.splitlines()[line - 1].strip(), status, ran))
        runs.unlink(missing_ok=True)
        path.write_text(original, encoding="utf-8")
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("where", ["save_look", "save_record"])
@pytest.mark.parametrize("how", ["hangs", "is killed", "pours"])
def test_a_process_beside_us_that_fails(tree: HookTree, command: Path, where: str, how: str) -> None:
    """A look and a record that hang, die or do not stop talking hold nothing up for longer than their time."""
    tree.config.write_text(tree.config.read_text() + "[hooks]\nlook_s = 1\nlanding_s = 1\n")
    for name, limit, less in (
        ("hook.py", "STARTED_S, ENDED_S = 2, 20", "STARTED_S, ENDED_S = 1, 1"),
        ("save.py", "CONCLUSION_S = 30", "CONCLUSION_S = 0"),
    ):
        text = (tree.package / name).read_text()
        assert limit in text
        (tree.package / name).write_text(text.replace(limit, less))
    body = {"hangs": "time.sleep(600)", "is killed": "os.kill(os.getpid(), 9)", "pours": "pour(args[-1])"}[how]
    lines = [
        "import os, time, _signal",
        "def pour(send):",
        "    while True: send({'trace_id': '0' * 32, 'x': 'x' * 9999})",
        f"def act(*args):\n    open({str(command.parent / 'pids')!r}, 'a').write('%d ' % os.getpid())\n    {body}",
        "look = write_end = act",
        "write_started = lambda save: act()" if how != "pours" else "write_started = lambda save: None",
    ]
    (tree.package / f"{where}.py").write_text("\n".join(lines) + "\n")
    try:
        runs_once(tree, command)
    finally:
        for pid in (command.parent / "pids").read_text().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
    if where == "save_look":
        (started,) = [event for event in tree.events() if event["event"] == "hook.started"]
        assert started["observer"][0].startswith("the look before the command: ")


def test_what_hangs_beside_us_does_not_hold_certmonger_up(tree: HookTree, command: Path) -> None:
    """It has none of our descriptors: with the hook's end certmonger's pipe ends, though the record still hangs."""
    hook = tree.package / "hook.py"
    hook.write_text(hook.read_text().replace("STARTED_S, ENDED_S = 2, 20", "STARTED_S, ENDED_S = 1, 1"))
    pid_file = command.parent / "pid"
    (tree.package / "save_record.py").write_text(
        "import os, time\ndef write_started(save):\n"
        f"    open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    )
    started = Started(tree.hooked([command]))
    assert started.end(30) == 3
    pid = int(pid_file.read_text())
    try:
        held = sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
    finally:
        os.kill(pid, signal.SIGKILL)
    assert held[:3] == ["/dev/null"] * 3
    assert len(held) == 4
    assert held[3].startswith("pipe:")


class TestLog:
    """An event log that cannot be written costs the record and nothing else."""

    def test_directory_writable_by_others(self, tree: HookTree, command: Path) -> None:
        """Nothing is written there."""
        tree.log.parent.chmod(0o777)
        runs_once(tree, command)
        assert not tree.log.exists()

    def test_log_is_a_fifo(self, tree: HookTree, command: Path) -> None:
        """Nobody reads it, and nobody waits."""
        os.mkfifo(tree.log, 0o600)
        runs_once(tree, command)

    def test_log_full(self, tree: HookTree, command: Path) -> None:
        """The next event stands on a line of its own."""
        runs_once(tree, command)
        tree.log.write_bytes(b"x" * 4000 + b"\n")
        limited = program(command.parent / "limited", "ulimit -f 4; trap '' XFSZ; exec \"$@\"")
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        assert run([limited, *tree.hooked([command, "a b"])], ignored=(signal.SIGXFSZ,)) == 3
        assert (command.parent / "runs").read_text() == "run a b\n"
        (command.parent / "runs").unlink()
        runs_once(tree, command)
        lines = tree.log.read_bytes().split(b"\n")
        assert b'"hook.ended"' in lines[-2]
        assert lines[-1] == b""


@pytest.mark.parametrize("broken", ["log", "package", "interpreter", "configuration"])
def test_one_report_a_run(
    tree: HookTree,
    command: Path,
    dev_log: tuple[socket.socket, list[str]],
    broken: str,
) -> None:
    """A failure of ours is told to the journal, once."""
    if broken == "log":
        tree.log.mkdir()
    elif broken == "package":
        shutil.rmtree(tree.package)
    elif broken == "interpreter":
        (tree.root / ".venv").unlink()
    else:
        tree.config.chmod(0o666)
    listener, prefix = dev_log
    assert run([*prefix, *tree.hooked([command])]) == 3
    listener.settimeout(5)
    lines = [listener.recv(4096).decode()]
    listener.settimeout(0.5)
    try:
        lines.append(listener.recv(4096).decode())
    except socket.timeout:
        pass
    assert len(lines) == 1, lines
    assert "post-save" in lines[0]


def test_a_journal_that_takes_nothing(
    tree: HookTree,
    command: Path,
    dev_log: tuple[socket.socket, list[str]],
) -> None:
    """It costs the report, and no time: not even where the stub is alone."""
    shutil.rmtree(tree.package)
    stub = tree.hooks / "pre-save"
    stub.write_text(stub.read_text().replace("longest=5 ", "longest=300 "))
    listener, prefix = dev_log
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        fill(filler, listener.getsockname())
    begun = time.monotonic()
    assert run([*prefix, *tree.hooked([command])]) == 3
    assert time.monotonic() - begun < 100  # the stub gives the journal three times that here


def test_nothing_of_ours_in_the_environment_of_sh(tree: HookTree, tmp_path: Path) -> None:
    """What the program tells the stub does not reach the command."""
    (tree.package / "hook.py").write_text("raise OSError('x')")
    command = program(tmp_path / "command", f"env >{tmp_path}/env")
    assert run(tree.hooked([command])) == 0
    assert "CERTWITNESS" not in (tmp_path / "env").read_text()

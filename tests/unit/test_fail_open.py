# SPDX-License-Identifier: MIT
"""Contract 3: whatever of ours is missing or breaks, certmonger gets exactly what the real helper gives."""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certwitness.submit import HELPER_DIRECTORIES
from tests.unit.harness import (
    CHECKOUT,
    INTERPRETER_DAMAGES,
    SHELLS,
    Tree,
    environment,
    program,
    python_program,
    result,
    run,
)

EXPECTED = (3, b"Error 7 connecting to https://ca: Couldn't connect to server.\n", b"word\n")
NAME = "dogtag-ipa-ca-renew-agent-submit"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def child(tmp_path: Path) -> Path:
    return program(
        tmp_path / "child",
        f"echo run >>{tmp_path}/runs\n"
        'echo word >&2; echo "Error 7 connecting to https://ca: Couldn\'t connect to server."; exit 3',
    )


@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
class TestLog:
    """An event log that cannot be written costs the record and nothing else."""

    def gives_the_same(self, tree: Tree, child: Path, operation: str) -> None:
        assert result(run(tree.wrapped([child]), environment(operation))) == EXPECTED

    def test_directory_missing(self, tree: Tree, child: Path, operation: str) -> None:
        """The directory is made again, 0700."""
        tree.log.parent.rmdir()
        self.gives_the_same(tree, child, operation)
        assert tree.log.parent.stat().st_mode & 0o777 == 0o700
        assert tree.ended()["exit"]["code"] == 3

    def test_parent_of_the_directory_missing(self, tree: Tree, child: Path, operation: str) -> None:
        """More than the directory itself is not made."""
        tree.configure(log=tree.root / "no" / "such" / "events.jsonl")
        self.gives_the_same(tree, child, operation)
        assert not (tree.root / "no").exists()

    def test_directory_writable_by_others(self, tree: Tree, child: Path, operation: str) -> None:
        """Nothing is written where others could have put a link."""
        tree.log.parent.chmod(0o777)
        self.gives_the_same(tree, child, operation)
        assert not tree.log.exists()

    def test_log_is_a_directory(self, tree: Tree, child: Path, operation: str) -> None:
        """A directory in the place of the log is left alone."""
        tree.log.mkdir()
        self.gives_the_same(tree, child, operation)

    def test_log_is_a_link(self, tree: Tree, child: Path, operation: str) -> None:
        """A symbolic link is not followed."""
        target = tree.root / "target"
        target.write_bytes(b"")
        tree.log.symlink_to(target)
        self.gives_the_same(tree, child, operation)
        assert target.read_bytes() == b""

    def test_directory_is_a_link(self, tree: Tree, child: Path, operation: str) -> None:
        """A symbolic link in the place of the directory is not followed either."""
        target = tree.root / "target"
        target.mkdir(0o700)
        tree.log.parent.rmdir()
        tree.log.parent.symlink_to(target)
        self.gives_the_same(tree, child, operation)
        assert list(target.iterdir()) == []

    def test_log_is_a_fifo(self, tree: Tree, child: Path, operation: str) -> None:
        """A FIFO that nobody reads does not hold the renewal up."""
        os.mkfifo(tree.log, 0o600)
        self.gives_the_same(tree, child, operation)

    def test_log_full(self, tree: Tree, child: Path, operation: str) -> None:
        """A write that stops half-way tears one event, and the next one stands on a line of its own."""
        self.gives_the_same(tree, child, operation)  # compiles our modules, which the limit below would truncate
        tree.log.write_bytes(b"x" * 4000 + b"\n")
        tree.log.chmod(0o600)

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4100, 4100))

        process = subprocess.run(
            tree.wrapped([child]),
            env=environment(operation),
            capture_output=True,
            preexec_fn=limited,
            check=False,
        )
        assert result(process) == EXPECTED
        torn = tree.log.read_bytes()
        assert len(torn) == 4100
        self.gives_the_same(tree, child, operation)
        lines = tree.log.read_bytes().split(b"\n")
        assert lines[1] == torn.split(b"\n")[1]
        assert b'"run.ended"' in lines[-2]


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (None, 0o600),
        ("[events\nfile", 0o600),
        ("[events]\nfile = relative\n", 0o600),
        ("\udcff", 0o600),
        ("[events]\nfiles = /x\n", 0o600),
        ("", 0o666),
    ],
)
def test_bad_configuration(tree: Tree, child: Path, content: str | None, mode: int) -> None:
    """A configuration that is missing, malformed or writable by others is ignored."""
    if content is None:
        tree.config.unlink()
    else:
        tree.config.write_bytes(content.encode("utf-8", "surrogateescape"))
        tree.config.chmod(mode)
    assert result(run(tree.wrapped([child]), environment("SUBMIT"))) == EXPECTED


@pytest.mark.parametrize("library", ["structlog", "cryptography"])
def test_library_not_importable(tree: Tree, child: Path, library: str) -> None:
    """Without the libraries that decoding needs the helper's result is the same."""
    (tree.package.parent / f"{library}.py").write_text("raise ImportError('gone')\n")
    assert result(run(tree.wrapped([child]), environment("SUBMIT"))) == EXPECTED


def drop_in(tree: Tree, child: Path) -> list[str]:
    """The helper under the name of a real one, which the configuration says is `child`."""
    tree.configure(helpers={NAME: child})
    return [str(tree.helpers / NAME), "--config", str(tree.config), "-vv"]


def both(tree: Tree, child: Path) -> list[list[str]]:
    return [tree.wrapped([child]), drop_in(tree, child)]


def test_package_removed(tree: Tree, child: Path) -> None:
    """Without the package the real helper runs unwitnessed, under both kinds of name."""
    shutil.rmtree(tree.package)
    for command in both(tree, child):
        assert result(run(command, environment("SUBMIT"))) == EXPECTED


@pytest.mark.parametrize("module", ["submit", "child", "relay", "config", "errors", "journal", "recorder", "record",
                                    "protocol", "events/log", "events/traces", "outputs"])  # fmt: skip
@pytest.mark.parametrize("damage", ["removed", "garbage"])
def test_module_damaged(tree: Tree, child: Path, module: str, damage: str) -> None:
    """Any one module that is gone or cannot be compiled costs the record and nothing else."""
    tree.damage_module(module, damage)
    for command in both(tree, child):
        assert result(run(command, environment("SUBMIT"))) == EXPECTED


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("damage", INTERPRETER_DAMAGES)
def test_interpreter_damaged(tmp_path: Path, child: Path, shell: str, damage: str) -> None:
    """Without an interpreter that can be executed the real helper runs unwitnessed, under both kinds of name."""
    tree = Tree(tmp_path, shell=shell)
    tree.damage_interpreter(damage)
    for command in both(tree, child):
        process = run(command, environment("SUBMIT"))
        assert (process.returncode, process.stdout) == EXPECTED[:2]
        assert process.stderr.endswith(EXPECTED[2])


@pytest.mark.parametrize("shell", SHELLS)
def test_real_helper_damaged_as_well(tmp_path: Path, shell: str) -> None:
    """A real helper that cannot be executed is tried again in 30 seconds, with our interpreter or without."""
    tree = Tree(tmp_path, shell=shell)
    broken = program(tmp_path / "broken", "exit 0", interpreter="/nonexistent")
    for command in both(tree, broken):
        process = run(command, environment("POLL", CERTMONGER_CA_COOKIE="kept"))
        assert (process.returncode, process.stdout) == (5, b"30\nkept\n")
    (tree.root / ".venv").unlink()
    for command in both(tree, broken):
        process = run(command, environment("POLL", CERTMONGER_CA_COOKIE="kept"))
        assert (process.returncode, process.stdout) == (5, b"30\nkept\n")


def test_unwitnessed_run_reads_the_configuration_as_we_do(tree: Tree, child: Path) -> None:
    """Indented keys, and blanks at their ends, are no obstacle to the shell fallback."""
    command = drop_in(tree, child)
    tree.config.write_text(f"[events]\n file = /x\n  [helpers]\n\t{NAME}  =\t{child} \t\n[state]\n{NAME} = /no\n")
    (tree.root / ".venv").unlink()
    assert result(run(command, environment("SUBMIT"))) == EXPECTED


def test_unwitnessed_run_ignores_a_configuration_that_others_can_write(tree: Tree, child: Path) -> None:
    """The shell fallback takes no path from a file that somebody else may have written."""
    command = drop_in(tree, child)
    tree.config.chmod(0o666)
    (tree.root / ".venv").unlink()
    process = run(command, environment("SUBMIT", CERTMONGER_CA_COOKIE="kept"))
    assert process.stdout != EXPECTED[1]


@pytest.mark.parametrize("interpreter", ["python", "gone"])
@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("SUBMIT", (5, b"30\n\n")),
        ("POLL", (5, b"30\nstate=approve&requestId=7\n")),
        (None, (5, b"30\n\n")),
        ("IDENTIFY", (6, b"")),
    ],
)
def test_real_helper_missing(
    tree: Tree, tmp_path: Path, operation: str | None, expected: tuple[int, bytes], interpreter: str
) -> None:
    """Where the real helper cannot be executed, certmonger is told to try again in 30 seconds with the same cookie."""
    if interpreter == "gone":
        (tree.root / ".venv").unlink()
    more = {"CERTMONGER_CA_COOKIE": "state=approve&requestId=7"} if operation == "POLL" else {}
    for command in (tree.wrapped([tmp_path / "missing"]), drop_in(tree, tmp_path / "missing")):
        process = run(command, environment(operation, **more))
        assert (process.returncode, process.stdout) == expected
        assert process.stderr.startswith(b"certwitness: cannot run ")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "command", [["echo", "-e", "x"], ["kill", "--version"], ["child", "x"], ["nothing-of-that-name"]]
)
def test_unwitnessed_run_of_a_command_that_path_knows(tmp_path: Path, shell: str, command: list[str]) -> None:
    """A bare name is looked up as execvp(3) does it: it is never a builtin of the shell, though it may be named so."""
    tree = Tree(tmp_path, shell=shell)
    program(tmp_path / "child", 'echo "ran $*"')
    program(tmp_path / "echo", 'echo "the file $*"; exit 4')
    env = {**environment("SUBMIT"), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    witnessed = run(tree.wrapped(command), env)
    (tree.root / ".venv").unlink()
    unwitnessed = run(tree.wrapped(command), env)
    assert (unwitnessed.returncode, unwitnessed.stdout) == (witnessed.returncode, witnessed.stdout)
    assert witnessed.returncode in (0, 4, 5)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("damage", ["package", "interpreter", "module"])
@pytest.mark.parametrize("ignored", [(), (signal.SIGPIPE, signal.SIGXFSZ)])
def test_unwitnessed_run_finds_what_it_would_find(
    tmp_path: Path, shell: str, damage: str, ignored: tuple[signal.Signals, ...]
) -> None:
    """Signals and environment are certmonger's, but for what bash exports at every exec (SHLVL, _)."""
    tree = Tree(tmp_path, shell=shell)
    child = program(  # in the shell, as Python ignores SIGPIPE and SIGXFSZ itself
        tmp_path / "child",
        "tr '\\0' '\\n' </proc/$$/environ | grep -v -e ^SHLVL= -e ^_= | sort; grep SigIgn /proc/$$/status",
    )
    if damage == "package":
        shutil.rmtree(tree.package)
    elif damage == "interpreter":
        (tree.root / ".venv").unlink()
    else:
        (tree.package / "submit.py").write_text("def (")
    outer = python_program(
        tmp_path / "outer",
        f"import os, signal, sys\nfor n in (13, 25): signal.signal(n, int(n in {[int(n) for n in ignored]}))\n"
        "os.execve(sys.argv[1], sys.argv[1:], dict(os.environ))",
    )
    env = environment("SUBMIT", CERTMONGER_CSR="line\nline\n")
    bare = run([outer, child], env).stdout
    assert b"\nSigIgn" in bare
    assert run([outer, *tree.wrapped([child])], env).stdout == bare


@pytest.mark.parametrize("interpreter", ["python", "gone"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_without_an_interpreter_line(tmp_path: Path, shell: str, interpreter: str) -> None:
    """certmonger runs it by /bin/sh (execvp does), and so does everything of ours."""
    tree = Tree(tmp_path, shell=shell)
    child = tmp_path / "child"
    child.write_text('echo word >&2; echo "Error 7 connecting to https://ca: Couldn\'t connect to server."; exit 3\n')
    child.chmod(0o755)
    if interpreter == "gone":
        (tree.root / ".venv").unlink()
    else:
        (tree.package / "child.py").write_text(
            (tree.package / "child.py")
            .read_text()
            .replace("        try:\n", "        raise OSError(1)\n        try:\n", 1)
        )
    for command in both(tree, child):
        assert result(run(command, environment("SUBMIT"))) == EXPECTED


def test_the_shell_looks_where_we_look() -> None:
    """The directories of the real helpers stand in two places, in the same order."""
    stub = (CHECKOUT / "helpers" / "submit").read_text(encoding="utf-8")
    assert tuple(re.findall(r'"(/[^"$]*)/\$name"', stub)) == HELPER_DIRECTORIES


class TestRescue:
    """Where the relay cannot even be imported, the bytes are passed on as it would."""

    @pytest.fixture(autouse=True)
    def no_relay(self, tree: Tree) -> None:
        (tree.package / "relay.py").write_text("def (")

    def test_a_reader_that_went_away_is_noticed_by_the_child(self, tree: Tree, tmp_path: Path) -> None:
        """Where nobody reads stdout any more, the child gets SIGPIPE as it would without us."""
        child = program(tmp_path / "child", "while echo line; do :; done")
        with subprocess.Popen(tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            process.stdout.close()
            try:
                assert process.wait(10) == -signal.SIGPIPE
            finally:
                process.kill()

    def test_stderr_after_stdout(self, tree: Tree, tmp_path: Path) -> None:
        """What the child says on stderr when it has closed stdout arrives, and it need not wait for a reader."""
        child = program(
            tmp_path / "child", "echo out; exec >&-; sleep 0.2; head -c 200000 /dev/zero >&2; sleep 0.1; exit 3"
        )
        assert result(run(tree.wrapped([child]), timeout=10)) == (3, b"out\n", bytes(200000))

    def test_stderr_of_a_grandchild(self, tree: Tree, tmp_path: Path) -> None:
        """A grandchild that keeps only stderr open is not waited for; one that keeps stdout open is."""
        child = program(
            tmp_path / "child", "(sleep 20) >/dev/null & (sleep 0.5; echo late) & echo early; echo word >&2"
        )
        with subprocess.Popen(
            tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.wait(10) == 0
            assert process.stdout
            assert process.stderr
            assert process.stdout.read() == b"early\nlate\n"
            assert os.read(process.stderr.fileno(), 100) == b"word\n"
            process.stderr.close()


def test_never_itself(tree: Tree) -> None:
    """A configuration that names our own helper as the real one does not make it run itself for ever."""
    for command in (drop_in(tree, tree.helpers / NAME), drop_in(tree, tree.helpers / "submit")):
        assert run(command, environment("SUBMIT"), timeout=20).returncode == 5
    (tree.root / ".venv").unlink()
    assert run(drop_in(tree, tree.helpers / NAME), environment("SUBMIT"), timeout=20).returncode == 5


def test_no_descriptors_left(tree: Tree, child: Path) -> None:
    """However few descriptors there are, the result is the bare child's, as long as the bare child can run."""
    outcomes = set()
    occupy = python_program(
        tree.root / "occupy",
        "import os, resource, sys\n"
        "n, used = map(int, sys.argv[1:3])\n"
        "for _ in range(used): os.set_inheritable(os.open('/dev/null', 0), True)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))\n"
        "os.execv(sys.argv[3], sys.argv[3:])",
    )
    for limit, used in [(limit, used) for limit in range(8, 32) for used in range(0, 7, 3)]:
        arguments = [occupy, str(limit), str(used)]
        if result(run([*arguments, child], environment("SUBMIT"))) == EXPECTED:
            wrapped = run([*arguments, *tree.wrapped([child])], environment("SUBMIT"))
            assert (wrapped.returncode, wrapped.stdout) == EXPECTED[:2], (limit, used, wrapped.stderr)
            outcomes.add(tree.log.exists())
            tree.log.unlink(missing_ok=True)
    assert outcomes == {True, False}, "neither with enough descriptors nor with too few"


HOT = ["submit", "child", "relay", "config", "journal", "recorder", "run", "record", "events/log", "events/traces"]


def statements() -> Iterator[tuple[str, int]]:
    """Every statement inside a function of the modules that a run passes through."""
    for module in HOT:
        source = (CHECKOUT / "src/certwitness" / f"{module}.py").read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                    if isinstance(node, ast.stmt) and node is not function and not is_docstring:
                        yield module, node.lineno


class Raise(ast.NodeTransformer):
    """Puts `raise RuntimeError` before the statement that starts at `line`."""

    def __init__(self, line: int) -> None:
        self.line = line

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                for index, statement in enumerate(body):
                    if isinstance(statement, ast.stmt) and statement.lineno == self.line:
                        body.insert(index, ast.parse("raise RuntimeError('injected')").body[0])
                        break
        return node


@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
def test_injected_exceptions(tree: Tree, child: Path, operation: str, injected: Callable[[str, int], None]) -> None:
    """A bug at any statement of ours leaves the helper's result as it is, and the helper is run once."""
    wrong = []
    sources = {module: (CHECKOUT / "src/certwitness" / f"{module}.py").read_text().splitlines() for module in HOT}
    originals = {module: (tree.package / f"{module}.py").read_text(encoding="utf-8") for module in HOT}
    for module, line in sorted(set(statements())):
        injected(module, line)
        runs = child.parent / "runs"
        runs.unlink(missing_ok=True)
        process = run(tree.wrapped([child]), environment(operation))
        if result(process) != EXPECTED or runs.read_text() != "run\n":
            wrong.append((module, line, sources[module][line - 1].strip(), process.returncode, process.stderr[-300:]))
        (tree.package / f"{module}.py").write_text(originals[module], encoding="utf-8")
    assert not wrong, "\n".join(map(str, wrong))


@pytest.fixture
def injected(tree: Tree) -> Callable[[str, int], None]:
    def inject(module: str, line: int) -> None:
        path = tree.package / f"{module}.py"
        code = ast.unparse(ast.fix_missing_locations(Raise(line).visit(ast.parse(path.read_text(encoding="utf-8")))))
        assert "injected" in code
        path.write_text(code, encoding="utf-8")
        # Python takes a cached module of the same second and size for this one.
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            cached.unlink()

    return inject


@pytest.fixture
def dev_log(tmp_path: Path) -> Iterator[tuple[socket.socket, list[str]]]:
    """A /dev/log of our own: the command prefix puts it into a private mount namespace."""
    if os.geteuid() or os.path.exists("/dev/log") or not shutil.which("unshare"):
        pytest.skip("needs root and a machine without a /dev/log of its own")
    directory = tmp_path / "dev"
    directory.mkdir()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(directory / "log"))
    listener.setblocking(False)
    script = program(
        tmp_path / "private",
        f"cd {directory}; for d in null zero urandom; do touch $d; mount --bind /dev/$d $d; done\n"
        f'mount --bind {directory} /dev || exit 99; cd /; exec "$@"',
    )
    yield listener, ["unshare", "-m", "--propagation", "private", str(script)]
    listener.close()


def fill(filler: socket.socket, path: str) -> None:
    """Send until the socket at `path` takes nothing any more."""
    while True:
        try:
            filler.sendto(b"x", path)
        except BlockingIOError:
            return


@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
def test_a_journal_that_takes_nothing(
    tree: Tree, child: Path, dev_log: tuple[socket.socket, list[str]], operation: str
) -> None:
    """A /dev/log that nobody drains costs the report and no time."""
    tree.log.mkdir()
    listener, prefix = dev_log
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        fill(filler, listener.getsockname())
    assert result(run([*prefix, *tree.wrapped([child])], environment(operation), timeout=8)) == EXPECTED


@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
@pytest.mark.parametrize("broken", ["log", "package", "interpreter", "configuration"])
def test_one_report_a_run(
    tree: Tree, child: Path, dev_log: tuple[socket.socket, list[str]], operation: str, broken: str
) -> None:
    """A failure of ours is told to the journal, once a run."""
    if broken == "log":
        tree.log.mkdir()
    elif broken == "package":
        shutil.rmtree(tree.package)
    elif broken == "interpreter":
        (tree.root / ".venv").unlink()
    else:
        tree.config.chmod(0o666)
    listener, prefix = dev_log
    process = run([*prefix, *tree.wrapped([child])], environment(operation))
    assert result(process) == EXPECTED
    listener.settimeout(5)  # the stub reports in the background
    lines = [listener.recv(4096).decode()]
    listener.settimeout(0.3)
    try:
        lines.append(listener.recv(4096).decode())
    except socket.timeout:
        pass
    assert len(lines) == 1, lines
    assert "certwitness" in lines[0]

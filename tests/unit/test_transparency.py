# SPDX-License-Identifier: MIT
"""Contract 2: certmonger cannot tell the helper behind certwitness from the bare one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.harness import SHELLS, Tree, environment, program, python_program, result, run

OPERATIONS = [
    "SUBMIT", "POLL", "IDENTIFY", "FETCH-ROOTS", "GET-SUPPORTED-TEMPLATES", "GET-DEFAULT-TEMPLATE",
    "GET-NEW-REQUEST-REQUIREMENTS", "GET-RENEW-REQUEST-REQUIREMENTS", "FETCH-SCEP-CA-CAPS",
    "FETCH-SCEP-CA-CERTS", None, "", "NO-SUCH-OPERATION",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("transparency"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_passed_through_and_recorded(tree: Tree, tmp_path: Path, operation: str | None) -> None:
    """Whatever certmonger asks for, the child is asked, and the run stands in the log."""
    child = program(tmp_path / "child", 'echo "asked for [$CERTMONGER_OPERATION]"; echo word >&2; exit 6')
    env = environment(operation)
    assert result(run(tree.wrapped([child]), env)) == result(run([child], env))
    event = tree.ended()
    assert event["operation"] == (operation or "")
    assert event["exit"]["code"] == 6
    assert event["stderr"]["text"] == "word\n"
    assert (event["level"] == "debug") == (operation not in ("SUBMIT", "POLL", None, ""))


INSPECT = """
import os, sys
print(sys.argv[1:], os.getcwd(), oct(os.umask(0)), os.getpgid(0) == os.getpgid(os.getppid()))
print(sorted(os.environb.items()))
for line in open("/proc/self/status"):
    if line.startswith(("Sig", "Uid", "Groups")) and not line.startswith("SigQ"):
        print(line)
for descriptor in range(64):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    print("open:", descriptor)
"""


@pytest.mark.parametrize("ignored", [(), (signal.SIGPIPE,), (signal.SIGTERM, signal.SIGXFSZ)])
@pytest.mark.parametrize("close_stdin", [True, False])
@pytest.mark.parametrize("shell", SHELLS)
def test_the_child_finds_what_it_would_find(
    tmp_path: Path, ignored: tuple[signal.Signals, ...], close_stdin: bool, shell: str
) -> None:
    """argv, environment, directory, umask, signal dispositions and descriptors reach the child unchanged."""
    tree = Tree(tmp_path, shell=shell)
    child = python_program(tmp_path / "child", INSPECT)
    env = environment("SUBMIT", CERTMONGER_CSR="line\nline\n", EMPTY="", LC_ALL="C")
    arguments = [child, "-vv", "", "a b", "--config", "x", "ümlaut", "*"]

    def under(command: list[str]) -> tuple[int, bytes, bytes]:
        outer = python_program(
            tmp_path / "outer",
            f"import os, signal, sys\nfor n in {[int(n) for n in ignored]}: signal.signal(n, signal.SIG_IGN)\n"
            f"for n in {[int(n) for n in (signal.SIGPIPE, signal.SIGXFSZ) if n not in ignored]}:"
            " signal.signal(n, signal.SIG_DFL)\n"
            "os.execve(sys.argv[1], sys.argv[1:], dict(os.environ))",
        )
        return result(run([outer, *command], env, close_stdin=close_stdin, cwd=tmp_path))

    bare = under([str(word) for word in arguments])
    assert b"SigIgn" in bare[1]
    assert under(tree.wrapped(arguments)) == bare


@pytest.mark.parametrize("ignored", [(), (signal.SIGPIPE,), (signal.SIGTERM, signal.SIGXFSZ, signal.SIGQUIT)])
def test_ignored_signals(tree: Tree, tmp_path: Path, ignored: tuple[signal.Signals, ...]) -> None:
    """The child ignores what certmonger ignores and nothing else; a shell shows it, as Python ignores some itself."""
    child = program(tmp_path / "child", "grep SigIgn /proc/$$/status")
    mask = sum(1 << number - 1 for number in ignored)
    outer = python_program(
        tmp_path / "outer",
        f"import os, signal, sys\nfor n in (2, 3, 13, 15, 25): signal.signal(n, {mask} >> n - 1 & 1)\n"
        "os.execve(sys.argv[1], sys.argv[1:], dict(os.environ))",
    )
    _, shown = run([outer, *tree.wrapped([child])]).stdout.split()
    # Above 31 are those of the C library and the real-time signals, which whoever runs the tests may ignore.
    assert int(shown, 16) & ((1 << 31) - 1) == mask


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGPIPE, signal.SIGSEGV])
def test_death_by_signal_is_death_by_the_same_signal(tree: Tree, tmp_path: Path, number: signal.Signals) -> None:
    """certmonger sees WIFSIGNALED with the child's signal, and what was printed before."""
    child = program(tmp_path / "child", f"echo before; kill -{int(number)} $$")
    wrapped = run(tree.wrapped([child]), environment("SUBMIT"))
    assert result(wrapped) == (-number, b"before\n", b"")
    assert tree.ended()["exit"] == {**tree.ended()["exit"], "code": None, "signal": int(number)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_the_wrapper_reaches_the_child(tree: Tree, tmp_path: Path, number: signal.Signals) -> None:
    """These signals are passed on, and the child's answer to them is what certmonger gets."""
    name = number.name[3:]
    child = program(
        tmp_path / "child", f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done"
    )
    with subprocess.Popen(tree.wrapped([child]), env=environment("SUBMIT"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == b"got %s\n" % name.encode()
    assert process.returncode == 5


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace, which puts the signal between call and result")
@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
def test_a_signal_at_the_end_of_the_child(tree: Tree, tmp_path: Path, operation: str) -> None:
    """A SIGTERM that comes while the child's end is taken does not make the helper run a second time."""
    child = program(tmp_path / "child", f"echo run >>{tmp_path}/runs; echo out; exit 3")
    strace = ["strace", "-o", "/dev/null", "-e", "trace=wait4", "-e", "inject=wait4:signal=SIGTERM:when=1"]
    process = run([*strace, *tree.wrapped([child])], environment(operation))
    assert (process.returncode, process.stdout) == (3, b"out\n")
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_killed_wrapper_takes_the_child_with_it(tree: Tree, tmp_path: Path) -> None:
    """After SIGKILL of the wrapper no helper goes on holding the renewal lock, and the log says what happened."""
    child = python_program(
        tmp_path / "child",
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print('ready', flush=True)\ntime.sleep(60)",
    )
    with subprocess.Popen(tree.wrapped([child]), env=environment("SUBMIT"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _alive(pid) or not tree.events()[-1].get("killed"):
        assert time.monotonic() < deadline, tree.events()[-1]
        time.sleep(0.02)
    assert "certwitness was killed" in tree.ended()["observer"][0]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_large_output_on_both_streams(tree: Tree, tmp_path: Path) -> None:
    """64 MiB on stdout and stderr at once arrive whole, and memory does not grow with them."""
    child = python_program(
        tmp_path / "child",
        "import os, threading\n"
        "def pour(fd):\n    for _ in range(1024): \n        b = b'x' * 65536\n"
        "        while b: b = b[os.write(fd, b):]\n"
        "t = threading.Thread(target=pour, args=(2,)); t.start(); pour(1); t.join()",
    )
    measured = program(
        tmp_path / "measured",
        f'exec {Path(__import__("sys").executable).resolve()} -IS -c "'
        "import os, resource, sys\n"
        "pid = os.fork()\n"
        "pid or os.execv(sys.argv[1], sys.argv[1:])\n"
        "_, status, usage = os.wait4(pid, 0)\n"
        f"open('{tmp_path / 'peak'}', 'w').write(str(usage.ru_maxrss))\n"
        'os._exit(os.WEXITSTATUS(status))" "$@"',
    )
    process = run([measured, *tree.wrapped([child])], environment("IDENTIFY"))
    assert (process.returncode, len(process.stdout), len(process.stderr)) == (0, 64 << 20, 64 << 20)
    assert set(process.stdout) == set(process.stderr) == {ord("x")}
    assert int((tmp_path / "peak").read_text()) < 64 << 10
    stdout = tree.ended()["stdout"]
    assert stdout["size"] == 64 << 20
    assert stdout["size"] == len(stdout["text"]) + stdout["omitted"] + len(stdout["tail"])
    assert len(stdout["sha256"]) == 64


def test_a_slow_reader_of_stderr_does_not_hold_up_stdout(tree: Tree, tmp_path: Path) -> None:
    """While nobody reads stderr, what the child says on stdout gets through."""
    child = python_program(
        tmp_path / "child",
        "import os, threading\n"
        "t = threading.Thread(target=lambda: os.write(2, b'e' * 300000)); t.start()\n"
        "import time; time.sleep(0.2); os.write(1, b'out'); t.join()",
    )
    with subprocess.Popen(
        tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(3) == b"out"
        assert len(process.stderr.read()) == 300000
    assert process.returncode == 0


def test_stdout_is_waited_for_and_stderr_is_not(tree: Tree, tmp_path: Path) -> None:
    """A grandchild that keeps stdout open is waited for, as certmonger would; one that keeps stderr open is not."""
    stdout = program(tmp_path / "stdout", "(sleep 0.6; echo late) 2>/dev/null & echo early")
    stderr = program(tmp_path / "stderr", "(sleep 20; echo late >&2) >/dev/null & echo early; echo word >&2")
    assert run(tree.wrapped([stdout])).stdout == b"early\nlate\n"
    process = subprocess.Popen(
        tree.wrapped([stderr]), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        started = time.monotonic()
        process.wait(15)
        assert time.monotonic() - started < 10
        assert process.stdout
        assert process.stderr
        assert process.stdout.read() == b"early\n"
        assert os.read(process.stderr.fileno(), 100) == b"word\n"
        process.stderr.close()


def test_a_stderr_pipe_of_the_childs_own_size(tree: Tree, tmp_path: Path) -> None:
    """All that was in the stderr pipe when the child ended arrives, however much it holds."""
    child = python_program(
        tmp_path / "child",
        "import fcntl, os, time\nfcntl.fcntl(2, 1031, 1 << 20)  # F_SETPIPE_SZ\n"
        f"os.write(2, b'e' * 700000)\nopen({str(tmp_path / 'written')!r}, 'w')",
    )
    with subprocess.Popen(
        tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        deadline = time.monotonic() + 20
        while not (tmp_path / "written").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)  # the child has ended, and what it wrote waits for us
        assert len(process.stderr.read()) == 700000
    assert tree.ended()["stderr"]["size"] == 700000


def test_a_grandchild_that_never_stops_writing_to_stderr(tree: Tree, tmp_path: Path) -> None:
    """A grandchild that pours into stderr does not hold the end up."""
    child = program(tmp_path / "child", "(exec yes >&2) >/dev/null & sleep 0.2; echo $!")
    process = subprocess.Popen(
        tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout
        pid = int(process.stdout.readline())
        try:
            assert process.wait(10) == 0
        finally:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # of SIGPIPE, as nobody reads it any more
                pass


def test_a_script_without_an_interpreter_line(tree: Tree, tmp_path: Path) -> None:
    """certmonger 0.79.17 runs it by /bin/sh (execvp does), and so do we, also where it is found by PATH."""
    child = tmp_path / "child"
    child.write_text('tr "\\0" " " </proc/$$/cmdline; echo "$0" "$@"; exit 3\n')
    child.chmod(0o755)
    process = run(tree.wrapped([child, "a b", "-c"]), environment("SUBMIT"))
    assert (process.returncode, process.stdout) == (3, f"/bin/sh {child} a b -c {child} a b -c\n".encode())
    process = run(tree.wrapped(["child"]), {**environment("SUBMIT"), "PATH": f"/usr/bin:{tmp_path}"})
    assert (process.returncode, process.stdout) == (3, f"/bin/sh {child} {child}\n".encode())


def test_the_wrapper_keeps_stdout_open_until_it_ends(tree: Tree, tmp_path: Path) -> None:
    """A child that closes stdout and works on does not freeze certmonger, which waits in waitpid after end of file."""
    child = program(tmp_path / "child", "echo done; exec >&-; sleep 0.5; exit 3")
    with subprocess.Popen(tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read()
        process.wait(0.4)
    assert process.returncode == 3


def test_a_reader_that_went_away_is_noticed_by_the_child(tree: Tree, tmp_path: Path) -> None:
    """Where nobody reads stdout any more, the child gets SIGPIPE as it would without us."""
    child = program(tmp_path / "child", "while echo line; do :; done")
    with subprocess.Popen(tree.wrapped([child]), env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == -signal.SIGPIPE


CHILD = """
import os, sys
os.write(1, open(sys.argv[1], "rb").read())
os.write(2, open(sys.argv[2], "rb").read())
code = int(sys.argv[3])
os.kill(os.getpid(), -code) if code < 0 else os._exit(code)
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stdout=st.binary(max_size=9000),
    stderr=st.binary(max_size=9000),
    code=st.integers(0, 255) | st.sampled_from([-1, -3, -6, -9, -11, -15]),
    operation=st.sampled_from(OPERATIONS),
)
def test_random_bytes_codes_and_signals(
    tree: Tree, tmp_path: Path, stdout: bytes, stderr: bytes, code: int, operation: str | None
) -> None:
    """Any bytes on both streams with any end come back as from the bare child."""
    child = python_program(tmp_path / "child", CHILD)
    (tmp_path / "1").write_bytes(stdout)
    (tmp_path / "2").write_bytes(stderr)
    command = [child, tmp_path / "1", tmp_path / "2", str(code)]
    env = environment(operation)
    assert result(run(tree.wrapped(command), env)) == result(run(command, env)) == (code, stdout, stderr)
    assert tree.ended()["stdout"]["size"] == len(stdout)

# SPDX-License-Identifier: MIT
"""certwitness gate and release, and hooks/start-gate where nothing can be reached or something of ours is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from certwitness import cli, config, holds, start_gate
from certwitness.cli import release
from certwitness.errors import CertwitnessError
from tests.unit import empty_host
from tests.unit.findings_factory import NOW, USER_CERTIFICATE
from tests.unit.harness import CHECKOUT, SHELLS

PKI = "pki-tomcatd"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The configuration of an IPA server on which nothing can be reached, with a state directory."""
    found = empty_host.configure(tmp_path)
    with open(found, "a", encoding="ascii") as file:
        file.write(f"[state]\ndirectory = {tmp_path}/state\n")
    return found


def certwitness(*arguments: str) -> int:
    return cli.run(list(arguments))


def held(path: str) -> holds.Hold | None:
    return holds.read(config.load(path), PKI)[0]


def hold(path: str) -> None:
    holds.place(config.load(path), PKI, [USER_CERTIFICATE], "start-gate", "a" * 32, NOW)


class TestGate:
    """The subcommand."""

    def test_unseen_is_allowed(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Where nothing can be reached every service is allowed, and the answer says what was not seen."""
        assert certwitness("gate", "--all", "--config", path) == 0
        printed = capsys.readouterr().out
        for service in (PKI, "httpd", "dirsrv", "krb5kdc"):
            assert f"{service}: ALLOW: not everything was seen" in printed

    def test_json(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        """JSON has one verdict a service."""
        assert certwitness("gate", "httpd", "krb5kdc.service", "--json", "--config", path) == 0
        found = json.loads(capsys.readouterr().out)
        assert [(one["service"], one["verdict"]) for one in found] == [("httpd", "allow"), ("krb5kdc", "allow")]
        assert found[0]["unseen"]

    @pytest.mark.parametrize("arguments", [[], ["named"], ["--all", "httpd"], ["dirsrv@other"]])
    def test_wrong_usage(self, path: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """Wrong usage is 3, and one line."""
        assert certwitness("gate", *arguments, "--config", path) == 3
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_what_cannot_be_seen_ends_no_hold(self, path: str) -> None:
        """A hold stays while nobody can know whether its cause is gone; asking places none."""
        hold(path)
        assert certwitness("gate", PKI, "--config", path) == 0
        assert held(path) is not None


class TestRelease:
    """The subcommand."""

    def test_release(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Who and why is kept, cleaned, with the end of the release."""
        hold(path)
        assert certwitness("release", PKI, "--reason", "  a \x1b[2J\n vendor ", "--for", "2h", "--config", path) == 0
        found = held(path)
        assert found is not None
        assert found.release is not None
        assert found.release.reason == "a \\x1b[2J vendor"
        assert found.release.until > found.release.at
        assert "start it with: systemctl start pki-tomcatd@pki-tomcat" in capsys.readouterr().out

    def test_without_a_hold(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        """It can be released before anything held it, which the answer says."""
        assert certwitness("release", "pki-tomcatd@pki-tomcat", "--reason", "first", "--config", path) == 0
        assert "(nothing held it)" in capsys.readouterr().out
        found = held(path)
        assert found is not None
        assert found.release is not None
        assert found.release.until == ""

    @pytest.mark.parametrize(
        "arguments",
        [[PKI], [PKI, "--reason", " "], ["named", "--reason", "x"], [PKI, "--reason", "x", "--for", "soon"],
         [PKI, "--reason", "x", "--for", "31d"], [PKI, "--reason", "x", "--for", "0h"],
         ["pki-tomcatd@other", "--reason", "x"]],
    )  # fmt: skip
    def test_wrong_usage(self, path: str, arguments: list[str]) -> None:
        """Wrong usage is 3, and releases nothing."""
        assert certwitness("release", *arguments, "--config", path) == 3
        assert held(path) is None

    def test_time(self) -> None:
        """Minutes, hours and days."""
        assert [release.seconds(text) for text in ("30m", "2h", "1d")] == [1800, 7200, 86400]
        with pytest.raises(CertwitnessError):
            release.seconds("2h30m")

    def test_who(self) -> None:
        """The user behind sudo is named, cleaned."""
        me = release.who({})
        assert me
        expected = f"al\\x1bice ({me} by sudo)" if os.getuid() == 0 else me
        assert release.who({"SUDO_USER": "al\x1bice"}) == expected


class Stub:
    """hooks/start-gate in a copy of the checkout that a test can break."""

    def __init__(self, directory: Path, shell: str) -> None:
        self.package = directory / "src" / "certwitness"
        shutil.copytree(CHECKOUT / "src" / "certwitness", self.package)
        self.hook = directory / "hooks" / "start-gate"
        self.hook.parent.mkdir()
        text = (CHECKOUT / "hooks" / "start-gate").read_text()
        self.hook.write_text(text.replace("#!/bin/sh", f"#!{shell}", 1))
        self.hook.chmod(0o755)
        self.venv = directory / ".venv"
        self.venv.symlink_to(sys.prefix)

    def run(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run([self.hook, *arguments], text=True, check=False, timeout=30, **how)

    def blocks(self) -> None:
        """Have every start judged as proven to fail, in words that not every locale has."""
        with open(self.package / "judging.py", "a", encoding="utf-8") as file:
            file.write(PROOF)

    def judges(self, body: str) -> None:
        """Put another main into start_gate.py."""
        (self.package / "start_gate.py").write_text(f"import os, sys, time\ndef main(arguments):\n    {body}\n")

    def allows(self, *arguments: str) -> str:
        """It ends with 0 and says something on stderr."""
        done = self.run(*arguments)
        assert done.returncode == 0, done
        assert "the start is allowed" in done.stderr
        return done.stderr


PROOF = """
def verdicts(evidence, services, held, limit_s):
    from certwitness.findings import CRITICAL, Finding
    finding = Finding("pin", CRITICAL, found="\u2026\u20ac", breaks="it does not start \u2026")
    return [gate.Verdict(services[0].name, False, (finding,))]
"""


@pytest.fixture(params=SHELLS)
def stub(request: pytest.FixtureRequest, tmp_path: Path) -> Stub:
    return Stub(tmp_path / "tree", request.param)


class TestStub:
    """hooks/start-gate allows whatever of ours is missing or breaks."""

    def test_block(self, stub: Stub) -> None:
        """Only a block ends with 2."""
        stub.judges("print('reason'); sys.stdout.flush(); os._exit(42)")
        done = stub.run(PKI)
        assert (done.returncode, done.stdout, done.stderr) == (2, "reason\n", "")

    @pytest.mark.parametrize("broken", [True, False])
    def test_nobody_takes_what_it_says(self, stub: Stub, path: str, broken: bool) -> None:
        """A full pipe on both streams: the verdict comes all the same, a block as a block."""
        if broken:
            stub.venv.unlink()
        else:
            stub.blocks()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        try:
            done = stub.run("--config", path, PKI, stdout=writing, stderr=writing)
        finally:
            os.close(reading)
            os.close(writing)
        assert done.returncode == (0 if broken else 2)

    def test_nothing_can_be_reached(self, stub: Stub, path: str) -> None:
        """A host on which nothing answers is allowed, and told."""
        done = stub.run("--config", path, PKI)
        assert (done.returncode, done.stderr) == (0, "")
        assert "ALLOW: not everything was seen" in done.stdout

    @pytest.mark.parametrize("nobody_reads", [signal.SIG_DFL, signal.SIG_IGN])
    @pytest.mark.parametrize("missing", [True, False])
    def test_nobody_reads(self, stub: Stub, path: str, nobody_reads: signal.Handlers, missing: bool) -> None:
        """With the journal gone, and SIGPIPE as systemd or anybody else has it, it allows and blocks as before."""
        reading, writing = os.pipe()
        os.close(reading)
        stub.blocks()
        if missing:
            stub.venv.unlink()
        try:
            done = stub.run("--config", path, PKI, stdout=writing, stderr=writing,
                            preexec_fn=lambda: signal.signal(signal.SIGPIPE, nobody_reads),
                            restore_signals=False)  # fmt: skip
        finally:
            os.close(writing)
        assert done.returncode == (0 if missing else 2)

    @pytest.mark.parametrize("how", ["full", "closed", "another locale"])
    def test_what_cannot_be_printed(self, stub: Stub, path: str, how: str) -> None:
        """A proof blocks though its reason cannot be printed."""
        stub.blocks()
        if how == "full":
            with open("/dev/full", "w") as full:
                assert stub.run("--config", path, PKI, stdout=full, stderr=full).returncode == 2
        elif how == "closed":
            command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", str(stub.hook), "--config", path, PKI]
            assert subprocess.run(command, check=False, timeout=30).returncode == 2
        else:
            # No other locale may be installed here: so it is its encoding alone.
            module = stub.package / "start_gate.py"
            latin = "import sys\nsys.stdout.reconfigure(encoding='latin-1')\n"
            module.write_text(module.read_text().replace("import sys\n", latin, 1))
            done = stub.run("--config", path, PKI)
            assert (done.returncode, done.stderr) == (2, "")
            assert "BLOCK: it does not start \\u2026" in done.stdout
        assert held(path) is not None

    @pytest.mark.parametrize("trouble", ["raise MemoryError", "__import__('time').sleep(60)"])
    @pytest.mark.parametrize("where", ["holds.place", "events.log.append", "render.verdict.journal"])
    def test_trouble_after_the_verdict(self, stub: Stub, path: str, where: str, trouble: str) -> None:
        """A proof blocks, and soon, though the disk hangs that it is kept on, or something breaks there."""
        stub.blocks()
        module, _, name = where.rpartition(".")
        with open(stub.package / f"{module.replace('.', '/')}.py", "a", encoding="ascii") as file:
            file.write(f"\ndef {name}(*_, **__):\n    {trouble}\n")
        assert stub.run("--config", path, PKI).returncode == 2

    def test_no_interpreter(self, stub: Stub) -> None:
        """No virtual environment."""
        stub.venv.unlink()
        stub.allows(PKI)

    def test_no_package(self, stub: Stub) -> None:
        """No package."""
        shutil.rmtree(stub.package)
        stub.allows(PKI)

    @pytest.mark.parametrize("module", ["start_gate", "gate", "evidence", "judging", "host", "checks/pki"])
    def test_broken_module(self, stub: Stub, path: str, module: str) -> None:
        """A module that does not compile."""
        (stub.package / f"{module}.py").write_text("this is no Python\n")
        stub.allows("--config", path, PKI)

    @pytest.mark.parametrize("status", [1, 2, 3, 124, 126, 127, 255])
    def test_any_other_status(self, stub: Stub, status: int) -> None:
        """Whatever else the interpreter ends with."""
        stub.judges(f"os._exit({status})")
        stub.allows(PKI)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
    def test_killed(self, stub: Stub, number: int) -> None:
        """An interpreter that is killed."""
        stub.judges(f"os.kill(os.getpid(), {int(number)}); time.sleep(5)")
        stub.allows(PKI)

    def test_stub_terminated(self, stub: Stub) -> None:
        """The shell itself, terminated: nothing is left behind, and the start is allowed."""
        stub.judges("print(os.getpid(), flush=True); time.sleep(60)")
        process = subprocess.Popen([stub.hook, PKI], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        _, words = process.communicate(timeout=15)
        assert process.returncode == 0
        assert "the start is allowed" in words

    def test_hanging_interpreter(self, stub: Stub) -> None:
        """An interpreter that hangs is ended long before systemd's own limit."""
        stub.hook.write_text(stub.hook.read_text().replace("longest=10", "longest=1"))
        stub.judges("time.sleep(60)")
        for environment in (dict(os.environ), {}, {"PATH": "/nonexistent"}):
            done = stub.run(PKI, env=environment)
            assert done.returncode == 0
            assert "it ended with status 137; the start is allowed" in done.stderr

    @pytest.mark.parametrize("text", ["[events\n", "[ipa]\nnonsense = 1\n", "\xff"])
    def test_bad_configuration(self, stub: Stub, tmp_path: Path, text: str) -> None:
        """A configuration that cannot be used."""
        bad = tmp_path / "bad.conf"
        bad.write_text(text, encoding="latin-1")
        bad.chmod(0o600)
        assert "bad.conf" in stub.allows("--config", str(bad), PKI)

    @pytest.mark.parametrize("arguments", [[], ["named"], [PKI, "httpd"]])
    def test_wrong_usage(self, stub: Stub, arguments: list[str]) -> None:
        """Wrong usage in a drop-in stops no service."""
        stub.allows(*arguments)

    def test_another_instance(self, stub: Stub, path: str) -> None:
        """Another instance of 389-ds is not ours to judge."""
        done = stub.run("--config", path, "dirsrv@other")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_not_root(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is not root cannot read the stores: nothing is judged."""
    assert start_gate.run(["--config", path, PKI], uid=1000) == start_gate.ALLOWED
    assert "must run as root" in capsys.readouterr().err

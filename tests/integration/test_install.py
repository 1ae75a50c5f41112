# SPDX-License-Identifier: MIT
"""What `make install`, `make uninstall` and the RPM put on a machine and leave there, and that it works from there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from certwitness.cli import SUBCOMMANDS
from certwitness.events.reader import Problems, read_log
from tests.integration.conftest import PATIENCE_S, REPOSITORY, Event
from tests.lab.world import CA_NAME, World
from tests.unit.harness import environment, run

PYTHON = "/usr/bin/python3"
LOGROTATE = "/usr/sbin/logrotate"
WRAPPED = "dogtag-ipa-renew-agent-submit"
IDENTITY = b"Dogtag (IPA,renew,agent) (certmonger "
UNITS = ("certwitness-watch.service", "certwitness-verify.service", "certwitness-registration.service")
TIMERS = ("certwitness-verify.timer", "certwitness-registration.timer")
GATED = ("dirsrv@", "httpd", "krb5kdc", "pki-tomcatd@pki-tomcat")
PAGES = ("man1/certwitness.1", "man5/certwitness.conf.5", "man5/certwitness-events.5", "man8/certwitness-helpers.8")
# Beside the package: each file, as a PREFIX of usr has it.
FILES = {
    "etc/certwitness/certwitness.conf": 0o600,
    "etc/logrotate.d/certwitness": 0o644,
    "usr/bin/certwitness": 0o755,
    **dict.fromkeys((f"usr/libexec/certwitness/{name}" for name in ("submit", "pre-save", "start-gate")), 0o755),
    **dict.fromkeys((f"usr/lib/systemd/system/{unit}" for unit in (*UNITS, *TIMERS)), 0o644),
    "usr/lib/systemd/system/certwitness-.service.d/hardened.conf": 0o644,
    **dict.fromkeys((f"usr/share/certwitness/systemd/{u}.service.d/certwitness-gate.conf" for u in GATED), 0o644),
    "usr/lib/tmpfiles.d/certwitness.conf": 0o644,
    **dict.fromkeys((f"usr/share/man/{page}" for page in PAGES), 0o644),
    "usr/share/bash-completion/completions/certwitness": 0o644,
    **dict.fromkeys((f"usr/share/doc/certwitness/{name}" for name in ("LICENSE", "README.md", "CHANGELOG.md")), 0o644),
    **dict.fromkeys((f"usr/share/doc/certwitness/docs/{f.name}" for f in REPOSITORY.glob("docs/*.md")), 0o644),
}
LINKS = {
    "usr/libexec/certwitness/post-save": "pre-save",
    **dict.fromkeys((f"usr/libexec/certwitness/{n}" for n in (WRAPPED, f"{CA_NAME}-submit", "ipa-submit")), "submit"),
}
# What stays after the removal.
LEFT = {"etc/certwitness/certwitness.conf", "etc/logrotate.d/certwitness"}


def make(
    *words: str, checkout: Path = REPOSITORY, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`make WORDS`, as from an administrator's shell with a tight umask."""
    known = {"PATH": os.environ["PATH"], **(env or {})}
    command = ["make", "--silent", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=known, umask=0o077)


def places(root: Path) -> list[str]:
    """The variables of an installation all of which is below `root`."""
    return [f"PREFIX={root}/usr", f"SYSCONFDIR={root}/etc", f"LOCALSTATEDIR={root}/var", f"PYTHON={PYTHON}"]


def install(root: Path, *more: str) -> None:
    done = make("install", *places(root), *more)
    assert (done.returncode, done.stderr) == (0, "")


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, for tests that change nothing in it but the log."""
    root = tmp_path_factory.mktemp("installed")
    install(root)
    return root


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a package: with PREFIX=/usr below a DESTDIR that has a blank."""
    destdir = tmp_path_factory.mktemp("packaged") / "the root"
    done = make("install", f"DESTDIR={destdir}", "PREFIX=/usr", f"PYTHON={PYTHON}")
    assert (done.returncode, done.stderr) == (0, "")
    return destdir


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(ldap=False) as world:
        yield world


# --- what is where


def test_files(installed: Path) -> None:
    """Exactly these files are installed, with these modes, whatever the umask."""
    package = {
        f"usr/lib/certwitness/{path.relative_to(REPOSITORY / 'src')}"
        for path in (REPOSITORY / "src" / "certwitness").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {path for path in files(installed) if not path.endswith(".pyc") and not path.endswith("/events.jsonl")}
    assert found == {*FILES, *LINKS, *package}
    for path, mode in {**FILES, **dict.fromkeys(package, 0o644)}.items():
        assert (installed / path).stat().st_mode & 0o7777 == mode, path
    for path, target in LINKS.items():
        assert os.readlink(installed / path) == target
    for directory in (path for path in installed.rglob("*") if path.is_dir()):
        private = directory in (installed / "var/log/certwitness", installed / "var/lib/certwitness")
        assert directory.stat().st_mode & 0o777 == (0o700 if private else 0o755), directory


def test_compiled(installed: Path) -> None:
    """Every module is compiled, and its traceback would name where it is."""
    package = installed / "usr" / "lib" / "certwitness" / "certwitness"
    for module in package.rglob("*.py"):
        compiled = list((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"))
        assert len(compiled) == 1, module
        assert str(module).encode() in compiled[0].read_bytes()


def test_nothing_names_another_place(installed: Path) -> None:
    """Nothing that runs names the checkout, or a place of ours outside the installation."""
    outside = re.compile(
        rf"{REPOSITORY}|\.venv|(?<!{installed})/(?:usr/(?:bin|lib|libexec|share)|etc|var/log|var/lib)/certwitness\b"
    )
    for path in files(installed):
        file = installed / path
        if path.endswith(".pyc") or "/doc/" in path or file.is_symlink():
            continue
        found = outside.search(file.read_text(encoding="utf-8").replace("\\-", "-"))
        assert found is None, (path, found)


def test_destdir(packaged: Path) -> None:
    """DESTDIR comes before every path and is named nowhere."""
    found = {path for path in files(packaged) if not path.startswith("usr/lib/certwitness/")}
    assert found == {*FILES, *LINKS}
    for path in files(packaged):
        assert str(packaged).encode() not in (packaged / path).read_bytes()
    stub = (packaged / "usr/libexec/certwitness/submit").read_text()
    assert f"python={PYTHON}\npackage=/usr/lib/certwitness\n" in stub


def test_destdir_uninstalled(packaged: Path, tmp_path: Path) -> None:
    """What is below a DESTDIR is removed there, and certmonger is not asked."""
    shutil.copytree(packaged, tmp_path / "the root", symlinks=True)
    done = make("uninstall", f"DESTDIR={tmp_path}/the root", "PREFIX=/usr")
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "the root") == LEFT


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("PREFIX=usr", "not an absolute path"),
        ("PREFIX=/x/../usr", ".. cannot be"),
        ("LIBEXECDIR=/x y", "only letters"),
        ("DESTDIR=x", "not an absolute path"),
        ("PYTHON=/nonexistent/python3", "cannot be run"),
    ],
)
def test_refused(variable: str, says: str) -> None:
    """A path that cannot stand in a script, and an interpreter that is none, are refused before anything is written."""
    done = make("install", "PREFIX=/nonexistent/usr", "SYSCONFDIR=/nonexistent", "LOCALSTATEDIR=/nonexistent", variable)
    assert done.returncode != 0
    assert says in done.stderr
    assert not Path("/nonexistent").exists()


def test_interpreter_without_libraries(tmp_path: Path) -> None:
    """An interpreter that lacks a library is refused, with the command that installs it."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    done = make("install", *places(tmp_path / "root"), f"PYTHON={tmp_path}/bare/bin/python")
    assert "tools/packages server" in done.stderr
    assert not (tmp_path / "root").exists()


def test_program_that_could_not_find_the_package(tmp_path: Path) -> None:
    """A program without the lines that `make install` replaces stops it."""
    checkout = tmp_path / "checkout"
    for name in ("helpers", "hooks", "install", "tools", "src", "docs"):
        shutil.copytree(REPOSITORY / name, checkout / name, symlinks=True)
    for name in ("Makefile", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, checkout)
    stub = checkout / "hooks" / "start-gate"
    stub.write_text(stub.read_text().replace("\npackage=", "\nlibrary="))
    done = make("install", *places(tmp_path / "root"), checkout=checkout)
    assert done.returncode != 0
    assert "hooks/start-gate has no line python= or package=" in done.stderr


# --- it works from there


def test_helper_runs(installed: Path) -> None:
    """An installed helper gives what the real one gives, and its run is in the log of the installation."""
    log = installed / "var" / "log" / "certwitness" / "events.jsonl"
    done = run([installed / "usr/libexec/certwitness" / WRAPPED], environment("IDENTIFY"))
    assert done.returncode == 0
    assert done.stdout.startswith(IDENTITY)
    assert done.stderr == b""
    last = list(read_log(str(log), print))[-1]
    assert (last["event"], last["operation"], last.get("observer")) == ("run.ended", "IDENTIFY", None)
    assert log.stat().st_mode & 0o777 == 0o600


def test_hooks_run(installed: Path) -> None:
    """An installed hook runs its command, and the gate allows what it knows nothing of; without Python too."""
    libexec = installed / "usr/libexec/certwitness"
    for name in ("pre-save", "post-save"):
        done = run([libexec / name, "--cert", "x", "--", "/bin/sh", "-c", "exit 7"])
        assert done.returncode == 7
    assert run([libexec / "start-gate", "nothing"]).returncode == 0


def test_command_runs(installed: Path) -> None:
    """The command has all subcommands, and reads nothing of what surrounds it."""
    hostile = {"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [installed / "usr/bin/certwitness", "--help"], env=hostile, capture_output=True, text=True, check=True
    )
    assert f"{installed}/etc/certwitness/certwitness.conf" in re.sub(r"\s", "", done.stdout)
    for name in SUBCOMMANDS:
        assert f"  {name} " in done.stdout


def test_completion(installed: Path) -> None:
    """bash completes subcommands, options and choices."""
    script = installed / "usr/share/bash-completion/completions/certwitness"

    def completed(*words: str) -> list[str]:
        """What is offered for the last of `words`."""
        body = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _certwitness; echo "${COMPREPLY[@]}"'
        command = ["bash", "-uc", body, "bash", str(script), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert completed("certwitness", "ver") == ["verify"]
    assert completed("certwitness", "--config", "/x", "verify", "--sk") == ["--skip"]
    assert completed("certwitness", "renewals", "--state", "reje") == ["rejected"]
    assert completed("certwitness", "verify", "--expect", "") == []


@pytest.mark.parametrize("page", PAGES)
def test_man_page(packaged: Path, page: str) -> None:
    """groff and man render it without a warning, and break no word: an option or a path can be copied."""
    file = packaged / "usr/share/man" / page
    for command in (["groff", "-ww", "-man", "-Tutf8"], ["man", "--warnings=w", "-l"]):
        done = subprocess.run(
            [*command, str(file)],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MAN_KEEP_STDERR": "1"},
        )
        assert done.stderr == ""
        assert done.stdout
        assert "\N{HYPHEN}\n" not in done.stdout


# --- again, and away


def test_again(tmp_path: Path) -> None:
    """A second installation replaces the package and keeps the configuration."""
    install(tmp_path)
    settings = tmp_path / "etc/certwitness/certwitness.conf"
    settings.write_text("[checks]\nbind = no\n")
    stale = tmp_path / "usr/lib/certwitness/certwitness/stale.py"
    stale.write_text("")
    before = files(tmp_path)
    install(tmp_path)
    assert settings.read_text() == "[checks]\nbind = no\n"
    assert before - files(tmp_path) == {str(stale.relative_to(tmp_path))}


def test_uninstall(tmp_path: Path, world: World) -> None:
    """`make uninstall` puts back what certmonger had, removes all but configuration, log and state, and says so."""
    install(tmp_path)
    settings = tmp_path / "etc/certwitness/certwitness.conf"
    settings.write_text(world.certwitness_config.read_text())
    before = world.certmonger.getcert("list-cas").stdout
    program = tmp_path / "usr/bin/certwitness"
    subprocess.run([program, "register", "--yes"], check=True, capture_output=True)
    assert f"{tmp_path}/usr/libexec/certwitness/" in world.certmonger.getcert("list-cas").stdout
    done = make("uninstall", *places(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert world.certmonger.getcert("list-cas").stdout == before
    assert f"left as they are: {tmp_path}/etc/certwitness" in done.stdout
    assert {path for path in files(tmp_path) if not path.startswith("var/")} == LEFT
    assert (tmp_path / "var/lib/certwitness").is_dir()
    assert not (tmp_path / "usr/libexec/certwitness").exists()


def test_uninstall_that_cannot_unregister(tmp_path: Path) -> None:
    """Where certmonger cannot be asked, nothing is removed, and it is told why; UNREGISTER=no removes all the same, and
    the gate's drop-ins with it."""
    install(tmp_path)
    units = tmp_path / "units"
    (tmp_path / "etc/certwitness/certwitness.conf").write_text(
        f"[certmonger]\nbus = unix:path=/nonexistent/bus\n[registration]\nunits = {units}\n"
    )
    units.mkdir()
    shutil.copytree(tmp_path / "usr/share/certwitness/systemd/httpd.service.d", units / "httpd.service.d")
    before = files(tmp_path)
    done = make("uninstall", *places(tmp_path))
    assert done.returncode != 0
    assert "nothing is removed" in done.stderr
    assert "D-Bus" in done.stderr
    assert files(tmp_path) - before <= {"var/lib/certwitness/registration.lock"}
    assert before <= files(tmp_path)
    done = make("uninstall", *places(tmp_path), "UNREGISTER=no")
    assert done.returncode == 0
    assert "not unregistered" in done.stdout
    assert {path for path in files(tmp_path) if not path.startswith("var/")} == LEFT


# --- systemd, logrotate, tmpfiles, SELinux


def test_units(installed: Path) -> None:
    """systemd finds nothing wrong with the units."""
    directory = installed / "usr/lib/systemd/system"
    command = ["systemd-analyze", "verify", "--man=no", *(str(directory / unit) for unit in (*UNITS, *TIMERS))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def unit(path: Path) -> dict[str, str]:
    """The settings of a unit: an unknown one would only be a message to systemd."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "#["]
    return dict(line.split("=", 1) for line in lines)


def test_unit_texts(installed: Path) -> None:
    """The units run the installed command, no unit requires certmonger, and the timers are of a day and an hour."""
    directory = installed / "usr/lib/systemd/system"
    command = f"{installed}/usr/bin/certwitness"
    watch, verify, registration = (unit(directory / name) for name in UNITS)
    assert watch["ExecStart"] == f"{command} watch"
    assert verify["ExecStart"] == f"{command} verify"
    assert registration["ExecStart"] == f"{command} registration --reapply"
    for settings in (watch, verify, registration):
        assert "certmonger.service" in settings["After"]
        assert not {"Requires", "BindsTo", "PartOf"} & settings.keys()
    assert watch["Restart"] == "on-failure"
    assert verify["SuccessExitStatus"] == "1"
    daily, hourly = (unit(directory / name) for name in TIMERS)
    assert (daily["OnCalendar"], hourly["OnCalendar"]) == ("daily", "hourly")
    assert "RandomizedDelaySec" in daily
    for name in GATED:
        drop_in = unit(installed / f"usr/share/certwitness/systemd/{name}.service.d/certwitness-gate.conf")
        assert f"""' {installed}/usr/libexec/certwitness/start-gate """ in drop_in["ExecStartPre"]


@pytest.mark.parametrize("service", UNITS)
def test_hardened(installed: Path, service: str) -> None:
    """Each service can write its log and state and the NSS databases, and is exposed as little as its work allows."""
    directory = installed / "usr/lib/systemd/system"
    settings = unit(directory / "certwitness-.service.d/hardened.conf")
    assert settings["ProtectSystem"] == "strict"
    assert settings["NoNewPrivileges"] == "yes"
    assert (settings["LogsDirectory"], settings["StateDirectory"]) == ("certwitness", "certwitness")
    assert (settings["LogsDirectoryMode"], settings["StateDirectoryMode"]) == ("0700", "0700")
    assert settings["CapabilityBoundingSet"] == "CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH"
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=30", str(directory / service)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"},
    )
    assert done.returncode == 0, done.stdout


def test_tmpfiles(installed: Path) -> None:
    """systemd-tmpfiles makes log and state for root alone."""
    directories = [installed / "var/log/certwitness", installed / "var/lib/certwitness"]
    for directory in directories:
        shutil.rmtree(directory)
    subprocess.run(["systemd-tmpfiles", "--create", f"{installed}/usr/lib/tmpfiles.d/certwitness.conf"], check=True)
    for directory in directories:
        assert directory.stat().st_mode & 0o7777 == 0o700


def test_selinux_module(tmp_path: Path) -> None:
    """The module compiles against the reference policy; whether it suffices can be seen on no machine of ours."""
    for part in ("te", "fc", "if"):
        shutil.copy(REPOSITORY / "install" / "selinux" / f"certwitness.{part}", tmp_path)
    command = ["make", "-C", str(tmp_path), "-f", "/usr/share/selinux/devel/Makefile", "certwitness.pp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "certwitness.pp").stat().st_size > 0
    assert "arning" not in done.stdout + done.stderr


class Writers:
    """Processes that append numbered events of their own span as helpers do: opening the log for each."""

    COUNT = 3
    PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from certwitness.events import log
number = 0
for line in sys.stdin:
    for number in range(number, number + int(line)):
        log.append(sys.argv[2], log.event("test", "info", "0" * 32, sys.argv[3], number=number))
    number += 1
    print("written", flush=True)
"""

    def __init__(self, installed: Path, log: Path) -> None:
        library = str(installed / "usr/lib/certwitness")
        self._processes = [
            subprocess.Popen(
                [PYTHON, "-I", "-S", "-c", self.PROGRAM, library, str(log), f"{number:016x}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for number in range(self.COUNT)
        ]

    def begin(self, count: int) -> None:
        """Let each write `count` events, as fast as it can."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{count}\n")

    def wait(self) -> None:
        """Wait until all are written."""
        for process in self._processes:
            assert process.stdout
            assert process.stdout.readline() == "written\n"

    def stop(self) -> None:
        for process in self._processes:
            process.communicate()


def test_rotation_loses_nothing(tmp_path: Path) -> None:
    """logrotate rotates and packs the log while helpers write: every event is read once and followed once."""
    install(tmp_path)
    log = tmp_path / "var/log/certwitness/events.jsonl"
    rotate = [LOGROTATE, "--force", "--state", f"{tmp_path}/rotated", f"{tmp_path}/etc/logrotate.d/certwitness"]
    followed = tmp_path / "followed"
    with followed.open("w") as output:
        follower = subprocess.Popen(
            [tmp_path / "usr/bin/certwitness", "tail", "-f", "--json"], stdout=output, stderr=subprocess.PIPE
        )
    assert follower.stderr
    assert b"waiting for events" in follower.stderr.readline()
    writers = Writers(tmp_path, log)
    try:
        writers.begin(1)
        for _ in range(4):
            writers.wait()
            writers.begin(500)
            while not log.exists():
                time.sleep(0.001)
            subprocess.run(rotate, check=True)
        writers.wait()
        writers.begin(1)
        writers.wait()
        count = 1 + 4 * 500 + 1
        deadline = time.monotonic() + PATIENCE_S
        while followed.read_bytes().count(b"\n") < writers.COUNT * count and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        writers.stop()
        follower.terminate()
        follower.communicate()
    events = [(f"{writer:016x}", number) for writer in range(writers.COUNT) for number in range(count)]
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "events.jsonl", "events.jsonl.1", "events.jsonl.2.gz", "events.jsonl.3.gz", "events.jsonl.4.gz",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in log.parent.iterdir()} == {0o600}
    problems = Problems()
    assert sorted(numbered(read_log(str(log), problems.report))) == events
    assert not problems
    assert sorted(numbered(map(json.loads, followed.read_text().splitlines()))) == events


def numbered(events: Iterable[Event]) -> Iterator[tuple[str, int]]:
    """What tells the events of `Writers` apart."""
    return ((event["span_id"], event["number"]) for event in events)


def test_rotation_by_age_and_size(installed: Path) -> None:
    """logrotate takes the configuration as it stands, and what it says of size and age."""
    configuration = installed / "etc/logrotate.d/certwitness"
    done = subprocess.run(
        [LOGROTATE, "--debug", "--state", "/dev/null", str(configuration)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "error" not in done.stderr
    assert f"{installed}/var/log/certwitness/events.jsonl" in done.stderr
    assert "monthly (400 rotations)" in done.stderr
    words = re.sub(r"(?m)^ *#.*", "", configuration.read_text()).split()
    assert "copytruncate" not in words
    assert {"maxsize", "maxage", "delaycompress", "nocreate"} <= {*words}


# --- the RPM


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, built from a copy of the checkout; by name."""
    checkout = tmp_path_factory.mktemp("rpm") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if os.path.lexists(REPOSITORY / name):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, checkout / name, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    done = make("rpm", "RPMFLAGS=--with selinux", checkout=checkout, env={"HOME": str(checkout)})
    assert done.returncode == 0, done.stderr[-3000:]
    built = (checkout / "build" / "rpm" / "RPMS" / "noarch").glob("*.rpm")
    return {re.sub(r"-[0-9].*", "", path.name): path for path in built}


def query(package: Path, *options: str) -> str:
    command = ["rpm", "--dbpath", str(package.parent / "db"), "-qp", *options, str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_rpm_version() -> None:
    """The package's version is the project's."""
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"\nVersion:        {version[1]}\n" in (REPOSITORY / "install" / "certwitness.spec").read_text()


def test_rpm_files(rpms: dict[str, Path]) -> None:
    """The package has what `make install` installs; configuration is kept at an upgrade, log and state are root's."""
    assert set(rpms) == {"certwitness", "certwitness-selinux"}
    line = "[%{FILEMODES:octal} %{FILEUSERNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]"
    rows = [row.split(" ") for row in query(rpms["certwitness"], "--qf", line).splitlines()]
    modes = {path[1:]: int(mode, 8) & 0o7777 for mode, _, _, path in rows}
    assert {owner for _, owner, _, _ in rows} == {"root"}
    named = {re.sub(r"(/man/.*)\.gz$", r"\1", path) for path in modes}
    assert {*FILES, *LINKS} - {"usr/share/doc/certwitness/LICENSE"} <= named
    assert modes["etc/certwitness/certwitness.conf"] == 0o600
    assert modes["var/log/certwitness"] == modes["var/lib/certwitness"] == 0o700
    flags = {path[1:]: flags for _, _, flags, path in rows}
    assert {path for path in flags if {"c", "n"} <= {*flags[path]}} == LEFT
    assert any(path.startswith("usr/lib/certwitness/certwitness/__pycache__/submit.") for path in modes)


def test_rpm_requires(rpms: dict[str, Path]) -> None:
    """It requires what it imports and runs, by RHEL's and Fedora's names."""
    required = {line.split(" ")[0] for line in query(rpms["certwitness"], "--requires").splitlines()}
    libraries = {f"python3-{name}" for name in ("click", "cryptography", "jeepney", "ldap", "requests", "rich")}
    assert {"certmonger", "nss-tools", "util-linux", "python3", *libraries} <= required


def test_rpm_scriptlets(rpms: dict[str, Path]) -> None:
    """Removal unregisters first and never fails; neither installation nor upgrade touches certmonger."""
    scripts = query(rpms["certwitness"], "--scripts")
    kinds = dict(
        re.findall(r"^(\w+) scriptlet \(using /bin/sh\):\n((?:(?!^\w+ scriptlet).*\n)*)", scripts, re.MULTILINE)
    )
    assert set(kinds) == {"postinstall", "preuninstall", "postuninstall"}
    assert "unregister --yes </dev/null ||" in kinds["preuninstall"]
    assert kinds["preuninstall"].index("$1 -eq 0") < kinds["preuninstall"].index("unregister --yes")
    assert kinds["preuninstall"].rstrip().endswith("exit 0")
    for kind in ("postinstall", "postuninstall"):
        assert "certwitness register" not in re.sub(r"(?m)^#.*", "", kinds[kind])
        assert "getcert" not in kinds[kind]


def on_a_copy(tmp_path: Path, package: Path, commands: str, shared: Path) -> subprocess.CompletedProcess[str]:
    """Run `commands` on a copy of this machine that has `package` as /certwitness.rpm and, of what is not copied, the
    directory `shared`; $rpm is rpm with a database of its own."""
    script = tmp_path / "script"
    script.write_text(r"""
set -e
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc proc root/proc
mount -t tmpfs none root/run
mount --bind /dev root/dev
mkdir -p "root$3" root/rpmdb
mount --bind "$3" "root$3"
cp "$2" root/certwitness.rpm
exec env rpm="rpm --dbpath /rpmdb" chroot root sh -ec "$4"
""")
    (tmp_path / "mounted").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "bash", str(script),
         str(tmp_path / "mounted"), str(package), str(shared), commands],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert list((tmp_path / "mounted").iterdir()) == []
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_rpm_installed_and_removed(rpms: dict[str, Path], tmp_path: Path) -> None:
    """On a copy of this machine: a helper runs from the package; its removal, without a certmonger to ask, says what is
    left to do, takes out the gate, and leaves the log alone."""
    commands = f"""
$rpm --install --nodeps /certwitness.rpm
CERTMONGER_OPERATION=IDENTIFY /usr/libexec/certwitness/{WRAPPED}
certwitness --version
cp -r /usr/share/certwitness/systemd/httpd.service.d /etc/systemd/system/
$rpm --erase certwitness
echo removed
find /etc /usr /var -xdev -path "*certwitness*" -type f
"""
    shared = tmp_path / "nothing"
    shared.mkdir()
    done = on_a_copy(tmp_path, rpms["certwitness"], commands, shared)
    before, _, after = done.stdout.partition("removed\n")
    assert before.encode().startswith(IDENTITY)
    assert "certwitness 0." in before
    assert "not wholly, unregistered" in done.stderr
    assert "D-Bus" in done.stderr
    assert sorted(after.split()) == ["/var/lib/certwitness/registration.lock", "/var/log/certwitness/events.jsonl"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_rpm_keeps_a_registration_until_it_is_removed(rpms: dict[str, Path], tmp_path: Path, world: World) -> None:
    """Neither installing nor replacing the package changes anything in certmonger, and its removal puts back what was
    there."""
    before = world.certmonger.getcert("list-cas").stdout
    directory = world.certmonger.place.directory
    commands = f"""
$rpm --install --nodeps /certwitness.rpm
cat {world.certwitness_config} >/etc/certwitness/certwitness.conf
certwitness registration
certwitness register --gate --yes >/dev/null
find {directory}/systemd -name certwitness-gate.conf
$rpm --reinstall --nodeps /certwitness.rpm
echo replaced
certwitness registration
$rpm --erase certwitness
echo removed
find /etc/systemd /usr -xdev -path "*certwitness*" -type f
"""
    done = on_a_copy(tmp_path, rpms["certwitness"], commands, directory)
    first, _, rest = done.stdout.partition("replaced\n")
    second, _, after = rest.partition("removed\n")
    assert "nothing is registered" in first
    assert first.count("certwitness-gate.conf") == len(GATED)
    assert "everything is as it was registered" in second
    assert "/usr/libexec/certwitness/" not in first
    assert re.search(r"^\d+ changed; see", second, re.MULTILINE)
    assert (after, "unregistered" in done.stderr) == ("", False)
    assert list((directory / "systemd").rglob("certwitness-gate.conf")) == []
    assert world.certmonger.getcert("list-cas").stdout == before

# SPDX-License-Identifier: MIT
"""The drop-ins of the gate under a real systemd: one that sees nothing of this machine but read-only files.

It is `systemd --user` in mount, PID and cgroup namespaces of its own. There everything of the host is mounted
read-only, a tmpfs lies over /run, /tmp, /var/tmp and /usr/libexec, and it finds no units but the test's: whatever
it does at its start (systemd-tmpfiles empties directories) can reach nothing. Without root, or where this machine
forbids namespaces, there is no such test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certwitness import gate
from tests.integration.conftest import REPOSITORY
from tests.lab.ca import TestCA, key_of, subject
from tests.lab.nss import NssDatabase
from tests.lab.world import SUBSYSTEM
from tests.unit import empty_host

pytestmark = pytest.mark.lab

DROP_INS = sorted((REPOSITORY / "install/systemd").glob("*.d/certwitness-gate.conf"))
PROGRAM = "/usr/libexec/certwitness/start-gate"
ASK = '[ ! -x "$$0" ] || exec "$$0" "$$@"'
SYSTEMD = "/usr/lib/systemd/systemd"
NAMESPACES = ("unshare", "-m", "-C", "-p", "--fork", "--mount-proc", "--kill-child", "--propagation", "private")
HIDDEN = ("/run", "/tmp", "/var/tmp", "/usr/libexec")
UNIT = "pki-tomcatd@pki-tomcat"


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.parent.name)
class TestText:
    """What the files say, which systemd reads without a word where it does not know a key."""

    def test_one_program(self, drop_in: Path) -> None:
        """Nothing but the gate if it is there, as root, before the start, for a service that it knows; its failure
        stops the start."""
        lines = [line for line in drop_in.read_text().splitlines() if line and not line.startswith("#")]
        unit = drop_in.parent.name.removesuffix(".service.d")
        name = f"{unit}%i" if unit.endswith("@") else unit
        assert lines == ["[Service]", f"ExecStartPre=+/bin/sh -c '{ASK}' {PROGRAM} {name}"]
        service = gate.named(name.replace("%i", "IPADOMAIN-COM"))
        assert service is not None
        assert service.name == unit.partition("@")[0]

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
    def test_verify(self, tmp_path: Path, drop_in: Path) -> None:
        """systemd-analyze has nothing to say of it; a program that is there stands in for the installed one."""
        unit = tmp_path / drop_in.parent.name.removesuffix(".d")
        unit.write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
        directory = tmp_path / drop_in.parent.name
        directory.mkdir()
        gate_here = str(REPOSITORY / "hooks" / "start-gate")
        (directory / drop_in.name).write_text(drop_in.read_text().replace(PROGRAM, gate_here))
        name = unit.name.replace("@.", "@IPADOMAIN-COM.")
        if name != unit.name:
            (tmp_path / name).symlink_to(unit.name)
        command = ["systemd-analyze", "verify", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_service_has_one() -> None:
    """One drop-in for each service of the gate."""
    assert {path.parent.name.partition(".")[0].partition("@")[0] for path in DROP_INS} == set(gate.SERVICES)


IMPOSSIBLE = 97
# A manager with nothing but the units in /run/units, or exit 1.
BOOT = """\
export XDG_RUNTIME_DIR=/run/me SYSTEMD_UNIT_PATH=/run/units LC_ALL=C.UTF-8 SYSTEMD_PAGER=
{systemd} --user --unit=basic.target >/run/manager 2>&1 &
tries=0
until systemctl --user is-active -q basic.target 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || {{ cat /run/manager; exit 1; }}
    sleep 0.05
done
set +e
"""
# Its own /proc is the only thing that stays writable; nothing is begun where something else does.
INSIDE = (
    """\
set -e
cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/proc' | while read -r place; do
    mount -o remount,ro,bind "$(printf '%b' "$place")"
done || exit {impossible}
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit {impossible}
mkdir "{stage}/written" 2>/dev/null && exit {impossible}
exec 3<"{stage}/.."
for place in {hidden}; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
cp -a "/proc/self/fd/3/{name}" /run/server
exec 3<&-
mkdir -p /run/units /run/me /run/systemd/system {libexec}
cp -r {drop_ins}/*.d /run/units/
printf '#!/bin/sh\\nexec {gate} --config /run/server/certwitness.conf "$@"\\n' >{program}
chmod 755 {program}
printf '[Unit]\\nDefaultDependencies=no\\n' | tee /run/units/basic.target >/run/units/shutdown.target
{{
    printf '[Service]\\nExecStart=/bin/sleep 1000\\n'
    printf 'StandardOutput=append:/run/said\\nStandardError=append:/run/said\\n'
}} >/run/units/pki-tomcatd@.service
"""
    + BOOT
    + """\
touch /run/said
for step in blocked healed gone; do
    case $step in
        healed) cp /run/server/right.conf /run/server/password.conf ;;
        gone) systemctl --user stop {unit}; cp /run/server/wrong.conf /run/server/password.conf; rm {program} ;;
    esac
    echo "== $step: start"
    systemctl --user start {unit} 2>&1
    echo "== $step: status $?"
    systemctl --user status {unit} 2>&1
    echo "== $step: result"
    systemctl --user show -p Result -p ActiveState {unit}
    echo "== $step: said"
    cat /run/said
    : >/run/said
done
echo "== end"
"""
)


def why_not() -> str:
    """Why systemd cannot be run here, "" if it can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [program for program in (SYSTEMD, "systemctl", "unshare", "mount") if shutil.which(program) is None]
    if missing:
        return f"no {missing[0]}"
    for place in (str(REPOSITORY), sys.prefix, sys.base_prefix):
        if place.startswith(tuple(f"{hidden}/" for hidden in HIDDEN)):
            return f"{place} is where a tmpfs must lie"
    if not Path("/usr/libexec").is_dir():
        return "no /usr/libexec"
    if cgroup2() is None:
        return "no cgroup2 is mounted"
    done = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}"


def cgroup2() -> Path | None:
    """Where cgroup2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return None


def listing(directory: Path) -> list[tuple[str, int, int]]:
    """Everything below a directory."""
    return sorted((str(one), one.lstat().st_size, one.lstat().st_mtime_ns) for one in directory.rglob("*"))


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A CA server whose password.conf has a wrong PIN, to be put into /run/server; right.conf has the right one."""
    stage = tmp_path / "server"
    stage.mkdir()
    pin = stage / "pin"
    pin.write_text("Secret.123\n")
    database = NssDatabase(stage / "alias", pin)
    key = key_of(SUBSYSTEM)
    database.import_pair(SUBSYSTEM, key, TestCA().issue(subject("CA Subsystem"), key.public_key()))
    (stage / "right.conf").write_text("internal=Secret.123\n")
    (stage / "wrong.conf").write_text("internal=Wrong.123\n")
    (stage / "old").touch()
    os.utime(stage / "old", (0, 0))  # what systemd-tmpfiles would remove first
    shutil.copy(stage / "wrong.conf", stage / "password.conf")
    configuration = Path(empty_host.configure(stage))
    text = f"{configuration.read_text()}[state]\ndirectory = {stage}/state\n"
    configuration.write_text(text.replace(str(stage), "/run/server").replace(str(stage).replace("/", "%2F"), "nowhere"))
    return stage


def boot(stage: Path) -> str:
    """Run INSIDE in a cgroup and namespaces of its own. Returns what it printed."""
    script = INSIDE.format(
        stage=stage, name=stage.name, hidden=" ".join(HIDDEN), libexec=os.path.dirname(PROGRAM), program=PROGRAM,
        drop_ins=REPOSITORY / "install/systemd", gate=REPOSITORY / "hooks" / "start-gate", systemd=SYSTEMD, unit=UNIT,
        impossible=IMPOSSIBLE,
    )  # fmt: skip
    mounted = cgroup2()
    assert mounted is not None
    cgroup = mounted / f"certwitness-test-{os.getpid()}"
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of its own: {error}")
    try:
        enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
        command = ["sh", "-c", enter, "sh", str(cgroup), *NAMESPACES, "sh", "-c", script]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=120, cwd="/",
        )  # fmt: skip
    finally:
        for place, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(place)
    if done.returncode == IMPOSSIBLE:
        pytest.skip(f"not everything can be made read-only: {done.stdout}")
    assert done.returncode == 0, done.stdout
    return done.stdout


WHY_NOT = why_not()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_real_systemd(server: Path, tmp_path: Path) -> None:
    """What is proven to fail is not started: systemctl says so, and the unit's output why; healed, it starts. Without
    the gate's program, too, whatever is wrong."""
    before = listing(tmp_path)
    printed = boot(server)
    assert listing(tmp_path) == before != []
    parts = dict(re.findall(r"^== (\w+: \w+)[^\n]*\n(.*?)(?=^== )", printed, re.MULTILINE | re.DOTALL))
    status = re.findall(r"^== \w+: status (\d+)$", printed, re.MULTILINE)
    assert status == ["1", "0", "0"], printed
    assert "control process exited with error code" in parts["blocked: start"]
    assert "certwitness-gate.conf" in parts["blocked: status"]
    assert re.search(rf"ExecStartPre=/bin/sh -c .* {PROGRAM} {UNIT} \(code=exited, status=2", parts["blocked: status"])
    assert parts["blocked: result"].split() == ["Result=exit-code", "ActiveState=failed"]
    assert "pki-tomcatd: BLOCK: pki-tomcatd will not start: it cannot open its NSS database" in parts["blocked: said"]
    assert "wrong PIN in /run/server/password.conf" in parts["blocked: said"]
    assert "start it all the same: certwitness release pki-tomcatd" in parts["blocked: said"]
    assert parts["healed: result"].split() == ["Result=success", "ActiveState=active"]
    assert "pki-tomcatd: ALLOW" in parts["healed: said"]
    assert parts["gone: result"].split() == ["Result=success", "ActiveState=active"]
    assert parts["gone: said"] == ""

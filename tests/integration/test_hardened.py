# SPDX-License-Identifier: MIT
"""The services as they are installed, under a real systemd and with all that they may not do, on a whole CA server.

As in test_systemd.py it is `systemd --user` in namespaces of its own, where everything of this machine is read-only but
the server's directory. What differs from an installation: the paths in ReadWritePaths= are the server's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from certwitness.config import load
from certwitness.host import Host
from certwitness.host import load as load_host
from tests.integration.conftest import PATIENCE_S, REPOSITORY
from tests.integration.test_systemd import BOOT, IMPOSSIBLE, NAMESPACES, SYSTEMD, WHY_NOT, cgroup2
from tests.lab.world import SUBSYSTEM, World

pytestmark = pytest.mark.lab

PROGRAM = "from certwitness.cli import main; main()"
SERVICES_S = 120  # for systemd and the three services
INSIDE = (
    """\
set -e
mount --bind "{server}" "{beside}"
cut -d' ' -f5 /proc/self/mountinfo | grep -v -e '^/proc' -e '^{beside}' | while read -r place; do
    mount -o remount,ro,bind "$(printf '%b' "$place")"
done || exit {impossible}
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit {impossible}
mkdir "{beside}/../written" 2>/dev/null && exit {impossible}
mount --bind "{beside}" "{server}"
mount -t tmpfs -o mode=755 tmpfs /run
# What systemd of the system makes for its --user ones, to hide things behind.
mkdir -p /run/me /run/units/certwitness-.service.d /run/systemd/system /run/systemd/inaccessible/dir
: >/run/systemd/inaccessible/reg
{python} -c 'import socket; socket.socket(socket.AF_UNIX).bind("/run/systemd/inaccessible/sock")'
for unit in {units}/certwitness-*.service; do
    sed 's|^ExecStart=/usr/bin/certwitness|ExecStart={python} -c "{program}" --config {config}|' "$unit" \\
        >"/run/units/${{unit##*/}}"
done
cp {units}/hardened.conf /run/units/certwitness-.service.d/
cat >/run/units/certwitness-.service.d/world.conf <<'END'
[Unit]
DefaultDependencies=no
[Service]
LogsDirectory=
StateDirectory=
ReadWritePaths=
ReadWritePaths={writable}
StandardOutput=append:/run/said.%p
StandardError=append:/run/said.%p
END
printf '[Unit]\\nDefaultDependencies=no\\n' | tee /run/units/basic.target >/run/units/shutdown.target
"""
    + BOOT
    + """\
systemctl --user start certwitness-watch.service
for name in verify registration; do
    systemctl --user start certwitness-$name.service
    echo "== $name: status $?"
    cat /run/said.certwitness-$name
done
until grep -q watching /run/said.certwitness-watch || [ -e "{server}/stop" ]; do sleep 0.05; done
pid=$(systemctl --user show -p MainPID --value certwitness-watch.service)
echo "== watch:"
grep -E '^(CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status"
touch "{server}/go"
until grep -q landed /run/said.certwitness-watch || [ -e "{server}/stop" ]; do sleep 0.05; done
cat /run/said.certwitness-watch
echo "== end"
"""
)


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_services_do_their_work(tmp_path: Path) -> None:
    """Every check can be made, what drifted can be put back, and a renewal is followed to its end."""
    with World(full=True) as world:
        configuration = world.certwitness_config
        text = configuration.read_text()
        configuration.write_text(text.replace("[registration]\n", "[registration]\nreapply = yes\n"))
        program = [sys.executable, "-c", PROGRAM, "--config", str(configuration)]
        subprocess.run([*program, "register", "--gate", "--yes"], check=True, capture_output=True)
        there = load_host(load(str(configuration)))
        drop_in = Path(there.config.units) / "httpd.service.d" / "certwitness-gate.conf"
        drop_in.unlink()
        printed = boot(world, there, tmp_path)
        assert drop_in.exists()
    parts = dict(re.findall(r"^== (\w+): ?(.*?)(?=^== )", printed, re.MULTILINE | re.DOTALL))
    assert parts["verify"].startswith("status 0\n"), printed
    assert "13 certificates landed everywhere they must be" in parts["verify"]
    assert parts["registration"].startswith("status 0\n"), printed
    assert "done: unit httpd.service" in parts["registration"]
    assert re.findall(r"^(\w+):\s+(\w+)$", parts["watch"], re.MULTILINE) == [
        ("CapBnd", f"{0b110:016x}"),  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ]
    assert f"{SUBSYSTEM}: the renewed certificate landed everywhere it must be" in parts["watch"], printed


def _wait(inside: subprocess.Popen[bytes], patience_s: float, condition: Callable[[], bool] = lambda: False) -> None:
    """Until it has ended, or `condition` is true, or that is over."""
    deadline = time.monotonic() + patience_s
    while inside.poll() is None and not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def boot(world: World, there: Host, tmp_path: Path) -> str:
    """Run INSIDE in a cgroup and namespaces of its own, and renew a certificate when it says so. Returns what it
    printed."""
    server = world.certwitness_config.parent
    beside = tmp_path / "server"
    beside.mkdir()
    writable = (
        os.path.dirname(there.config.events_file), there.config.state_directory, there.config.units,
        there.pki_nssdb, os.path.dirname(there.certmap),
    )  # fmt: skip
    script = INSIDE.format(
        server=server, beside=beside, impossible=IMPOSSIBLE, python=sys.executable, program=PROGRAM, systemd=SYSTEMD,
        units=REPOSITORY / "install" / "systemd", config=world.certwitness_config, writable=" ".join(writable),
    )  # fmt: skip
    mounted = cgroup2()
    assert mounted is not None
    cgroup = mounted / f"certwitness-hardened-{os.getpid()}"
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of its own: {error}")
    output = tmp_path / "printed"
    enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
    command = ["sh", "-c", enter, "sh", str(cgroup), *NAMESPACES, "sh", "-c", script]
    with output.open("w") as printed:
        inside = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, cwd="/")
    try:
        _wait(inside, SERVICES_S, (server / "go").exists)
        if (server / "go").exists():
            world.renew(SUBSYSTEM, timeout=120)
            _wait(inside, PATIENCE_S)
        (server / "stop").touch()
        inside.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise TimeoutError(output.read_text()) from None
    finally:
        inside.kill()
        inside.wait()
        for place, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(place)
    if inside.returncode == IMPOSSIBLE:
        pytest.skip(f"not everything can be made read-only: {output.read_text()}")
    assert inside.returncode == 0, output.read_text()
    return output.read_text()

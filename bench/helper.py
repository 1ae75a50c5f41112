# SPDX-License-Identifier: MIT
"""What a run through the helper costs: wall time as ratios of medians, and peak memory.

Beside the bare helper, in the same run and interleaved, so that what the machine does meanwhile hits all alike:

floor      a bare interpreter (`python -I -S`) that only spawns the helper and relays its stdout
plain      a wrapper as anyone would write it: subprocess.run, json, syslog
certwitness  helpers/submit

    python -m bench.helper [--runs 40]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
REAL = [Path(f"/usr/{directory}/certmonger/dogtag-ipa-renew-agent-submit") for directory in ("libexec", "lib")]

FLOOR = """
import os, sys
read, write = os.pipe()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
os.close(write)
while True:
    data = os.read(read, 4096)
    if not data:
        break
    os.write(1, data)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
PLAIN = """
import json, subprocess, sys, syslog, time
start = time.time()
run = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
syslog.syslog(json.dumps({"command": sys.argv[1:], "code": run.returncode, "seconds": time.time() - start}))
sys.stdout.buffer.write(run.stdout)
sys.stderr.buffer.write(run.stderr)
sys.exit(run.returncode)
"""
# Peak memory is measured by an interpreter as small as the floor's: the kernel counts the parent's copy, too.
PEAK = """
import os, sys
pid = os.fork() or os.execv(sys.argv[1], sys.argv[1:])
print(os.wait4(pid, 0)[2].ru_maxrss, file=sys.stderr)
"""
AIMS = {"exit 6 at once": 1.5, "IDENTIFY of the real binary": 1.5, "SUBMIT of 300 ms": 1.3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=40, help="runs of each command (at least 30 for a figure to quote)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        python = str(CHECKOUT / ".venv/bin/python")
        wrappers = {
            "bare": [],
            "floor": [python, "-I", "-S", _script(directory / "floor", FLOOR)],
            "plain": [python, _script(directory / "plain", PLAIN)],
            "certwitness": [str(CHECKOUT / "helpers/submit"), "--config", _config(directory), "--"],
        }
        print(f"Medians of {runs} runs, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
        print(f"{'':29}{'bare':>9}{'floor':>9}{'plain':>9}{'ours':>9}{'ours/floor':>12}{'ours/plain':>12}")
        for title, operation, helper in _cases(directory):
            _compare(title, operation, helper, wrappers, runs)
        print("\nPeak memory of a SUBMIT, KiB, as a ratio to the floor's:")
        _compare_memory(_script(directory / "submit", "#!/bin/sh\nsleep 0.3; exit 3\n"), wrappers, directory)


def _cases(directory: Path) -> list[tuple[str, str, str]]:
    at_once = _script(directory / "at-once", "#!/bin/sh\nexit 6\n")
    slow = _script(directory / "slow", "#!/bin/sh\nsleep 0.3; echo no; exit 3\n")
    cases = [("exit 6 at once", "FETCH-ROOTS", at_once), ("SUBMIT of 300 ms", "SUBMIT", slow)]
    real = [path for path in REAL if path.exists()]
    if real:
        cases.insert(1, ("IDENTIFY of the real binary", "IDENTIFY", str(real[0])))
    return cases


def _compare(title: str, operation: str, helper: str, wrappers: dict[str, list[str]], runs: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in wrappers}
    for _ in range(runs):
        for name, prefix in wrappers.items():
            times[name].append(_run([*prefix, helper], operation))
    median = {name: statistics.median(values) for name, values in times.items()}
    to_floor = median["certwitness"] / median["floor"]
    columns = "".join(f"{median[name]:7.1f}ms" for name in wrappers)
    print(
        f"{title:29}{columns}{to_floor:12.2f}{median['certwitness'] / median['plain']:12.2f}"
        f"   aim {AIMS[title]}: {'met' if to_floor <= AIMS[title] else 'MISSED'}"
    )


def _compare_memory(helper: str, wrappers: dict[str, list[str]], directory: Path) -> None:
    measure = [str(CHECKOUT / ".venv/bin/python"), "-I", "-S", _script(directory / "peak", PEAK)]
    peaks = {}
    for name, prefix in wrappers.items():
        command = [*measure, *prefix, helper]
        done = subprocess.run(command, env=_environment("SUBMIT"), capture_output=True, check=True, text=True)
        peaks[name] = int(done.stderr.split()[-1])
    print("  ".join(f"{name} {peak} ({peak / peaks['floor']:.2f})" for name, peak in peaks.items()))


def _environment(operation: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "LC_CTYPE": "C.UTF-8",
        "CERTMONGER_LOCAL_CA_DIR": "/nonexistent",
        "CERTMONGER_OPERATION": operation,
    }


def _run(command: list[str], operation: str) -> float:
    environ = _environment(operation)
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    start = time.perf_counter()
    os.waitpid(os.posix_spawn(command[0], command, environ, file_actions=actions), 0)
    elapsed = (time.perf_counter() - start) * 1000
    os.close(null)
    return elapsed


def _script(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def _config(directory: Path) -> str:
    for name in ("log", "state"):
        (directory / name).mkdir(mode=0o700)
    path = directory / "certwitness.conf"
    path.write_text(f"[events]\nfile = {directory}/log/events.jsonl\n[state]\ndirectory = {directory}/state\n")
    path.chmod(0o600)
    return str(path)


if __name__ == "__main__":
    main()

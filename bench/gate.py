# SPDX-License-Identifier: MIT
"""What hooks/start-gate adds to a start, beside the reads of the stores that a verdict needs.

In one run against the lab: the reads that pki-tomcatd's verdict needs, all at the same time, in a program of their own
(the interpreter and its imports included, as start-gate has them); then start-gate for each service; then pki-tomcatd's
with a 389-ds that answers nothing.

    python -m bench.gate [--runs 15]
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from certwitness.gate import SERVICES
from tests.lab.world import World

AIM, AIM_S = 1.3, 2.0
CHECKOUT = Path(__file__).resolve().parents[1]
# Each reader that the verdict on pki-tomcatd waits for, once, and nothing else.
READS = """
import os, sys
from certwitness import config, host
from certwitness.evidence import Evidence
ours = host.load(config.load(sys.argv[1]))
evidence = Evidence(ours)
for one in evidence.tracked:
    if one.storage == "NSSDB":
        evidence.nss(one.location)
evidence.directory, evidence.bound, evidence.cs_cfg("ca"), evidence.cs_cfg("kra"), evidence.certmap
os._exit(0)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with World(full=True) as world:
        configuration = str(world.certwitness_config)
        reads = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT / 'src')!r}){READS}"]
        nothing = [sys.executable, "-I", "-c", "pass"]
        print(f"Medians of {runs} runs, {os.cpu_count()} cores, Python {sys.version.split()[0]}, milliseconds\n")
        rows: dict[str, Callable[[], object]] = {
            "interpreter alone": lambda: run(nothing),
            "reads of pki-tomcatd": lambda: run([*reads, configuration]),
        }
        for name in SERVICES:
            command = [str(CHECKOUT / "hooks" / "start-gate"), "--config", configuration, name]
            rows[f"start-gate {name}"] = lambda command=command: run(command)  # type: ignore[misc]
        for read in rows.values():
            read()  # once, for what is compiled and cached
        taken = alternating(rows, runs)
        assert world.directory_server is not None  # noqa: S101 (a full world has one)
        os.kill(world.directory_server.pid, signal.SIGSTOP)
        try:
            taken["start-gate pki-tomcatd, 389-ds hangs"] = max(
                _seconds(rows["start-gate pki-tomcatd"]) for _ in range(3)
            )
        finally:
            os.kill(world.directory_server.pid, signal.SIGCONT)
        for name, seconds in taken.items():
            print(f"{name:40}{seconds * 1000:9.1f}")
        ratio = taken["start-gate pki-tomcatd"] / taken["reads of pki-tomcatd"]
        print(f"\nstart-gate pki-tomcatd / its reads   {ratio:6.2f}   (aim: at most {AIM})")
        print(f"longest                              {max(taken.values()):6.2f} s (aim: below {AIM_S:g} s)")


def alternating(rows: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median of each, taken in turns: what else the machine does meets all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, read in rows.items():
            taken[name].append(_seconds(read))
    return {name: statistics.median(found) for name, found in taken.items()}


def _seconds(read: Callable[[], object]) -> float:
    started = time.perf_counter()
    read()
    return time.perf_counter() - started


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()

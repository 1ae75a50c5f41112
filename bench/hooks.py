# SPDX-License-Identifier: MIT
"""What hooks/pre-save and hooks/post-save add around a command that ends at once, beside the reads of the stores that
they need.

In one run against the lab, for the subsystem certificate: the reads that each hook's looks need, all at the same time,
in a program of their own (the interpreter and its imports included); then the hooks around /bin/true. post-save looks
twice, before its command and after it, when the stores agree at once.

    python -m bench.hooks [--runs 15]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench.gate import alternating, run
from tests.lab.world import SUBSYSTEM, World

CHECKOUT = Path(__file__).resolve().parents[1]
# Each reader that a look at one certificate's stores waits for, once, and nothing else.
BEFORE = """
import os, sys
from certwitness import config, host
from certwitness.evidence import Evidence
evidence = Evidence(host.load(config.load(sys.argv[1])), everything=sys.argv[2] == "all")
tracked = next(one for one in evidence.tracked if one.name == sys.argv[3])
evidence.held(tracked), evidence.log, evidence.lock, evidence.pem(evidence.host.ca_certificate)
if sys.argv[2] == "all":
    evidence.directory, evidence.bound, evidence.cs_cfg("ca")
os._exit(0)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with World(full=True) as world:
        configuration = str(world.certwitness_config)
        reads = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT / 'src')!r}){BEFORE}"]
        rows = {"/bin/true": ["/bin/true"]}
        rows["reads of all the certificate's stores"] = [*reads, configuration, "all", SUBSYSTEM]
        rows["reads of what was saved"] = [*reads, configuration, "saved", SUBSYSTEM]
        for phase in ("pre-save", "post-save"):
            options = ["--config", configuration, "--cert", SUBSYSTEM, "--"]
            rows[phase] = [str(CHECKOUT / "hooks" / phase), *options, "/bin/true"]
        print(f"Medians of {runs} runs, {os.cpu_count()} cores, Python {sys.version.split()[0]}, milliseconds\n")
        taken = alternating({name: lambda command=command: run(command) for name, command in rows.items()}, runs)  # type: ignore[misc]
        for name, seconds in taken.items():
            print(f"{name:40}{seconds * 1000:9.1f}")
        everything, saved = (taken[name] for name in list(rows)[1:3])
        print(f"\npre-save / its reads                 {taken['pre-save'] / everything:6.2f}")
        print(f"post-save / its reads (saved, all)   {taken['post-save'] / (everything + saved):6.2f}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""What `certwitness verify` of a full CA server with KRA (13 requests) costs, beside the reads that it cannot avoid.

All in one process and one run against the lab: each store's reader alone, one after the other; then all of verify. What
it starts (processes) and asks (LDAP operations, from 389-ds's access log) is counted.

    python -m bench.verify [--runs 15]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from collections import Counter
from typing import Any, Callable

from certwitness import certmonger, config, host, verification
from certwitness.checks import CHECKS
from certwitness.evidence import Evidence
from certwitness.findings import exit_status
from certwitness.stores import directory, external_bind, nss, pem, served
from tests.lab.world import World

AIM = 1.5
AIM_SEARCHES = 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    started: Counter[str] = Counter()

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            words = [str(word) for word in arguments[1]]
            tool = words[4] if os.path.basename(words[0]) == "timeout" else words[0]  # timeout -s KILL SECONDS TOOL
            started[os.path.basename(tool)] += 1

    with World(full=True) as world:
        ours = host.load(config.load(str(world.certwitness_config)))
        readers = _readers(ours)
        _verify(ours)  # once, for what is imported and cached
        print(f"Medians of {runs} runs, {os.cpu_count()} cores, Python {sys.version.split()[0]}, milliseconds\n")
        alone = {name: _median(read, runs) for name, read in readers.items()}
        for name, taken in sorted(alone.items(), key=lambda item: -item[1]):
            print(f"{name:24}{taken * 1000:9.1f}")
        whole = _median(lambda: _verify(ours), runs)
        slowest, together = max(alone.values()), sum(alone.values())
        print(f"{'all, one by one':24}{together * 1000:9.1f}")
        print(f"{'verify':24}{whole * 1000:9.1f}")
        print(f"\nverify / slowest store     {whole / slowest:6.2f}   (aim: at most {AIM})")
        print(f"verify / all one by one    {whole / together:6.2f}")
        sys.addaudithook(count)
        before = len(world.directory_server.access_log) if world.directory_server else 0
        _verify(ours)
        log = world.directory_server.access_log[before:] if world.directory_server else ""
        searches = len(re.findall(r" SRCH ", log))
        connections = len(re.findall(r"connection from local", log))
        print(f"\nprocesses started: {dict(started)}")
        print(f"LDAP: {connections} connection, {searches} searches over LDAPI (aim: 1 and at most {AIM_SEARCHES})")


def _readers(ours: host.Host) -> dict[str, Callable[[], object]]:
    """Each store's reader, alone."""
    with Evidence(ours) as evidence:
        tracked = evidence.tracked
        subjects = [held.subject for held in map(evidence.held, tracked) if held]
        pins = {one.location: evidence.pin(one.location) for one in tracked if one.storage == "NSSDB"}
        subsystem = evidence.by_role("subsystem")
    readers: dict[str, Callable[[], object]] = {
        "certmonger over D-Bus": lambda: certmonger.read(ours.bus),
        "LDAP": lambda: directory.read(ours.uri, ours.basedn, lambda: subjects),
        "the CA's status page": lambda: served.ca_status(
            f"https://{ours.pki}/ca/admin/ca/getStatus", ours.ca_certificate
        ),
    }
    for number, (location, pin) in enumerate(pins.items(), 1):
        readers[f"NSS database {number}"] = lambda location=location, pin=pin: nss.read(location, None, pin)  # type: ignore[misc]
    for name in ("https", "ldaps", "pki"):
        address: str = getattr(ours, name)
        readers[f"served: {name}"] = lambda address=address: served.certificate(address, server_name=ours.name)  # type: ignore[misc]
    files = [one.location for one in tracked if one.storage == "FILE"]
    readers["PEM files"] = lambda: [pem.read(path) for path in files]
    pin = pins[subsystem.location] if subsystem else None
    if subsystem and pin:
        name, port = ours.ldaps_address
        readers["the bind"] = lambda: external_bind.bind(subsystem.location, subsystem.nickname, pin, name, port)
    return readers


def _verify(ours: host.Host) -> None:
    with Evidence(ours) as evidence:
        results = list(verification.run(evidence, CHECKS))
    status = exit_status(finding for result in results for finding in result.findings)
    if status:
        raise SystemExit(f"the lab is not healthy: {[f for r in results for f in r.findings]}")


def _median(read: Callable[[], object], runs: int) -> float:
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        read()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()

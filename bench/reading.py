# SPDX-License-Identifier: MIT
"""How fast the log is read: `certwitness renewals` beside jq, memory, start-up, and `tail -f` at rest.

    python -m bench.reading [--events N] [--runs N]

Makes a log in a temporary directory: of ten events six are data operations (one daemon start makes eight for each CA),
the others runs of SUBMIT and POLL as the helpers record them, with a CSR's worth of facts, cookies, -vv's stderr and
certificates. Prints medians and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.unit import events_factory as make

# What jq is given to do is less than `renewals --json` does: it picks the runs and what is told of them, and does not
# fold them to renewals (as a reduce over an object, jq takes minutes for it).
JQ_FILTER = """
select(.event == "run.ended" and (.operation == "SUBMIT" or .operation == "POLL"))
| {trace_id, timestamp, nickname, key, ca, attempt, renewal, exit, message: .result.message, next, findings,
   previous: .request.previous, certificate: .result.certificate}
"""
VERBOSE = "".join(
    f"* header {index}: value of a TLS handshake that libcurl tells with -vv\n" for index in range(12)
) + "code = 0\ncode_text = \"No error\"\nresults = \"(null)\"\n"  # fmt: skip
BARE_CLICK = """
import click
@click.command()
@click.argument("code")
def main(code):
    click.echo(code)
main()
"""


def write_log(path: Path, events: int) -> None:
    """About ``events`` events."""
    pem = "-----BEGIN CERTIFICATE-----\n" + ("M" * 64 + "\n") * 22 + "-----END CERTIFICATE-----\n"
    operations = ("IDENTIFY", "FETCH-ROOTS", "GET-SUPPORTED-TEMPLATES", "GET-DEFAULT-TEMPLATE")
    written = number = 0
    with path.open("wb") as file:
        while written < events:
            number += 1
            name: dict[str, Any] = {"nickname": f"certificate {number % 12}", "key": make.digest(str(number % 12))}
            trace, at = f"trace {number}", number * 60.0
            block = [make.data_operation(at + i, operations[i % 4], i) for i in range(9)]
            runs: list[tuple[int, str, make.Event]]
            if number % 4 == 0:  # unreachable, then refused in a loop
                runs = [(3, "Error 7 connecting to https://ipa.example.test:443/ca/ee/ca: no.", {})] * 3
            else:
                cookie: make.Event = {
                    "kind": "delay+cookie",
                    "delay_s": 0,
                    "cookie": {"text": "state=approve", "size": 13},
                }
                result: make.Event = {
                    "kind": "certificate",
                    "format": "PEM",
                    "certificate": make.certificate(number),
                    "key": "same",
                }
                runs = [(5, "0\nstate=approve&requestId=7\n", cookie), (5, "0\nstate=retrieve&requestId=7\n", cookie),
                        (0, pem, result)]  # fmt: skip
            for attempt, (code, stdout, answer) in enumerate(runs, 1):
                block.append(make.started(at + attempt, trace=trace, attempt=attempt, **name))
                block.append(
                    make.ended(at + attempt + 0.5, code=code, trace=trace, attempt=attempt, stdout=stdout,
                               stderr=VERBOSE, result=answer or {"kind": "message", "message": stdout}, **name)
                )  # fmt: skip
            file.writelines(make.line(event) for event in block)
            written += len(block)


def timed(command: list[str], runs: int) -> tuple[float, int]:
    """Median wall time in seconds, and the largest peak memory in KiB."""
    times, peak = [], 0
    for _ in range(runs):
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        times.append(time.perf_counter() - begin)
        peak = max(peak, usage.ru_maxrss)
    return statistics.median(times), peak


def bench_reading(directory: Path, events: int, runs: int) -> None:
    peaks = {}
    for count in (events // 10, events):
        path = directory / "events.jsonl"
        write_log(path, count)
        configuration = directory / "certwitness.conf"
        configuration.write_text(f"[events]\nfile = {path}\n")
        configuration.chmod(0o600)
        ours, peaks[count] = timed([certwitness(), "--config", str(configuration), "renewals", "--json"], runs)
        size = path.stat().st_size
        print(f"{count} events, {size / 1e6:.0f} MB: renewals --json {ours:.2f} s ({size / ours / 1e6:.0f} MB/s), "
              f"peak {peaks[count] // 1024} MiB")  # fmt: skip
        if count == events and shutil.which("jq"):
            theirs, memory = timed(["jq", "-c", JQ_FILTER, str(path)], max(1, runs // 3))
            print(f"    jq, the same runs: {theirs:.2f} s, peak {memory // 1024} MiB; ours / jq = {ours / theirs:.3f}")
        path.unlink()
    # The traces grow with the log here; a log of one renewal shows what the file alone costs.
    for count in (events // 10, events):
        path = directory / "events.jsonl"
        block = b"".join(make.line(make.data_operation(i, number=i)) for i in range(1000))
        with path.open("wb") as file:
            for _ in range(count // 1000):
                file.write(block)
            file.writelines(make.line(event) for event in make.issued())
        _, peak = timed([certwitness(), "--config", str(directory / "certwitness.conf"), "renewals", "--json"], 1)
        print(f"{count} events, one renewal: peak {peak // 1024} MiB")
        path.unlink()


def bench_start(directory: Path, runs: int) -> None:
    bare = directory / "bare.py"
    bare.write_text(BARE_CLICK)
    path = make.write(directory / "events.jsonl", make.issued())
    configuration = str(directory / "certwitness.conf")
    commands = {
        "bare click": [sys.executable, str(bare), "3"],
        "explain 3": [certwitness(), "explain", "3"],
        "explain TEXT": [certwitness(), "explain", "Error 7 connecting to https://ipa.example.test"],
        "renewals": [certwitness(), "--config", configuration, "renewals"],
    }
    # Interleaved, so that a slow moment of the machine meets all alike.
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(timed(command, 1)[0])
    floor = statistics.median(times["bare click"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"start: {name:13} {median * 1000:6.1f} ms, {median / floor:.2f} times a bare click program")
    path.unlink()


def bench_idle(directory: Path, seconds: float) -> None:
    make.write(directory / "events.jsonl", make.issued())
    command = [certwitness(), "--config", str(directory / "certwitness.conf"), "tail", "-f"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1)

    def used() -> float:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def switches() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text().split()
        return int(status[status.index("voluntary_ctxt_switches:") + 1])

    before, woken = used(), switches()
    time.sleep(seconds)
    print(f"tail -f at rest for {seconds:.0f} s: {used() - before:.2f} s of CPU, woken {switches() - woken} times")
    process.terminate()
    process.wait()


def certwitness() -> str:
    return str(Path(sys.executable).with_name("certwitness"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument(
        "--runs", type=int, default=3, help="of the reading of the large log; start-up is run 10 times as often"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certwitness-bench-") as name:
        directory = Path(name)
        bench_reading(directory, options.events, options.runs)
        bench_start(directory, options.runs * 10)
        bench_idle(directory, 5)
    print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()

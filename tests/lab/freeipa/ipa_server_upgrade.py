# SPDX-License-Identifier: MIT
"""Stands in for ipa-server-upgrade, for two of its steps: missing CAs of certmonger are made, and if any request is not
as FreeIPA wants it, all are stopped and added anew (freeipa.md 2.4)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.lab.freeipa.server import Server
from tests.lab.tracked import ALL, IPA, KDC, VARIANTS, helper_commands, request_id, tracking

PATIENCE_S = 20.0


def main(server: Server, _: Sequence[str]) -> int:
    """0; getcert's status if it fails."""
    commands = helper_commands(server.settings)
    known = _getcert(server, "list-cas")
    for name in VARIANTS:
        if f"CA '{name}':" not in known:
            _getcert(server, "add-ca", "-c", name, "-e", commands[name])
    pin = _pin(server)
    wanted = {name: tracking(server.settings, name, pin=pin) for name in ALL if name != KDC}
    listed = _requests(_getcert(server, "list"))
    wrong = [name for name, how in wanted.items() if not _is(listed.get(request_id(name), ""), how.ca, how.after)]
    if wrong:
        print("Missing or incorrect tracking request for certificates:", *wrong, sep="\n  ")
        for name, how in wanted.items():
            if request_id(name) in listed:
                _getcert(server, "stop-tracking", "-i", request_id(name))
            _getcert(server, "start-tracking", "-I", request_id(name), "-c", how.ca, *how.options())
            _wait_until_read(server, request_id(name))
    helper = f"\thelper-location: {commands[IPA]}"
    if helper not in _getcert(server, "list-cas", "-c", IPA):
        _getcert(server, "modify-ca", "-c", IPA, "-e", commands[IPA])
    print("The ipa-server-upgrade command was successful")
    return 0


def _wait_until_read(server: Server, identifier: str) -> None:
    """A request that is added while certmonger reads another one waits five seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while "status: NEWLY_ADDED" in _getcert(server, "list", "-i", identifier) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is(text: str, ca: str, after: str) -> bool:
    return f"\tCA: {ca}\n" in text and f"\tpost-save command: {after}\n" in text


def _requests(text: str) -> dict[str, str]:
    """Request ID -> what getcert list says of it."""
    parts = text.split("Request ID '")[1:]
    return {part.partition("':")[0]: part for part in parts}


def _pin(server: Server) -> str:
    lines = server.settings.password_conf.read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines)["internal"]


def _getcert(server: Server, command: str, *arguments: str) -> str:
    environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": server.settings.bus_address, "LC_ALL": "C"}
    done = subprocess.run(
        ["getcert", command, "-s", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode and command != "list-cas":
        print(f"getcert {command} ended with {done.returncode}: {done.stdout}{done.stderr}", file=sys.stderr)
        raise SystemExit(done.returncode)
    return done.stdout

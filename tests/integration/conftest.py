# SPDX-License-Identifier: MIT
"""A world whose CA has our helper, for the tests that look at what it records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from jsonschema import Draft202012Validator

from tests.lab.world import CA_NAME, HELPER, World

REPOSITORY = Path(__file__).resolve().parents[2]
HELPERS = REPOSITORY / "helpers"
SCHEMA = json.loads((REPOSITORY / "src" / "certwitness" / "events" / "schema.json").read_text())
PATIENCE_S = 20
DATA_OPERATIONS = 8  # what certmonger asks a CA that it gets to know

Event = dict[str, Any]


class Witnessed:
    """A world whose CA has our helper, and the log that it writes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = world.settings.path("log", "certwitness", "events.jsonl")

    def register(self, command: str | None = None, operations: int = DATA_OPERATIONS) -> None:
        """Register `command` (default: our drop-in helper), and wait for the data operations that reach us."""
        self.forget()
        self.world.register(CA_NAME, command or f"{HELPERS / HELPER} --config {self.world.certwitness_config} -vv")
        deadline = time.monotonic() + PATIENCE_S
        while len(self.events()) < operations:
            if time.monotonic() > deadline:
                raise TimeoutError(f"certmonger asked no more than {self.events()}")
            time.sleep(0.02)

    def forget(self) -> None:
        """Empty the log, and the state between runs."""
        self.log.unlink(missing_ok=True)
        shutil.rmtree(self.world.settings.path("certwitness", "renewals"), ignore_errors=True)

    def events(self) -> list[Event]:
        """All events; each must be what the schema says."""
        events = [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []
        for event in events:
            Draft202012Validator(SCHEMA).validate(event)
        return events

    def ended(self) -> list[Event]:
        """The run.ended of SUBMIT and POLL."""
        return [event for event in self.events() if event["event"] == "run.ended" and "renewal" in event]

    def wait_for(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event that is wanted. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event in self.events():
                if wanted(event):
                    return event
            time.sleep(0.02)
        raise TimeoutError(f"no such event among {self.events()}")

    def certwitness(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command on this log."""
        program = "import sys; from certwitness.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--config", str(self.world.certwitness_config), *arguments]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shared() -> Iterator[Witnessed]:
    """One world for the module, with our helper registered."""
    with World() as world:
        witnessed = Witnessed(world)
        witnessed.register()
        yield witnessed


@pytest.fixture
def witnessed(shared: Witnessed) -> Iterator[Witnessed]:
    """The module's world as at its beginning, with an empty log and journal."""
    shared.forget()
    shared.world.settings.journal.write_text("")
    yield shared
    shared.world.reset()

# SPDX-License-Identifier: MIT
"""Stands in for journalctl -o json -t PROGRAM…: the world's journal is a file without times, so all of it counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from tests.lab.freeipa.server import Server

# As syslog(3) numbers them.
PRIORITIES = {"ALERT": "1", "ERR": "3", "NOTICE": "5", "INFO": "6"}
LINE = re.compile(r"(.+?)\[(\d+)\]: ([A-Z]+) (.*)")


def main(server: Server, arguments: Sequence[str]) -> int:
    """The lines of these programs."""
    wanted = [name for option, name in zip(arguments, arguments[1:]) if option == "-t"]
    for line in server.settings.journal.read_text().splitlines():
        found = LINE.fullmatch(line)
        if found and found[1] in wanted:
            print(json.dumps({"PRIORITY": PRIORITIES[found[3]], "_PID": found[2], "MESSAGE": found[4]}))
    return 0

# SPDX-License-Identifier: MIT
"""A hook's run: what certmonger gave it, and what is known of it so far."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from certwitness.config import Config

PRE_SAVE, POST_SAVE = "pre-save", "post-save"
# certmonger's status of a request while it waits for the command, for ever and with nothing else saved meanwhile
# (certmonger.md, 5).
STATUSES = {PRE_SAVE: "PRE_SAVE_CERT", POST_SAVE: "POST_SAVED_CERT"}
# What a conclusion may take beyond landing_s, seconds: a last look that began in time, and a verdict.
CONCLUSION_S = 30


class Save:
    """One run of the hook `phase` (PRE_SAVE or POST_SAVE).

    `certificate` is NAME as given (bytes that are not UTF-8 as `\\xff`), None without; `command` and `environ` are the
    command's; `pid` is ours; `look` is what save_look.py found (nothing yet: {}); `problems` are lines about what of
    ours has failed; `ignored` is the mask of the signals that certmonger left ignored; `config` is set before anybody
    else sees it. Processes beside us get a copy.
    """

    config: Config

    def __init__(self, phase: str, arguments: Sequence[str]) -> None:
        """`arguments`: `[--config FILE] [--cert NAME] [--] [COMMAND [ARG...]]`, as in hooks/pre-save."""
        words = list(arguments)
        given: dict[str, str] = {}
        while words[:1] in (["--config"], ["--cert"]):
            given.update(zip(words[:1], words[1:2]))
            del words[:2]
        self.phase = phase
        self.config_path = given.get("--config")
        name = given.get("--cert")
        # As shown in the log, which is read by programs that take nothing but UTF-8.
        self.certificate = name and name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
        self.command = words[1:] if words[:1] == ["--"] else words
        self.environ = dict(os.environb)
        self.pid = os.getpid()
        self.span_id = os.urandom(8).hex()
        self.look: dict[str, Any] = {}
        self.problems: list[str] = []
        self.ignored = 0

    @property
    def program(self) -> str:
        """The name of the command's program, "" without a command."""
        return os.path.basename(self.command[0]) if self.command else ""

    @property
    def name(self) -> str:
        """The certificate as the checks call it; as it was given where it was not found."""
        return str(self.look.get("name") or self.certificate or "?")

# SPDX-License-Identifier: MIT
"""What a command becomes with certwitness in it, what it was before, and whether it can be run.

    …/dogtag-ipa-ca-renew-agent-submit -vv     →  <ours>/dogtag-ipa-ca-renew-agent-submit -vv
    …/ipa-server-guard …/ipa-submit            →  …/ipa-server-guard <ours>/ipa-submit
    /opt/other-ca --url …                      →  <ours>/submit -- /opt/other-ca --url …
    …/restart_httpd                            →  <ours>/post-save --cert NAME -- …/restart_httpd

All other bytes of a command stay as they are, so taking ours out gives back what was there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from certwitness import places
from certwitness.config import DEFAULT_PATH
from certwitness.registration.command_line import CommandLineError, Word, quote, shown, split, words
from certwitness.save import POST_SAVE, PRE_SAVE
from certwitness.submit import HELPER_DIRECTORIES, is_program, real_helpers

if TYPE_CHECKING:
    from certwitness.config import Config

# The CAs of a FreeIPA server whose helpers are wrapped (freeipa.md, 2.1).
CAS = (
    "dogtag-ipa-ca-renew-agent",
    "dogtag-ipa-ca-renew-agent-reuse",
    "dogtag-ipa-ca-renew-agent-selfsigned",
    "dogtag-ipa-renew-agent",
    "IPA",
)
GUARD = "ipa-server-guard"
# Ours that bear the name of what they wrap, and ours that are given what to run.
DROP_INS = ("dogtag-ipa-ca-renew-agent-submit", "dogtag-ipa-renew-agent-submit", "ipa-submit")
RUNNERS = ("submit", PRE_SAVE, POST_SAVE)
# Another certwitness than this one: an installation, or a checkout that was moved.
_OURS = re.compile(rf"/certwitness(?:/helpers|/hooks)?/(?:{'|'.join((*DROP_INS, *RUNNERS))})\Z")
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # of a helper and of a hook (certmonger.md, 1)


class Wrapping:
    """How this certwitness, with this configuration, stands in a command."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._options = ""
        if config.path not in ("", DEFAULT_PATH):
            self._options = f" --config {quote(os.path.abspath(config.path))}"

    def helper(self, command: str) -> str:
        """`command` of a CA, which has nothing of ours in it, wrapped; behind the guard, if that stands first.

        Raises CommandLineError: certmonger cannot split it, or it runs nothing.
        """
        parts = words(command)
        index = next((index for index, word in enumerate(parts) if os.path.basename(word.text) != GUARD), len(parts))
        if index == len(parts):
            told = f"{GUARD} is given nothing to run" if parts else "nothing to run"
            raise CommandLineError(f"{shown(command)!r}: {told}")
        program, after = parts[index], parts[index + 1 : index + 2]
        name = os.path.basename(program.text)
        # A drop-in runs what it finds, and would take --config for its own.
        if name in DROP_INS and self.real(name) == program.text and not (after and after[0].text == "--config"):
            raw = _swapped(command[program.start : program.end], program.text, f"{places.HELPERS}/{name}")
            return command[: program.start] + raw + self._options + command[program.end :]
        return self._put(command, program, f"{places.HELPERS}/submit", "")

    def hook(self, command: str, phase: str, certificate: str) -> str:
        """`command` of a request, which has nothing of ours in it, wrapped. Raises CommandLineError."""
        parts = words(command)
        if not parts:
            raise CommandLineError(f"{shown(command)!r}: nothing to run")
        return self._put(command, parts[0], f"{places.HOOKS}/{phase}", f" --cert {quote(certificate)}")

    def original(self, command: str) -> str:
        """`command` without anything of ours; as it is, if there is nothing. Raises CommandLineError."""
        while True:
            parts = words(command)
            index = next((index for index, word in enumerate(parts) if is_ours(word.text)), None)
            if index is None:
                return command
            program, rest = parts[index], _given(parts[index:])
            name = os.path.basename(program.text)
            if name in RUNNERS:
                if not rest:
                    raise CommandLineError(f"{shown(command)!r}: {program.text} is given nothing to run")
                command = command[: program.start] + command[rest[0].start :]
                continue
            real = self.real(name)
            if not real:
                raise CommandLineError(f"{shown(command)!r}: {self._gone(name)}")
            raw = _swapped(command[program.start : program.end], program.text, real)
            end = parts[len(parts) - len(rest) - 1].end
            command = command[: program.start] + raw + command[end:]

    def real(self, name: str) -> str:
        """The helper that our drop-in `name` runs, "" if it finds none. Another certwitness's is none."""
        there = real_helpers(name, f"{places.HELPERS}/{name}", self._config)
        return next((path for path in there if not is_ours(path)), "")

    def fault(self, command: str) -> str:
        """Why `command` cannot be run as root by certmonger, "" if it can: each program in it is looked for."""
        try:
            return self._fault(split(command))
        except CommandLineError as error:
            return str(error)

    def _fault(self, arguments: Sequence[str]) -> str:
        if not arguments:
            return "nothing to run"
        program = arguments[0]
        name = os.path.basename(program)
        path = program if "/" in program else shutil.which(program, path=_PATH) or program
        if not is_program(path):
            return f"{program} cannot be executed" if os.path.exists(path) else f"{program}: there is no such program"
        if name == GUARD:
            return self._fault(arguments[1:]) if arguments[1:] else f"{GUARD} is given nothing to run"
        if not is_ours(program):
            return ""
        if name in RUNNERS:
            return self._fault([word.text for word in _given([Word(text, 0, 0) for text in arguments])])
        return "" if self.real(name) else self._gone(name)

    def _put(self, command: str, program: Word, ours: str, more: str) -> str:
        return f"{command[: program.start]}{quote(ours)}{self._options}{more} -- {command[program.start :]}"

    @staticmethod
    def _gone(name: str) -> str:
        where = " and ".join(HELPER_DIRECTORIES)
        return f"the real {name} is neither in {where} nor named in [helpers] of the configuration"


def is_ours(path: str) -> bool:
    """Whether the path is that of one of our helpers or hooks, be it there or not."""
    directory, name = os.path.split(path)
    if name in (PRE_SAVE, POST_SAVE) and directory == places.HOOKS:
        return True
    return (name in (*DROP_INS, "submit") and directory == places.HELPERS) or bool(_OURS.search(path))


def is_wrapped(command: str) -> bool:
    """Whether there is anything of ours in the command. One that cannot be split has nothing that would run."""
    try:
        return any(is_ours(word) for word in split(command))
    except CommandLineError:
        return False


def guards(command: str) -> list[int]:
    """At which words of the command FreeIPA's guard stands. Raises CommandLineError."""
    return [index for index, word in enumerate(split(command)) if os.path.basename(word) == GUARD]


def _given(parts: Sequence[Word]) -> Sequence[Word]:
    """What follows our own options in `parts`, which begin with one of our programs."""
    name, index = os.path.basename(parts[0].text), 1
    # A hook takes its options in any order; a helper takes one, and what follows is the real one's.
    hook = name in (PRE_SAVE, POST_SAVE)
    while index + 1 < len(parts) and (parts[index].text == "--config" or (hook and parts[index].text == "--cert")):
        index += 2
        if not hook:
            break
    return parts[index + 1 if name in RUNNERS and index < len(parts) and parts[index].text == "--" else index :]


def _swapped(raw: str, old: str, new: str) -> str:
    """The word `raw` for another program, in the same quotes if it was in any."""
    odd = raw == quote(old) or quote(new) != new or raw.count(old) != 1
    return quote(new) if odd else raw.replace(old, new)

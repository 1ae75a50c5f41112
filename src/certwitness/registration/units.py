# SPDX-License-Identifier: MIT
"""The gate's drop-ins for systemd: what each must say here, where it goes, and putting it there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certwitness import places, whole_file
from certwitness.config import DEFAULT_PATH
from certwitness.errors import CertwitnessError

if TYPE_CHECKING:
    from certwitness.config import Config
    from certwitness.registration.state import Entry

FILE = "certwitness-gate.conf"
START_GATE = "start-gate"
# As the drop-ins in install/systemd name it.
_PACKAGED = f"/usr/libexec/certwitness/{START_GATE}"
_RELOAD_S = 60
_BOOTED = "/run/systemd/system"  # sd_booted(3): without it there is no systemd that would have read anything


@dataclass(frozen=True)
class DropIn:
    """A drop-in: the unit, its path, what it says ("" if there is none), and what it is to say."""

    unit: str
    path: str
    now: str
    wanted: str


def drop_ins(config: Config, known: Iterable[Entry] = ()) -> tuple[list[DropIn], list[tuple[str, str]]]:
    """All that this installation has, and those `known` from the state file; and those whose place cannot be read, as
    unit and reason."""
    found, unread = [], []
    texts = {entry.name: entry.after for entry in known}
    for source in Path(places.GATE_UNITS).glob(f"*.d/{FILE}"):
        text = source.read_text(encoding="utf-8").replace(_PACKAGED, _command(config))
        texts[source.parent.name[: -len(".d")]] = text
    for unit, wanted in sorted(texts.items()):
        path = os.path.join(config.units, f"{unit}.d", FILE)
        try:
            found.append(DropIn(unit, path, read(path), wanted))
        except CertwitnessError as error:
            unread.append((unit, str(error)))
    return found, unread


def read(path: str) -> str:
    """What the drop-in says, "" if there is none. Raises CertwitnessError."""
    try:
        return whole_file.read(path).decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CertwitnessError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def write(path: str, text: str) -> None:
    """Have the drop-in say `text`; "" removes it, and its directory if nothing else is in it. Raises
    CertwitnessError."""
    directory = os.path.dirname(path)
    try:
        if text:
            whole_file.make_directories([directory], 0o755)
            whole_file.replace(path, text.encode(), 0o644)
            return
        if os.path.lexists(path):
            os.unlink(path)
        if not os.listdir(directory):
            os.rmdir(directory)
    except FileNotFoundError as error:
        if text:
            raise CertwitnessError(f"{error.filename}: {error.strerror}") from None
    except OSError as error:
        raise CertwitnessError(f"{path}: {error.strerror or error}") from None


def reload() -> str:
    """Have systemd read its units anew; what went wrong, "" if nothing did."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not os.path.isdir(_BOOTED):
        return ""
    try:
        done = subprocess.run(
            [systemctl, "daemon-reload"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_RELOAD_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    else:
        if done.returncode == 0:
            return ""
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    return f"systemctl daemon-reload: {said}; systemd reads the drop-ins at the next one"


def fault() -> str:
    """Why systemd could not run the gate, "" if it can. The drop-ins let a service start without it."""
    path = f"{places.HOOKS}/{START_GATE}"
    return "" if os.path.isfile(path) and os.access(path, os.X_OK) else f"{path} is not there, or cannot be executed"


def _command(config: Config) -> str:
    """How systemd is to call the gate: "%" is its own, and quotes are much like a shell's (systemd.service(5))."""
    words = [f"{places.HOOKS}/{START_GATE}"]
    if config.path not in ("", DEFAULT_PATH):
        words += ["--config", os.path.abspath(config.path)]
    return " ".join(shlex.quote(word.replace("%", "%%").replace("$", "$$")) for word in words)

# SPDX-License-Identifier: MIT
"""Where the programs are that certmonger and systemd run, and the drop-ins that name them.

In a checkout they are beside the package; an installation has helpers and hooks together in one directory.
"""

from __future__ import annotations

from pathlib import Path

# `make install` writes the directories of its PREFIX here.
LIBEXEC = "/usr/libexec/certwitness"
UNITS = "/usr/share/certwitness/systemd"

_checkout = Path(__file__).resolve().parents[2]
_is_checkout = (_checkout / "helpers" / "submit").is_file()
# With services and timers, as `make install` puts them into systemd.
is_installed = not _is_checkout

HELPERS = str(_checkout / "helpers") if _is_checkout else LIBEXEC
HOOKS = str(_checkout / "hooks") if _is_checkout else LIBEXEC
# The gate's drop-ins: <unit>.d/certwitness-gate.conf.
GATE_UNITS = str(_checkout / "install" / "systemd") if _is_checkout else UNITS

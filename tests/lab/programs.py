# SPDX-License-Identifier: MIT
"""The programs of a world: shell wrappers that bear the names of FreeIPA's helpers and hooks, small tools in bin/, and
certwitness.conf.

certmonger clears the environment, so each wrapper carries its world's directory.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.lab.settings import Settings

HELPERS = ("dogtag-ipa-ca-renew-agent-submit", "ipa-server-guard")
HOOKS = ("stop_pkicad", "renew_ca_cert", "renew_ra_cert_pre", "renew_ra_cert", "restart_httpd", "restart_dirsrv")

STAND_IN = """\
#!/bin/sh
{guard}exec {python} -I {run} {world} {name} "$@"
"""

# FreeIPA's helper answers 6 to all but SUBMIT and POLL. certmonger asks eight things of each CA at its start and at
# every change: the answer is given here, as 24 starts of Python would cost more than all the rest of a world.
ENROLLMENT_ONLY = """\
case "$CERTMONGER_OPERATION" in SUBMIT | POLL) ;; *) exit 6 ;; esac
"""

GETCERT = """\
#!/bin/sh
# getcert of this world: on its private bus.
[ $# -gt 0 ] || exec {getcert}
command=$1
shift
DBUS_SESSION_BUS_ADDRESS={address} exec {getcert} "$command" -s "$@"
"""

FAULT = """\
#!/bin/sh
# fault on NAME [VALUE] | fault off NAME | fault: what is on
mkdir -p {faults} && cd {faults} || exit
case "$1" in
on) printf '%s' "$3" > "./$2" ;;
off) rm -f -- "./$2" ;;
*) ls ;;
esac
"""


CERTWITNESS_CONFIGURATION = """\
[events]
file = {world}/log/certwitness/events.jsonl

[state]
directory = {world}/certwitness

[helpers]
{helper} = {helpers}/{helper}
"""


def write_configuration(settings: Settings) -> Path:
    """certwitness.conf for this world, and the two directories that it names. Returns its path."""
    for directory in (settings.path("log", "certwitness"), settings.path("certwitness")):
        directory.mkdir(mode=0o700)
    path = settings.path("certwitness.conf")
    path.touch(mode=0o600)
    path.write_text(
        CERTWITNESS_CONFIGURATION.format(world=settings.directory, helpers=settings.helpers, helper=HELPERS[0])
    )
    return path


def write_stand_ins(settings: Settings) -> None:
    """libexec/certmonger and libexec/ipa/certmonger."""
    run = Path(__file__).with_name("freeipa") / "run.py"
    for directory, names in ((settings.helpers, HELPERS), (settings.hooks, HOOKS)):
        for name in names:
            text = STAND_IN.format(
                python=shlex.quote(sys.executable),
                run=shlex.quote(str(run)),
                world=shlex.quote(settings.directory),
                name=name,
                guard=ENROLLMENT_ONLY if name == HELPERS[0] else "",
            )
            _write(directory / name, text)


def write_tools(settings: Settings, bus_address: str, getcert: str) -> Path:
    """bin/getcert and bin/fault, for a shell in the world. Returns the directory."""
    _write(
        settings.path("bin", "getcert"),
        GETCERT.format(getcert=shlex.quote(getcert), address=shlex.quote(bus_address)),
    )
    _write(settings.path("bin", "fault"), FAULT.format(faults=shlex.quote(str(settings.faults))))
    return settings.path("bin")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)

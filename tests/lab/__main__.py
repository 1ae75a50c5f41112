# SPDX-License-Identifier: MIT
"""``python -m tests.lab up``: a shell in a running world. ``python -m tests.lab faults``: what can go wrong in it.

``python -m tests.lab break NAME...``: a shell in a full world, a CA server with KRA, that is broken in these ways.
``python -m tests.lab breaks``: the ways.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.faults import CATALOGUE

if TYPE_CHECKING:
    from tests.lab.world import World

REPOSITORY = Path(__file__).resolve().parents[2]

GUIDE = """\
A world is up in {seconds:.1f} s:
  directory        {world}
  certmonger       log/certmonger; getcert speaks to it: getcert list, getcert resubmit -w -i {request}
  tracked          {request}: "subsystemCert cert-pki-ca" in pki/alias (PIN in pki/pin)
  helpers, hooks   libexec/certmonger, libexec/ipa/certmonger; what they tell syslog: log/journal
  Dogtag           {ee} (stand-in), {agent}; its debug log: log/pki-debug
  389-ds           {ldap}
  certwitness      {config}, events go to log/certwitness/events.jsonl
  register it      getcert modify-ca -c dogtag-ipa-ca-renew-agent -e \\
                     '{helper} --config {config} -vv'
  faults           fault on NAME [VALUE], fault off NAME, fault (what is on); python -m tests.lab faults lists them
The world ends with this shell.
"""

FULL_GUIDE = """\
A CA server with KRA is up in {seconds:.1f} s, and broken:
{broken}
  directory        {world}
  requests         thirteen: getcert list
  certwitness      {config}
  stores           pki/alias, pki/ca/CS.cfg, pki/kra/CS.cfg, ipa/, krb5kdc/, dirsrv/config (NSS and certmap.conf)
  389-ds           {ldap}
  services         localhost: httpd {settings.https_port}, pki {settings.pki_port}, LDAPS {settings.ldaps_port}
  tools            stand-ins: systemctl, ipa, ipa-certupdate, ipa-server-upgrade, kinit; the others are the real ones
The world ends with this shell.
"""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a world and a shell in it; the world ends with the shell")
    up.add_argument("--no-ldap", action="store_true", help="without 389-ds: up sooner, but FreeIPA's helper fails")
    up.add_argument("--lifetime-days", type=float, default=720, help="what the tracked certificate has left")
    up.add_argument("--fault", action="append", default=[], metavar="NAME[=VALUE]", help="on from the start")
    up.add_argument("--run", metavar="COMMAND", help="run this shell command in the world instead of a shell")
    commands.add_parser("faults", help="list what can be made to go wrong")
    broken = commands.add_parser("break", help="start a full world with inconsistencies in it, and a shell in it")
    broken.add_argument("names", nargs="+", metavar="NAME")
    broken.add_argument("--run", metavar="COMMAND", help="run this shell command in the world instead of a shell")
    commands.add_parser("breaks", help="list the inconsistencies that can be made")
    options = parser.parse_args(arguments)
    if options.command in ("break", "breaks"):
        return _break(parser, options)
    if options.command == "faults":
        width = max(map(len, CATALOGUE))
        print("\n".join(f"{name:{width}}  {description}" for name, description in CATALOGUE.items()))
        return 0
    unknown = [fault for fault in options.fault if fault.partition("=")[0] not in CATALOGUE]
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; python -m tests.lab faults lists them")
    return _up(options)


def _up(options: argparse.Namespace) -> int:
    from tests.lab.world import SUBSYSTEM, World, request_id

    started = time.monotonic()
    with World(ldap=not options.no_ldap, tracked=()) as world:
        for fault in options.fault:
            name, _, value = fault.partition("=")
            world.faults.on(name, value)
        world.track(SUBSYSTEM, lifetime=timedelta(days=options.lifetime_days))
        server = world.directory_server
        if server:
            ldap = f"ldapsearch -Q -Y EXTERNAL -H {server.ldapi.uri} -b o=ipaca; {server.ldaps_uri}"
        guide = GUIDE.format(
            seconds=time.monotonic() - started,
            world=world.directory,
            request=request_id(SUBSYSTEM),
            ee=world.dogtag.ee_url,
            agent=world.dogtag.agent_url,
            ldap=ldap if server else "not in this world",
            config=world.certwitness_config,
            helper=REPOSITORY / "helpers" / "dogtag-ipa-ca-renew-agent-submit",
        )
        return _run(world, options.run, guide)


def _break(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from tests.lab.breaks import BREAKS
    from tests.lab.world import World

    if options.command == "breaks":
        width = max(map(len, BREAKS))
        for each in sorted(BREAKS.values(), key=lambda one: one.row):
            print(f"{each.name:{width}}  {each.row or '-':>2}  {each.description}")
        return 0
    unknown = [name for name in options.names if name not in BREAKS]
    if unknown:
        parser.error(f"no break {unknown[0]!r}; python -m tests.lab breaks lists them")
    started = time.monotonic()
    with World(full=True) as world:
        for name in options.names:
            BREAKS[name].apply(world)
        assert world.directory_server is not None
        guide = FULL_GUIDE.format(
            seconds=time.monotonic() - started,
            broken="\n".join(f"  {BREAKS[name].description}" for name in options.names),
            world=world.directory,
            config=world.certwitness_config,
            ldap=f"ldapsearch -Q -Y EXTERNAL -H {world.directory_server.ldapi.uri} -b o=ipaca",
            settings=world.settings,
        )
        return _run(world, options.run, guide)


def _run(world: World, command: str | None, guide: str) -> int:
    """The command, or a shell after the guide, in the world. Returns the exit status."""
    shell = os.environ.get("SHELL", "/bin/sh")
    if not command:
        print(guide, flush=True)
    path = os.pathsep.join([str(world.directory / "bin"), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        [shell, "-c", command] if command else [shell],
        cwd=world.directory,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    ).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

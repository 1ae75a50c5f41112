# SPDX-License-Identifier: MIT
"""The programs of a world: shell wrappers that bear the names of FreeIPA's helpers and hooks, small tools in bin/, and
certwitness.conf.

certmonger clears the environment, so each wrapper carries its world's directory.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.lab.settings import HOST, REALM, SUFFIX, Settings

HELPERS = ("dogtag-ipa-ca-renew-agent-submit", "ipa-server-guard", "ipa-submit")
HOOKS = (
    "stop_pkicad",
    "renew_ca_cert",
    "renew_ra_cert_pre",
    "renew_ra_cert",
    "restart_httpd",
    "restart_dirsrv",
    "renew_kdc_cert",
)
# bin/ of a world: stands in for these of an administrator's tools. ldapmodify, certutil and openssl are the real ones.
ADMIN_TOOLS = {
    "systemctl": "systemctl of this world: start, stop, restart, try-restart, is-active of its own units.",
    "ipa": "ipa of this world: config-show, config-mod --ca-renewal-master-server=HOST.",
    "ipa-certupdate": "ipa-certupdate of this world: CA store -> ipa/ca.crt and both NSS databases.",
    "journalctl": "journalctl of this world: what its programs said, -o json; of its options only -t counts.",
    "ipa-server-upgrade": "ipa-server-upgrade of this world: makes missing CAs and tracking requests of certmonger.",
}

STAND_IN = """\
#!/bin/sh
{guard}exec {python} -I {run} {world} {name} "$@"
"""

# FreeIPA's helper answers 6 to all but SUBMIT and POLL, its guard lets five operations through. certmonger asks eight
# things of each CA at its start and at every change: those answers are given here, as so many starts of Python would
# cost more than all the rest of a world.
REFUSE_OTHERS = """\
case "$CERTMONGER_OPERATION" in {operations}) ;; *) exit 6 ;; esac
"""
OPERATIONS = {
    "dogtag-ipa-ca-renew-agent-submit": "SUBMIT | POLL",
    "ipa-server-guard": "SUBMIT | POLL | FETCH-ROOTS | IDENTIFY | GET-NEW-REQUEST-REQUIREMENTS",
    "ipa-submit": "SUBMIT | POLL",
}

TOOL = """\
#!/bin/sh
# Stands in for {text}
exec {python} -I {run} {world} {name} "$@"
"""

KINIT = """\
#!/bin/sh
# Stands in for kinit: there is no KDC in a world, and nothing in it asks for a ticket.
exit 0
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
ipa-submit = {helpers}/ipa-submit

[certmonger]
bus = {bus}
requests_directory = {world}/certmonger/requests

[ipa]
realm = {realm}
basedn = {suffix}
host = {host}
ca_certificate = {settings.ca_certificate}
pki_nssdb = {settings.nss_directory}
pki_password_file = {settings.password_conf}
ra_certificate = {settings.ra_certificate}
ra_key = {settings.ra_key}
cs_cfg = {settings.cs_cfg}
certmap = {settings.certmap}
renewal_lock = {settings.renewal_lock}
server_xml = {settings.server_xml}
proxy_conf = {settings.proxy_conf}

[directory]
uri = {ldapi}
{ldaps_uri}
[services]
https = localhost:{settings.https_port}
{ldaps}pki = localhost:{settings.pki_port}

[hooks]
landing_s = 2

[registration]
units = {world}/systemd
"""


def write_configuration(settings: Settings) -> Path:
    """certwitness.conf for this world, and the directories that it names. Returns its path."""
    for directory in (settings.path("log", "certwitness"), settings.path("certwitness"), settings.path("systemd")):
        directory.mkdir(mode=0o700)
    path = settings.path("certwitness.conf")
    path.touch(mode=0o600)
    ldaps = f"localhost:{settings.ldaps_port}"
    path.write_text(
        CERTWITNESS_CONFIGURATION.format(
            world=settings.directory,
            helpers=settings.helpers,
            helper=HELPERS[0],
            bus=settings.bus_address,
            settings=settings,
            realm=REALM,
            suffix=SUFFIX,
            host=HOST,
            ldapi="ldapi://" + str(settings.ldapi_socket).replace("/", "%2F"),
            ldaps_uri=f"ldaps_uri = ldaps://{ldaps}\n" if settings.has_ldap else "",
            ldaps=f"ldaps = {ldaps}\n" if settings.has_ldap else "",
        )
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
                guard=REFUSE_OTHERS.format(operations=OPERATIONS[name]) if name in OPERATIONS else "",
            )
            _write(directory / name, text)


def write_tools(settings: Settings, bus_address: str, getcert: str) -> Path:
    """bin/: getcert, fault and the administrator's tools, for a shell in the world. Returns the directory."""
    _write(
        settings.path("bin", "getcert"),
        GETCERT.format(getcert=shlex.quote(getcert), address=shlex.quote(bus_address)),
    )
    run = Path(__file__).with_name("freeipa") / "run.py"
    words = {"python": sys.executable, "run": str(run), "world": settings.directory}
    for name, text in ADMIN_TOOLS.items():
        quoted = {key: shlex.quote(value) for key, value in words.items()}
        _write(settings.path("bin", name), TOOL.format(text=text, name=name, **quoted))
    _write(settings.path("bin", "kinit"), KINIT)
    _write(settings.path("bin", "fault"), FAULT.format(faults=shlex.quote(str(settings.faults))))
    return settings.path("bin")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)

# SPDX-License-Identifier: MIT
"""Services, their configuration, and the renewal lock: rows 19, 20, 22, 23, 25 and 26."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone

from tests.lab.breaks.landing import land, renewed, restart
from tests.lab.breaks.registry import breaks
from tests.lab.freeipa.lock import FORMAT
from tests.lab.full import AJP_SECRET
from tests.lab.tracked import HTTP, LDAP, PKI_SERVER
from tests.lab.world import World


@breaks("stale-lock", 19, "The renewal lock is held, for half an hour still, by a helper that is dead.")
def _stale_lock(world: World) -> None:
    until = datetime.now(timezone.utc) + timedelta(minutes=30)
    owner = f"{PROGRAM}[{_dead_process()}]"
    world.settings.renewal_lock.touch(mode=0o600)
    world.settings.renewal_lock.write_text(
        f"[lock]\nlocked = 1\nowner = {owner}\nexpire = {until.strftime(FORMAT)}\n\n"
    )


@breaks("pki-stopped", 20, "pki-tomcatd is stopped.")
def _pki_stopped(world: World) -> None:
    world.pki.stop()


@breaks("https-old-in-memory", 22, "A new certificate of httpd landed, but httpd was not restarted.")
def _https_old(world: World) -> None:
    land(world, HTTP, renewed(world, HTTP), but=("restart",))


@breaks("pki-old-in-memory", 22, "A new Server-Cert cert-pki-ca landed, but pki-tomcatd was not restarted.")
def _pki_old(world: World) -> None:
    land(world, PKI_SERVER, renewed(world, PKI_SERVER), but=("restart",))


@breaks("ldaps-old-in-memory", 22, "A new certificate of 389-ds landed, but 389-ds was not restarted.")
def _ldaps_old(world: World) -> None:
    land(world, LDAP, renewed(world, LDAP), but=("restart",))


@breaks("ajp-secret-differs", 23, "server.xml and ipa-pki-proxy.conf have different AJP secrets.")
def _ajp_secret(world: World) -> None:
    path = world.settings.proxy_conf
    path.write_text(path.read_text().replace(AJP_SECRET, "q8Xk2nLw5tRz"))


@breaks("certmap-wrong-issuer", 25, "certmap.conf maps certificates of another issuer, and 389-ds has read it.")
def _certmap(world: World) -> None:
    path = world.settings.certmap
    path.write_text(path.read_text().replace("O=IPADOMAIN.COM", "O=EXAMPLE.ORG"))
    restart(world, LDAP)


@breaks("basic-auth", 26, "CS.cfg says BasicAuth for the internal database, as an interrupted cert-fix leaves it.")
def _basic_auth(world: World) -> None:
    path = world.settings.cs_cfg
    line = "internaldb.ldapauth.authtype="
    path.write_text(path.read_text().replace(f"{line}SslClientAuth", f"{line}BasicAuth"))


PROGRAM = "dogtag-ipa-ca-renew-agent-submit"


def _dead_process() -> int:
    """The id of a process that was there a moment ago."""
    with subprocess.Popen(["true"]) as process:
        return process.pid

# SPDX-License-Identifier: MIT
"""``make demo``: an outage without certwitness; then, with it, a good renewal, one with Dogtag down, one whose
certificate is lost on its way into LDAP, and that outage again; after each what ``getcert list`` says, and what
certwitness says."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass

from tests.lab.demo_stage import REPOSITORY, OtherwiseError, Stage, tell
from tests.lab.world import SUBSYSTEM, World

SERVED = "Server-Cert cert-pki-ca"
PKI = "pki-tomcatd@pki-tomcat"
ALL_WELL = "landed everywhere they must be"

BEGINNING = f"""\
certmonger renews FreeIPA's certificates by itself, and says MONITORING when it is done. That a renewed
certificate is also everywhere it must be, in LDAP for instance, it does not know, and nobody else looks.
certwitness does: it stands between certmonger and the CA's helper, passes everything on unchanged, and
records every run; it looks into the stores before and after each save; and it refuses the restart of a
service that is proven to fail.

This demo plays it in a world of its own: a CA server with KRA and all of its 13 certificates, with the real
certmonger, the real dogtag-ipa-renew-agent-submit, a real 389-ds and real NSS databases. Stand-ins are
Dogtag, systemd, and FreeIPA's helper and hooks. It needs no IPA server, touches nothing of this machine, and
leaves nothing behind. The certificate that is renewed is {SUBSYSTEM!r}: with it Dogtag
(pki-tomcatd) logs in to the directory."""

WITHOUT = """\
First, a server without certwitness. When certmonger has saved the new certificate it runs FreeIPA's hook
renew_ca_cert, which has to write it into the entry uid=pkidbuser: 389-ds accepts pki-tomcatd's login only if
the certificate that it shows is there. Now the directory refuses that write (the fault
`people-update-fails`), and certmonger renews:"""
WITHOUT_JOURNAL = """\
A new date of expiry, MONITORING, no error: the hook has ended with exit status 0, and certmonger asks for
no more. The journal knows better, if somebody reads it (a file in this world, journalctl on a server):"""
WITHOUT_DOWN = """\
The second line is the hook's own restart of pki-tomcatd: in this world it fails at once, on a server after
the time it names. The CA is down from now on. Logins go on without a CA, so it may take weeks until
somebody misses it: at an upgrade, or when the next certificate is due. And then this is what there is:"""
WITHOUT_49 = """\
Error 49 is "invalid credentials". The certificate, its key, the PIN, certmap.conf, the entry: it may be any
of them, and this log (on a server /var/log/pki/pki-tomcat/ca/debug) does not say which. The certificate is
new and valid, and certmonger is content."""

REGISTERING = """\
The same server again, as it was before that renewal, and now with certwitness. It shows what it would
change, here for the first CA; <checkout>/helpers has programs with the names of those that they wrap, and
--config stands there only because this is not /etc/certwitness/certwitness.conf:"""
REGISTERED = """\
With --hooks it also stands around the commands before and after a save, with --gate before the start of
the services; `certwitness unregister` puts everything back, byte for byte."""

GOOD_SHOW = """\
And the whole story of the latest one, from its first run until it landed. (The helper's own output, long
because of -vv, is left out here with grep.)"""
GOOD_STATUS = """\
`certwitness status` has all thirteen. A row is a certificate, a column a store in which it must be:"""

DOWN_OVER = """\
Dogtag is back. certmonger would wait for the time shown above; we ask at once. (Asked in this state
certmonger submits twice, with or without certwitness: that makes 5 tries, as the row will say below.)"""

LOST = """\
Now a failure that nobody sees. Dogtag issues the certificate, but LDAP refuses the write to
cn=ca_renewal (the fault `ldap-store-lost`), from where every other CA server of the domain takes it.
FreeIPA's helper tries ten times, every 30 seconds (here without the wait). Then it gives up, and tells
certmonger that all went well."""
LOST_SHOW = """\
It has seen the attempts: the helper keeps their number in the cookie that certmonger carries from run
to run, and certwitness takes cookies apart."""
LOST_BREAKS = """\
This server works on. The others look into cn=ca_renewal every eight hours and find nothing new: theirs
expires, months from now, and no message leads from there to here. LDAP takes writes again by now (the
fault is off), but the helper does not try an eleventh time. So we paste exactly the commands that were
printed. (The demo takes them out of `verify --json`, where scripts find the same ones. On this screen, and
only here, certificates in base64 are shortened.)"""

USERS = """\
And now the outage of the beginning once more: the directory refuses the hook's write to uid=pkidbuser."""
USERS_TOLD = """\
certmonger is as content as before. But the hook around renew_ca_cert has looked into the stores when that
had ended, and tried the login itself, with certificate and key from the NSS database. One row a renewal:"""
USERS_GATE = """\
And when renew_ca_cert wanted to start pki-tomcatd, systemd asked the gate first (ExecStartPre=), which
refused: no timeout, no error 49, but the reason. So it does to anybody who tries:"""
USERS_HOLD = """\
What is refused stays on top of the screen until its cause is gone. The certificate is the first row: in all
of its stores but one, an older one at its user (usr). The ? in the second row: the CA is down, so nobody can
see what it serves (srv)."""
USERS_VERIFY = """\
`certwitness verify` names the cause, what comes of it, and what to do:"""
USERS_PASTE = """\
The fault is off again, but the hook runs once a renewal: by itself nothing would mend this until the
next one, in two years, and that needs the CA. Again we paste what was printed, and nothing else:"""
USERS_OVER = "pki-tomcatd has started: the gate looked again, and allowed it. Is all well?"

SUMMARY = """\
  renewal                 certmonger            certwitness
  1 not in uid=pkidbuser  MONITORING, no error  (not there: error 49, and no record says why)
  2 good                  MONITORING            OK: landed
  3 Dogtag down           CA_UNREACHABLE, why   WARNING: why, and when certmonger tries again
  4 not in cn=ca_renewal  MONITORING, no error  WARNING: did not land, where, and the remedy
  5 not in uid=pkidbuser  MONITORING, no error  CRITICAL: did not land, the start refused, the remedy

Exit statuses are those of monitoring plugins, so `certwitness verify` can be one of yours.

What to do next:

  .venv/bin/certwitness checks              all that is compared, and what it means if it fails
  .venv/bin/certwitness explain 3           what an exit code or a message means, and what to do
  .venv/bin/python -m tests.lab breaks      the other ways in which such a server can be broken
  .venv/bin/python -m tests.lab break NAME  a shell in a world that is broken so, to try verify in
  README.md                                 how to install and register it on a real server"""


@dataclass(frozen=True)
class Serials:
    """Serial numbers of the certificate in the stores."""

    nss: int
    ca_renewal: int
    pkidbuser: int


def serials(world: World) -> Serials:
    """What the stores hold now, read by the lab and not by certwitness."""
    return Serials(
        world.nss_certificate(SUBSYSTEM).serial_number,
        world.ca_renewal_certificate(SUBSYSTEM).serial_number,
        max(certificate.serial_number for certificate in world.people_certificates("pkidbuser")),
    )


def without(stage: Stage) -> None:
    """The outage of a server that has no certwitness."""
    world = stage.world
    before = serials(world)
    tell(WITHOUT, "1. An outage, without certwitness")
    _outage(stage, before)
    tell(WITHOUT_JOURNAL)
    journal = stage.show(f"grep -E 'ERR .*(pkidbuser|Cannot start)' {world.settings.journal}", 0)
    stage.expect("Cannot start pki_tomcatd" in journal, "the hook could start pki-tomcatd")
    tell(WITHOUT_DOWN)
    stage.show(f"systemctl start {PKI}", 1)
    stage.expect("(49)" in stage.show(f"tail -n 1 {world.settings.pki_debug}"), "Dogtag's log does not say 49")
    tell(WITHOUT_49)
    world.reset()
    stage.expect(serials(world) == before, "the world is not as it was before")


def good(stage: Stage) -> None:
    """Registration, and a renewal that reaches every store."""
    before = serials(stage.world)
    tell(REGISTERING, "2. A good renewal, with certwitness")
    stage.show(f"{stage.certwitness} register --dry-run | head -n 4")
    tell(REGISTERED)
    stage.show(f"{stage.certwitness} register --hooks --gate --yes | tail -n 1")
    tell("We ask certmonger to renew the certificate and to wait for the end.")
    stage.resubmit("status: MONITORING")
    tell("certmonger is content. What does certwitness say? One row a renewal:")
    stage.witness("renewals", 0)
    tell(GOOD_SHOW)
    story = stage.show(f"{stage.certwitness} show | grep -v stderr:")
    stage.expect("\nlanded: " in story, "certwitness show does not say landed")
    tell(GOOD_STATUS)
    stage.witness("status", 0)
    after = serials(stage.world)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after == Serials(after.nss, after.nss, after.nss), "a store did not get the new certificate")


def down(stage: Stage) -> None:
    """A renewal while Dogtag is down, and its end once Dogtag is back."""
    before = serials(stage.world)
    tell(
        "Now nothing listens on Dogtag's ports (the lab's fault `dogtag-down`), else all is the same.",
        "3. Dogtag is down",
    )
    with stage.world.faults.active("dogtag-down"):
        stage.resubmit("status: CA_UNREACHABLE")
        tell("certmonger shows the failure, but not when it tries again. certwitness does:")
        stage.witness("renewals", 1)
        stage.expect(serials(stage.world) == before, "a certificate was renewed without a CA")
    tell(DOWN_OVER)
    stage.resubmit("status: MONITORING")
    stage.expect(serials(stage.world).nss > before.nss, "the certificate was not renewed after Dogtag was back")


def lost(stage: Stage) -> None:
    """The silent failure that other servers suffer from."""
    before = serials(stage.world)
    tell(LOST, "4. Lost on its way into LDAP")
    with stage.world.faults.active("ldap-store-lost"):
        said = stage.resubmit("status: MONITORING")
    stage.expect("ca-error" not in said, "certmonger has noticed the failure")
    tell("According to certmonger nothing is wrong: no error, a new date of expiry. certwitness knows better:")
    stage.expect("did not land" in stage.witness("renewals", 1), "certwitness did not see that it did not land")
    tell(LOST_SHOW)
    seen = stage.show(f"{stage.certwitness} show | grep -o 'step store; [^;]*'")
    stage.expect("failed 9 times" in seen, "certwitness did not see nine failures")
    tell("`certwitness verify` says what is wrong, what it breaks, and how to mend it:")
    verified = stage.witness("verify", 2)
    stage.expect("cn=ca_renewal," in verified, "certwitness verify does not name the entry")
    after = serials(stage.world)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after.ca_renewal == before.ca_renewal, "the certificate was stored in LDAP all the same")
    tell(LOST_BREAKS)
    stage.paste(verified, "ca-renewal")
    stage.expect(ALL_WELL in stage.witness("verify", 0), "the remedy did not mend cn=ca_renewal")
    stage.expect(serials(stage.world).ca_renewal == after.nss, "cn=ca_renewal still has the old certificate")


def users(stage: Stage) -> None:
    """The outage of the beginning, seen, refused and mended."""
    world = stage.world
    tell(USERS, "5. The outage, with certwitness")
    _outage(stage, serials(world))
    tell(USERS_TOLD)
    stage.expect("not land: users" in stage.witness("renewals", 2), "the hook did not say that it did not land")
    tell(USERS_GATE)
    stage.show(f"systemctl start {PKI}", 1)
    refused = stage.show(f"tac {world.settings.journal} | sed '/BLOCK/q' | tac | grep -o 'NOTICE .*'")
    stage.expect("pki-tomcatd: BLOCK" in refused, "the gate did not refuse the start")
    top, _, table = stage.witness("status", 2).partition("\ncertificate ")
    stage.expect("pki-tomcatd" in top, "certwitness status does not show the hold")
    rows = table.splitlines()
    stage.expect(rows[1].startswith(SUBSYSTEM) and " old " in rows[1], "the certificate is not the first row")
    stage.expect(rows[3].startswith(SERVED) and " ? " in rows[3], f"{SERVED!r} is not the second row")
    tell(USERS_HOLD)
    tell(USERS_VERIFY)
    verified = stage.witness("verify", 2)
    for expected in ("user-certificate", "pkidbuser-bind", "will not start", "uid=pkidbuser,ou=people,o=ipaca"):
        stage.expect(expected in verified, f"certwitness verify does not say {expected!r}")
    tell(USERS_PASTE)
    stage.paste(verified, "user-certificate", "pkidbuser-bind", "ca-running")
    active = stage.show(f"systemctl is-active {PKI}", 0)
    stage.expect(active.strip() == "active" and world.pki.running, "pki-tomcatd did not start")
    tell(USERS_OVER)
    stage.expect(ALL_WELL in stage.witness("verify", 0), "the remedy did not mend pkidbuser")
    tell("And before an upgrade, one question about all services:")
    stage.witness("gate --all", 0)
    tell("The story of this renewal has another end:")
    ending = stage.show(f"{stage.certwitness} show | grep -A1 '^landed'")
    stage.expect(ending.startswith("landed: "), "certwitness show does not end with landed")


def _outage(stage: Stage, before: Serials) -> None:
    """A renewal that certmonger is content with, and pkidbuser does not hear of."""
    with stage.world.faults.active("people-update-fails"):
        said = stage.resubmit("status: MONITORING")
    stage.expect("ca-error" not in said, "certmonger has noticed the failure")
    after = serials(stage.world)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after.pkidbuser == before.pkidbuser, "the certificate was written to pkidbuser all the same")


def main() -> int:
    """Tell it all. Returns the exit status: 0, or 1 with one line on stderr if something went otherwise."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    tell(BEGINNING, "certwitness: an outage, twice")
    started = time.monotonic()
    try:
        with World(full=True) as world:
            stage = Stage(world)
            tell(
                f"The world came up in {time.monotonic() - started:.1f} s. Below, <world> stands for "
                f"{world.directory} and <checkout> for {REPOSITORY}."
            )
            for scene in (without, good, down, lost, users):
                scene(stage)
            tell(SUMMARY, "What was seen")
    except (OtherwiseError, LookupError, OSError, RuntimeError, ValueError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"\nThe world is gone again. The demo took {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

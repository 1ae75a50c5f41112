# SPDX-License-Identifier: MIT
"""``make demo``: a good renewal, one with Dogtag down, one whose certificate is lost on its way into LDAP, and one that
leaves pki-tomcatd unable to start; after each what ``getcert list`` says, and what certwitness says."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass

from tests.lab.demo_stage import REPOSITORY, OtherwiseError, Stage, tell
from tests.lab.world import CA_NAME, HELPER, SUBSYSTEM, World

SERVED = "Server-Cert cert-pki-ca"
PKI = "pki-tomcatd@pki-tomcat"
ALL_WELL = "landed everywhere they must be"

BEGINNING = f"""\
certmonger renews FreeIPA's certificates by itself, and says MONITORING when it is done. That a renewed
certificate is also everywhere it must be, in LDAP for instance, it does not know, and nobody else looks.
certwitness does, in two ways: it stands between certmonger and the CA's helper, passes everything on
unchanged, and records every run; and it compares the stores, whenever you ask.

This demo plays it in a world of its own: a CA server with KRA and all of its 13 certificates, with the real
certmonger, the real dogtag-ipa-renew-agent-submit, a real 389-ds and real NSS databases. Stand-ins are
Dogtag, and FreeIPA's helper and hooks. It needs no IPA server, touches nothing of this machine, and leaves
nothing behind. The certificate that is renewed four times is {SUBSYSTEM!r}: with it
Dogtag (pki-tomcatd) logs in to the directory."""

REGISTERING = """\
Registering is one command: certmonger gets our helper in place of FreeIPA's. It has the same name and
takes the same options; the configuration says where the real one is. (On a server --config is not
needed: /etc/certwitness/certwitness.conf is the default.)"""

GOOD_SHOW = """\
And the whole story of the latest one, run by run. (The helper's own output, long because of -vv, is
left out here with grep.)"""
GOOD_STATUS = """\
Issued is not yet landed, as the last line says. `certwitness status` looks into the stores. A row is a
certificate, a column a store in which it must be:"""

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
LOST_LIMIT = """\
How the tenth and last attempt went is in no output and no exit status that a helper's caller gets to see:
hence WARNING, and the advice to compare. FreeIPA's helper tells the end to the journal alone (a file in
this world, journalctl on a server):"""
LOST_BREAKS = """\
This server works on. The others look into cn=ca_renewal every eight hours and find nothing new: theirs
expires, months from now, and no message leads from there to here. LDAP takes writes again by now (the
fault is off), but the helper does not try an eleventh time. So we paste exactly the commands that were
printed. (The demo takes them out of `verify --json`, where scripts find the same ones. On this screen, and
only here, certificates in base64 are shortened.)"""

USERS = """\
The last one ends with a server whose pki-tomcatd does not start. When certmonger has saved the new
certificate it runs FreeIPA's hook renew_ca_cert, which has to write it into the entry uid=pkidbuser:
389-ds accepts pki-tomcatd's login only if the certificate that it shows is there. At first all is in place:"""
USERS_FAULT = """\
Now the directory refuses the hook's write to uid=pkidbuser (the fault `people-update-fails`):"""
USERS_JOURNAL = """\
A new date of expiry, MONITORING, no error: the hook has ended with exit status 0, and certmonger asks for
no more. The journal knows better, if somebody reads it:"""
USERS_DOWN = """\
The second line is the hook's own restart of pki-tomcatd: in this world it fails at once, on a server after
the time it names. The CA is down from now on. Logins go on without a CA, so it may take weeks until
somebody misses it: at an upgrade, or when the next certificate is due. And then this is what there is:"""
USERS_49 = """\
Error 49 is "invalid credentials". The certificate, its key, the PIN, certmap.conf, the entry: it may be any
of them, and this log (on a server /var/log/pki/pki-tomcat/ca/debug) does not say which. The certificate is
new and valid, and certmonger is content. certwitness:"""
USERS_STATUS = """\
The certificate is the first row now: in all of its stores but one, an older one at its user (usr). The ?
in the second row: the CA is down, so nobody can see what it serves (srv). `certwitness verify` names all:"""
USERS_BIND = """\
pkidbuser-bind is the real thing: certwitness has logged in as pki-tomcatd does, with certificate and key
from the NSS database, and got the same 49. user-certificate is its cause, ca-running what comes of it.
The log has heard of it: the renewal that counted as issued did not land."""
USERS_GATE = """\
On a server months may lie between the renewal and the restart that finds it out. So certwitness also has
a gate: systemd can ask it before a start (ExecStartPre=), and it refuses one that is proven to fail:"""
USERS_PASTE = """\
The fault is off again, but the hook runs once a renewal: by itself nothing would mend this until the
next one, in two years, and that needs the CA. Again we paste what was printed, and nothing else:"""
USERS_OVER = "pki-tomcatd has started. Is all well?"

SUMMARY = """\
  renewal                 certmonger            certwitness
  1 good                  MONITORING            OK: landed
  2 Dogtag down           CA_UNREACHABLE, why   WARNING: why, and when certmonger tries again
  3 not in cn=ca_renewal  MONITORING, no error  ERROR: the other CA servers never get it; the remedy
  4 not in uid=pkidbuser  MONITORING, no error  CRITICAL: pki-tomcatd will not start; the remedy

Exit statuses are those of monitoring plugins, so `certwitness verify` can be one of yours.

What to do next:

  .venv/bin/certwitness checks              all that is compared, and what it means if it fails
  .venv/bin/certwitness explain 3           what an exit code or a message means, and what to do
  .venv/bin/python -m tests.lab breaks      the other ways in which such a server can be broken
  .venv/bin/python -m tests.lab break NAME  a shell in a world that is broken so, to try verify in
  README.md                                 how to register certwitness on a real server"""


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


def good(stage: Stage) -> None:
    """A renewal that reaches every store."""
    before = serials(stage.world)
    tell("Everything is up. We ask certmonger to renew the certificate and to wait for the end.", "1. A good renewal")
    stage.resubmit("status: MONITORING")
    tell("certmonger is content. What does certwitness say? One row a renewal:")
    stage.witness("renewals", 0)
    tell(GOOD_SHOW)
    stage.show(f"{stage.certwitness} show | grep -v stderr:")
    tell(GOOD_STATUS)
    stage.witness("status", 0)
    tell("certmonger is right: the certificate is in place, and so are the other twelve.")
    after = serials(stage.world)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after == Serials(after.nss, after.nss, after.nss), "a store did not get the new certificate")


def down(stage: Stage) -> None:
    """A renewal while Dogtag is down, and its end once Dogtag is back."""
    before = serials(stage.world)
    tell(
        "Now nothing listens on Dogtag's ports (the lab's fault `dogtag-down`), else all is the same.",
        "2. Dogtag is down",
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
    tell(LOST, "3. Lost on its way into LDAP")
    with stage.world.faults.active("ldap-store-lost"):
        said = stage.resubmit("status: MONITORING")
    stage.expect("ca-error" not in said, "certmonger has noticed the failure")
    tell("According to certmonger nothing is wrong: no error, a new date of expiry. certwitness is not so sure:")
    stage.witness("renewals", 1)
    tell(LOST_SHOW)
    seen = stage.show(f"{stage.certwitness} show | grep -o 'step store; [^;]*'")
    stage.expect("failed 9 times" in seen, "certwitness did not see nine failures")
    tell(LOST_LIMIT)
    journal = stage.show(f"grep 'Giving up' {stage.world.settings.journal}")
    stage.expect("Giving up" in journal, "FreeIPA's helper did not give up")
    tell("So we compare. `certwitness verify` says what is wrong, what it breaks, and how to mend it:")
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
    """The silent failure after which pki-tomcatd does not start."""
    world = stage.world
    before = serials(world)
    tell(USERS, "4. pki-tomcatd does not start")
    stage.witness("status", 0)
    tell(USERS_FAULT)
    with world.faults.active("people-update-fails"):
        said = stage.resubmit("status: MONITORING")
    stage.expect("ca-error" not in said, "certmonger has noticed the failure")
    after = serials(world)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after.pkidbuser == before.pkidbuser, "the certificate was written to pkidbuser all the same")
    tell(USERS_JOURNAL)
    journal = stage.show(f"grep -E 'ERR .*(pkidbuser|Cannot start)' {world.settings.journal}", 0)
    stage.expect("Cannot start pki_tomcatd" in journal, "the hook could start pki-tomcatd")
    tell(USERS_DOWN)
    stage.show(f"systemctl start {PKI}", 1)
    stage.expect("(49)" in stage.show(f"tail -n 1 {world.settings.pki_debug}"), "Dogtag's log does not say 49")
    tell(USERS_49)
    rows = stage.witness("status", 2).partition("\ncertificate ")[2].splitlines()
    stage.expect(rows[1].startswith(SUBSYSTEM) and " old " in rows[1], "the certificate is not the first row")
    stage.expect(rows[3].startswith(SERVED) and " ? " in rows[3], f"{SERVED!r} is not the second row")
    tell(USERS_STATUS)
    verified = stage.witness("verify", 2)
    for expected in ("user-certificate", "pkidbuser-bind", "will not start", "uid=pkidbuser,ou=people,o=ipaca"):
        stage.expect(expected in verified, f"certwitness verify does not say {expected!r}")
    tell(USERS_BIND)
    ending = stage.show(f"{stage.certwitness} show | grep -A2 '^did not land'")
    stage.expect(ending.startswith("did not land: users"), "certwitness show does not say what did not land")
    tell(USERS_GATE)
    refused = stage.show(f"hooks/start-gate --config {world.certwitness_config} pki-tomcatd", 2)
    stage.expect("pki-tomcatd: BLOCK" in refused, "the gate does not refuse the start")
    tell(USERS_PASTE)
    stage.paste(verified, "user-certificate", "pkidbuser-bind", "ca-running")
    active = stage.show(f"systemctl is-active {PKI}", 0)
    stage.expect(active.strip() == "active" and world.pki.running, "pki-tomcatd did not start")
    tell(USERS_OVER)
    stage.expect(ALL_WELL in stage.witness("verify", 0), "the remedy did not mend pkidbuser")
    tell("The gate has nothing against a restart any more:")
    stage.witness("gate pki-tomcatd", 0)
    tell("And so the story of this renewal has another end:")
    ending = stage.show(f"{stage.certwitness} show | tail -n 1")
    stage.expect(ending.startswith("landed: "), "certwitness show does not end with landed")


def main() -> int:
    """Tell it all. Returns the exit status: 0, or 1 with one line on stderr if something went otherwise."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    tell(BEGINNING, "certwitness: four renewals")
    started = time.monotonic()
    try:
        with World(full=True) as world:
            stage = Stage(world)
            tell(
                f"The world came up in {time.monotonic() - started:.1f} s. Below, <world> stands for "
                f"{world.directory} and <checkout> for {REPOSITORY}."
            )
            tell(REGISTERING)
            stage.show(
                f"getcert modify-ca -c {CA_NAME} -e \\\n"
                f"    '{REPOSITORY}/helpers/{HELPER} --config {world.certwitness_config} -vv'"
            )
            for scene in (good, down, lost, users):
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

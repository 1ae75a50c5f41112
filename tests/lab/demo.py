# SPDX-License-Identifier: MIT
"""``make demo``: a good renewal, one with Dogtag down, one whose certificate is lost on its way into LDAP; after each
what ``getcert list`` says, and what certwitness says."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.world import CA_NAME, HELPER, SUBSYSTEM, World, request_id

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = 100
REQUEST = request_id(SUBSYSTEM)
STATUS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

BEGINNING = f"""\
certwitness stands between certmonger and a CA's helper. It passes everything on unchanged and records
every run, so that afterwards you can see what a renewal really did.

This demo runs it in a world of its own: the real certmonger, the real dogtag-ipa-renew-agent-submit,
a real 389-ds and a real NSS database. Stand-ins are Dogtag, and FreeIPA's helper and hooks around it.
The certificate is {SUBSYSTEM!r}, with which Dogtag logs in to the directory. It needs
no IPA server, touches nothing of this machine, and leaves nothing behind."""

REGISTERING = """\
Registering is one command: certmonger gets our helper in place of FreeIPA's. It has the same name and
takes the same options; the configuration says where the real one is. (On a server --config is not
needed: /etc/certwitness/certwitness.conf is the default.)"""

GOOD_SHOW = """\
And the whole story of the latest one, run by run. (The helper's own output, long because of -vv, is
left out here with grep.)"""

DOWN_OVER = """\
Dogtag is back. certmonger would wait for the time shown above; we ask at once. The runs that follow
belong to the same renewal and join its row. (Asked in this state certmonger submits
twice, with or without certwitness.)"""

LOST = """\
Last, the failure that nobody sees: Dogtag issues the certificate, but LDAP refuses the write to
cn=ca_renewal (the fault `ldap-store-lost`), from where every other CA server of the domain takes it.
FreeIPA's helper tries ten times, every 30 seconds (here without the wait). Then it gives up, and tells
certmonger that all went well."""
LOST_SHOW = """\
It has seen the attempts. The helper keeps their number in the cookie that certmonger carries from run
to run, and certwitness takes cookies apart. (grep picks the lines about it.)"""
LOST_LIMIT = """\
What certwitness can tell at this point, and what it cannot: nine failures are proven. How the tenth and
last attempt went is in no output and no exit status that a helper's caller gets to see, so the renewal
counts as issued, as certmonger has it, but with a WARNING and the advice to compare. FreeIPA's helper
tells the end to the journal alone (a file in this world, journalctl on a server):"""
LOST_BREAKS = """\
This server works on. The others look into cn=ca_renewal every eight hours and will never see a new
certificate there: theirs expires, months from now, and no message leads from there to here."""

SUMMARY = """\
  renewal            certmonger                certwitness
  good               MONITORING                issued, OK
  Dogtag down        CA_UNREACHABLE, why       unreachable, WARNING: why, and when again
  lost on its way    MONITORING, no error      issued, WARNING: not stored nine times, compare

certwitness sees what the helper is given and what it gives back. It does not look into the stores (NSS, LDAP)
itself yet: the comparisons above were made by the lab.

What to do next:

  .venv/bin/certwitness explain 3       what an exit code or a message means, and what to do
  .venv/bin/python -m tests.lab up      a shell in such a world, to try things by hand
  README.md                             how to register certwitness on a real server"""


class OtherwiseError(Exception):
    """A scene did not go as told."""


@dataclass(frozen=True)
class Serials:
    """Serial numbers of the certificate in the stores."""

    nss: int
    ca_renewal: int
    pkidbuser: int


class Stage:
    """Tells, and runs commands in a world as somebody in the checkout would type them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        path = os.pathsep.join([str(world.directory / "bin"), os.environ.get("PATH", os.defpath)])
        self._environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": str(COLUMNS)}
        self.certwitness = f".venv/bin/certwitness --config {world.certwitness_config}"

    def show(self, command: str) -> str:
        """Run a shell command that writes plain text, and print both. Returns the output."""
        self._print_command(command)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        self._print_output(output)
        return output

    def renewals(self, status: int) -> str:
        """`certwitness renewals` as it looks on a terminal; it must end with `status`. Returns the output."""
        command = f"{self.certwitness} renewals"
        self._print_command(command)
        code, output = on_terminal(shlex.split(command), self._environment)
        if not self._colour:
            output = re.sub(r"\x1b\[[0-9;]*m", "", output)
        self._print_output(output)
        print(f"(exit status {code}, as monitoring plugins have it: {STATUS[code] if code < len(STATUS) else '?'})")
        self.expect(code == status, f"certwitness renewals ended with {code} instead of {status}")
        return output

    def resubmit(self, expected: str) -> str:
        """Renew and show what certmonger says of it, which must hold `expected`. Returns that."""
        self.show(f"getcert resubmit -i {REQUEST} -w")
        self.world.certmonger.wait_for(REQUEST)
        said = self.show(f"getcert list -i {REQUEST} | grep -E 'status|stuck|ca-error|expires'")
        self.expect(expected in said, f"getcert list does not say {expected!r}")
        return said

    def serials(self) -> Serials:
        """What the stores hold now."""
        return Serials(
            self.world.nss_certificate(SUBSYSTEM).serial_number,
            self.world.ca_renewal_certificate(SUBSYSTEM).serial_number,
            self.world.people_certificates("pkidbuser")[-1].serial_number,
        )

    def stores(self, before: Serials) -> Serials:
        """Print what the stores hold, beside the serial numbers `before`. Returns it."""
        now = self.serials()
        for where, old, new in (
            ("NSS database, where certmonger saves it", before.nss, now.nss),
            ("cn=ca_renewal in LDAP, for the other CA servers", before.ca_renewal, now.ca_renewal),
            ("uid=pkidbuser in LDAP, Dogtag's login", before.pkidbuser, now.pkidbuser),
        ):
            print(f"  {where:48} serial {new:2}  {'new' if new > old else 'still the old one'}")
        return now

    @staticmethod
    def expect(held: bool, otherwise: str) -> None:
        """Raise OtherwiseError with `otherwise` unless it held."""
        if not held:
            raise OtherwiseError(otherwise)

    def _print_command(self, command: str) -> None:
        line = f"$ {self._short(command)}"
        print(f"\n\x1b[1m{line}\x1b[0m" if self._colour else f"\n{line}", flush=True)

    def _print_output(self, output: str) -> None:
        text = re.sub(r"\A(\s*\n)+", "", self._short(output)).rstrip()
        for line in text.expandtabs(4).splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            # What a terminal would break anywhere is broken between words. Marked lines fit: they come from a terminal.
            wrapped = textwrap.wrap(line, COLUMNS, subsequent_indent=indent) if "\x1b" not in line else [line]
            print("\n".join(wrapped))

    def _short(self, text: str) -> str:
        return text.replace(str(self.world.directory), "<world>").replace(str(REPOSITORY), "<checkout>")


def on_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose output goes to a terminal of COLUMNS. Returns its exit status and the output."""
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    output = b""
    try:
        while block := os.read(ours, 65536):
            output += block
    except OSError:
        pass  # how Linux tells the end of a terminal
    finally:
        os.close(ours)
    return child.wait(), output.decode(errors="replace").replace("\r\n", "\n")


def good(stage: Stage) -> None:
    """A renewal that reaches every store."""
    before = stage.serials()
    tell("Everything is up. We ask certmonger to renew the certificate and to wait for the end.", "1. A good renewal")
    stage.resubmit("status: MONITORING")
    tell("certmonger is content. What does certwitness say? One row a renewal:")
    stage.renewals(0)
    tell(GOOD_SHOW)
    stage.show(f"{stage.certwitness} show | grep -v stderr:")
    tell("Both are right. Where the certificate has to be, it is:")
    after = stage.stores(before)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after == Serials(after.nss, after.nss, after.nss), "a store did not get the new certificate")


def down(stage: Stage) -> None:
    """A renewal while Dogtag is down, and its end once Dogtag is back."""
    before = stage.serials()
    tell(
        "Now nothing listens on Dogtag's ports (the lab's fault `dogtag-down`), else all is the same.",
        "2. Dogtag is down",
    )
    with stage.world.faults.active("dogtag-down"):
        stage.resubmit("status: CA_UNREACHABLE")
        tell("certmonger shows the failure, but not when it tries again, nor what else the helper said:")
        stage.renewals(1)
        tell("Here with all that the helper wrote to stderr; certmonger leaves it as loose lines in the journal:")
        stage.show(f"{stage.certwitness} show")
        tell("The old certificate is everywhere still, as it should be:")
        stage.expect(stage.stores(before) == before, "a certificate was renewed without a CA")
    tell(DOWN_OVER)
    stage.resubmit("status: MONITORING")
    stage.renewals(0)
    stage.expect(stage.serials().nss > before.nss, "the certificate was not renewed after Dogtag was back")


def lost(stage: Stage) -> None:
    """The silent failure."""
    before = stage.serials()
    tell(LOST, "3. Lost on its way into LDAP")
    with stage.world.faults.active("ldap-store-lost"):
        said = stage.resubmit("status: MONITORING")
    stage.expect("ca-error" not in said, "certmonger has noticed the failure")
    tell("According to certmonger nothing is wrong: no error, a new date of expiry. certwitness is not so sure:")
    stage.renewals(1)
    tell(LOST_SHOW)
    seen = stage.show(f"{stage.certwitness} show | \\\n    grep -E '^issued|^[0-9]|exit|storing'")
    stage.expect("failed 9 times" in seen, "certwitness did not see nine failures")
    tell(LOST_LIMIT)
    journal = stage.show(f"grep 'Giving up' {stage.world.settings.journal}")
    stage.expect("Giving up" in journal, "FreeIPA's helper did not give up")
    tell("So we compare:")
    after = stage.stores(before)
    stage.expect(after.nss > before.nss, "the certificate was not renewed")
    stage.expect(after.ca_renewal == before.ca_renewal, "the certificate was stored in LDAP all the same")
    tell(LOST_BREAKS)


def tell(words: str, title: str = "") -> None:
    """Narrate, under a title where a scene begins."""
    if title:
        print(f"\n\n{title}\n{'=' * len(title)}")
    for part in words.split("\n\n"):
        is_table = part.startswith(" ")
        print("\n" + (part if is_table else textwrap.fill(part, COLUMNS - 4, break_on_hyphens=False)), flush=True)


def main() -> int:
    """Tell it all. Returns the exit status: 0, or 1 with one line on stderr if something went otherwise."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    tell(BEGINNING, "certwitness: three renewals")
    started = time.monotonic()
    try:
        with World() as world:
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
            for scene in (good, down, lost):
                scene(stage)
            tell(SUMMARY, "What was seen")
    except (OtherwiseError, LookupError, OSError, RuntimeError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"\nThe world is gone again. The demo took {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

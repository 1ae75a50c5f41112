# SPDX-License-Identifier: MIT
"""The gate on a whole CA server: what it blocks is what really does not start, and nothing else is blocked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwitness import config, gate, holds, host, judging
from certwitness.checks import BY_NAME
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL
from certwitness.gate import Verdict
from certwitness.verification import run
from tests.integration.broken import examine, heal
from tests.integration.conftest import REPOSITORY
from tests.lab.breaks import BREAKS
from tests.lab.breaks.landing import dirsrv_nss, held
from tests.lab.ca import key_of, key_pem
from tests.lab.issuing import PIN
from tests.lab.services import Service, ServiceError, ServiceManager, refusal
from tests.lab.tracked import LDAP
from tests.lab.world import SUBSYSTEM, World

pytestmark = pytest.mark.lab

HOOK = REPOSITORY / "hooks" / "start-gate"
PKI = "pki-tomcatd"
BIND = "pkidbuser-bind"
LIMIT_S = 15.0
# Break: service: the checks that prove it. All others block nothing.
BLOCKED: dict[str, dict[str, set[str]]] = {
    "pki-wrong-pin": {PKI: {"pin"}},
    "nss-certificate-missing": {"dirsrv": {"saved"}},
    "pkidbuser-old-certificate": {PKI: {"user-certificate", BIND}},
    "subsystem-users-old-certificate": {PKI: {"user-certificate", BIND}},
    "pkidbuser-no-seealso": {PKI: {"pkidbuser-seealso", BIND}},
    "pkidbuser-wrong-seealso": {PKI: {"pkidbuser-seealso", BIND}},
    "pkidbuser-binary-beside": {PKI: {"user-binary", BIND}},
    "ipaca-not-replicated": {PKI: {"user-certificate", BIND}},
    "certmap-wrong-issuer": {PKI: {"certmap", BIND}},
    "nss-ca-missing": {PKI: {"ca-store", BIND}},
    "trust-ca-lost": {PKI: {"trust-flags"}},
}
# What is told beside, and blocks nothing.
WARNED: dict[str, dict[str, set[str]]] = {
    "expired": {"krb5kdc": {"expiry"}},
    "not-yet-valid": {"krb5kdc": {"expiry"}},
    "pem-key-mismatch": {"krb5kdc": {"key"}},
    "store-missing": {"krb5kdc": {"saved"}},
    "store-not-pem": {"krb5kdc": {"saved"}},
    "nss-key-missing": {PKI: {"key"}},
    "pkidbuser-second-seealso": {PKI: {BIND}},
    "basic-auth": {PKI: {"internal-database"}},
}
SELF_TESTS = (
    "selftests.container.order.startup=CAPresence:critical, SystemCertsVerification:critical\n"
    "ca.cert.list=signing,ocsp_signing,sslserver,subsystem,audit_signing\n"
    "ca.cert.signing.nickname=caSigningCert cert-pki-ca\n"
    "ca.cert.ocsp_signing.nickname=ocspSigningCert cert-pki-ca\n"
    "ca.cert.subsystem.nickname=subsystemCert cert-pki-ca\n"
)


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """One full world for the module."""
    with World(full=True) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The module's world, healthy, without holds and log."""
    forget(shared_world)
    yield shared_world
    shared_world.reset()


def forget(world: World) -> None:
    shutil.rmtree(world.settings.path("certwitness", "holds"), ignore_errors=True)
    log(world).unlink(missing_ok=True)


def log(world: World) -> Path:
    return world.settings.path("log", "certwitness", "events.jsonl")


def events(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log(world).read_text().splitlines()] if log(world).exists() else []


def ask(world: World, *, now_plus: timedelta | None = None) -> dict[str, Verdict]:
    """All verdicts."""
    there = host.load(config.load(str(world.certwitness_config)))
    evidence = Evidence(there)
    if now_plus:
        evidence.now += now_plus
    return {verdict.service: verdict for verdict in judging.verdicts(evidence, [*gate.SERVICES.values()], {}, LIMIT_S)}


def start_gate(world: World, service: str = PKI) -> subprocess.CompletedProcess[str]:
    command = [str(HOOK), "--config", str(world.certwitness_config), service]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd="/")


def tools(world: World) -> list[str]:
    """The command lines of NSS tools that run on this world's stores."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(world.directory) in line and re.search(r"/(tstclnt|certutil) ", line):
                found.append(line)
    return found


def reasons(verdicts: dict[str, Verdict]) -> dict[str, set[str]]:
    return {name: {one.check for one in found.reasons} for name, found in verdicts.items() if not found.allow}


def warnings(verdicts: dict[str, Verdict]) -> dict[str, set[str]]:
    return {name: {one.check for one in found.warnings} for name, found in verdicts.items() if found.warnings}


def starts(service: Service) -> bool:
    """Whether it really comes up again."""
    service.stop()
    try:
        service.start()
    except ServiceError:
        return False
    return True


def dirsrv_starts(world: World, patience_s: float = 5) -> bool:
    """Whether the real 389-ds answers within that time."""
    server = world.directory_server
    assert server is not None
    server.stop()
    server.launch()
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and server.running:
        if server.socket.exists() and server.ldapi.answers():
            return True
        time.sleep(0.05)
    server.kill()
    return False


@pytest.mark.parametrize("name", [None, *BREAKS])
def test_blocked_is_what_does_not_start(world: World, name: str | None) -> None:
    """For each break: the verdicts, and the services started for real come up if and only if they are allowed."""
    if name:
        BREAKS[name].apply(world)
    verdicts = ask(world)
    assert reasons(verdicts) == BLOCKED.get(name or "", {})
    assert warnings(verdicts) == WARNED.get(name or "", {})
    assert starts(world.pki) == verdicts[PKI].allow
    assert starts(world.httpd) == verdicts["httpd"].allow
    assert starts(world.krb5kdc)
    if name in (None, "nss-certificate-missing", "wrong-pin", "ldaps-old-in-memory"):
        assert dirsrv_starts(world) == verdicts["dirsrv"].allow


def test_every_break_is_known() -> None:
    """The tables name no break that is not there."""
    assert set(BLOCKED) | set(WARNED) <= set(BREAKS)


class TestServices:
    """What the breaks do not have."""

    def test_dirsrv_without_its_key(self, world: World) -> None:
        """389-ds without the private key ends at once."""
        certificate = held(world, LDAP)
        dirsrv_nss(world).delete_pair(LDAP)
        dirsrv_nss(world).add(LDAP, certificate)
        assert reasons(ask(world)) == {"dirsrv": {"key"}}
        assert not dirsrv_starts(world)

    def test_dirsrv_with_a_wrong_pin(self, world: World) -> None:
        """389-ds with a wrong pin.txt waits for somebody to type it."""
        pin = world.settings.dirsrv_configuration / "pin.txt"
        pin.write_text("Internal (Software) Token:Wrong.123")
        assert reasons(ask(world)) == {"dirsrv": {"pin"}}
        assert not dirsrv_starts(world)

    @pytest.mark.parametrize("what", ["missing", "no PEM", "key", "no key", "pin"])
    def test_httpd(self, world: World, what: str) -> None:
        """httpd does not start without certificate, key or PIN, or where they do not fit."""
        settings = world.settings
        if what == "missing":
            settings.httpd_certificate.unlink()
        elif what == "no PEM":
            settings.httpd_certificate.write_text("nothing")
        elif what == "key":
            settings.httpd_key.write_bytes(key_pem(key_of("somebody else")))
        elif what == "no key":
            settings.httpd_key.unlink()
        else:
            settings.httpd_pin_file.write_text("Wrong.123")
        assert set(reasons(ask(world))) == {"httpd"}
        assert not starts(world.httpd)

    def test_subsystem_without_its_key(self, world: World) -> None:
        """Without the subsystem's key there is no bind: the start fails."""
        certificate = held(world, SUBSYSTEM)
        world.nss.delete_pair(SUBSYSTEM)
        world.nss.add(SUBSYSTEM, certificate)
        assert reasons(ask(world)) == {PKI: {"key"}}
        assert not starts(world.pki)

    def test_subsystem_gone(self, world: World) -> None:
        """Without the subsystem's certificate, too."""
        world.nss.delete_pair(SUBSYSTEM)
        assert reasons(ask(world)) == {PKI: {"saved"}}
        assert not starts(world.pki)

    def test_expired_with_the_self_test(self, world: World) -> None:
        """Expired certificates stop the CA where CS.cfg has the self-test; httpd and 389-ds start all the same."""
        later = timedelta(days=3650)
        assert "expiry" not in reasons(ask(world, now_plus=later)).get(PKI, set())
        with open(world.settings.cs_cfg, "a", encoding="ascii") as cs_cfg:
            cs_cfg.write(SELF_TESTS)
        verdicts = ask(world, now_plus=later)
        assert reasons(verdicts) == {PKI: {"expiry"}}
        assert {one.certificate for one in verdicts[PKI].reasons} >= {SUBSYSTEM, "ocspSigningCert cert-pki-ca"}
        assert warnings(verdicts)["httpd"] == warnings(verdicts)["dirsrv"] == {"expiry"}

    def test_without_the_bind(self, world: World) -> None:
        """With the bind switched off, what LDAP holds is the proof."""
        BREAKS["pkidbuser-old-certificate"].apply(world)
        text = world.certwitness_config.read_text()
        try:
            world.certwitness_config.write_text(f"{text}\n[checks]\nbind = no\n")
            verdict = ask(world)[PKI]
        finally:
            world.certwitness_config.write_text(text)
        assert [one.check for one in verdict.reasons] == ["user-certificate"]
        assert {one.check for one in verdict.unseen} == {BIND}


class TestUnseen:
    """What cannot be seen never blocks."""

    def test_no_directory(self, world: World) -> None:
        """With 389-ds down everything may start, and the verdict says that LDAP was not seen."""
        BREAKS["pkidbuser-old-certificate"].apply(world)
        assert world.directory_server is not None
        world.directory_server.stop()
        verdicts = ask(world)
        assert reasons(verdicts) == {}
        assert BIND in {one.check for one in verdicts[PKI].unseen}
        done = start_gate(world)
        assert done.returncode == 0
        assert "not everything was seen" in done.stdout

    def test_no_certmonger(self, world: World) -> None:
        """With certmonger down nothing healthy is blocked; Dogtag's certificates are found all the same."""
        world.certmonger.stop()
        verdicts = ask(world)
        assert reasons(verdicts) == {}
        assert {one.check for one in verdicts["httpd"].unseen} == {"tracking"}
        BREAKS["pkidbuser-no-seealso"].apply(world)
        assert set(reasons(ask(world))) == {PKI}

    def test_the_directory_hangs(self, world: World) -> None:
        """389-ds that answers nothing costs the limit (bench/gate.py has the seconds), and blocks nothing."""
        assert world.directory_server is not None
        os.kill(world.directory_server.pid, signal.SIGSTOP)
        try:
            for service in gate.SERVICES:
                done = start_gate(world, service)
                assert done.returncode == 0
                assert "no answer within 1.5 s" in done.stdout
                assert tools(world) == []
        finally:
            os.kill(world.directory_server.pid, signal.SIGCONT)


class Gated:
    """pki-tomcatd with our drop-in: no start without the gate."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[subprocess.CompletedProcess[str]] = []

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.world.pki.running

    def start(self) -> None:
        """As systemd does: ExecStartPre=, and the service where that ends with 0."""
        self.asked.append(start_gate(self.world))
        if self.asked[-1].returncode != 0:
            raise ServiceError(refusal("start", "pki-tomcatd@pki-tomcat.service"))
        self.world.pki.start()

    def stop(self) -> None:
        """Nobody is asked."""
        self.world.pki.stop()


@pytest.fixture
def gated(world: World) -> Iterator[Gated]:
    """The world's service manager asks the gate."""
    (manager,) = (part for part in world._parts if isinstance(part, ServiceManager))
    services, gated = manager.services, Gated(world)
    manager.services = {**services, PKI: gated}
    yield gated
    manager.services = services


class TestRenewal:
    """FreeIPA's post-save hook starts pki-tomcatd itself, with the real certmonger waiting for it."""

    def test_a_good_one(self, world: World, gated: Gated) -> None:
        """The hook starts it after all of its writes: nothing stands against it."""
        before = world.nss_certificate(SUBSYSTEM).serial_number
        assert world.renew(SUBSYSTEM)["status"] == "MONITORING"
        assert world.nss_certificate(SUBSYSTEM).serial_number > before
        (asked,) = gated.asked
        assert (asked.returncode, asked.stderr) == (0, "")
        assert f"{PKI}: ALLOW" in asked.stdout
        assert world.pki.running

    def test_users_not_updated(self, world: World, gated: Gated) -> None:
        """Where it could not write to pkidbuser its start is refused though the renewal is under way, until healed."""
        with world.faults.active("people-update-fails"):
            assert world.renew(SUBSYSTEM)["status"] == "MONITORING"
        (asked,) = gated.asked
        assert (asked.returncode, asked.stderr) == (2, "")
        assert "389-ds maps its certificate to nobody" in asked.stdout
        assert f"a renewal of {SUBSYSTEM} is under way: certmonger is at POST_SAVED_CERT; it may mend" in asked.stdout
        assert not world.pki.running
        hold = holds.read(config.load(str(world.certwitness_config)), PKI)[0]
        assert hold is not None
        assert hold.checks == {"user-certificate", BIND}
        asking = ask(world)[PKI]
        assert (asking.allow, asking.under_way) == (False, {})
        heal(world, examine(world))  # the remedy of ca-running starts it
        assert gated.asked[-1].returncode == 0
        assert world.pki.running
        assert holds.read(config.load(str(world.certwitness_config)), PKI) == (None, "")


class TestHook:
    """hooks/start-gate, the hold, and the way out."""

    def certwitness(self, world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = "from certwitness.cli import main; main()"
        command = [str(REPOSITORY / ".venv/bin/python"), "-c", program, "--config", str(world.certwitness_config)]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, cwd="/")

    def hold(self, world: World, service: str = PKI) -> holds.Hold | None:
        return holds.read(config.load(str(world.certwitness_config)), service)[0]

    def test_the_seeds_outage(self, world: World) -> None:
        """The seed's case is refused with the reason and kept as a hold; the remedy heals it, and the hold ends."""
        BREAKS["pkidbuser-old-certificate"].apply(world)
        done = start_gate(world)
        assert done.returncode == 2
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) <= 15
        assert "389-ds maps its certificate to nobody" in done.stdout
        assert "certwitness release pki-tomcatd" in done.stdout
        assert PIN not in done.stdout + log(world).read_text()
        found = self.hold(world)
        assert found is not None
        assert found.checks == {"user-certificate", BIND}
        assert [event["event"] for event in events(world)] == ["gate.judged", "hold.placed"]
        assert events(world)[0]["trace_id"] == events(world)[1]["trace_id"] == found.trace_id
        for service in ("httpd", "dirsrv", "krb5kdc"):
            assert start_gate(world, service).returncode == 0
        there = host.load(config.load(str(world.certwitness_config)))
        with Evidence(there) as evidence:
            heal(world, list(run(evidence, [BY_NAME["user-certificate"]])))
        done = start_gate(world)
        assert (done.returncode, done.stderr) == (0, "")
        assert self.hold(world) is None
        assert events(world)[-1]["reason"] == "the cause is gone"

    def test_verify_ends_a_hold_whose_cause_is_gone(self, world: World) -> None:
        """While the cause is there verify leaves the hold, and the look that finds all well ends it."""
        BREAKS["pkidbuser-old-certificate"].apply(world)
        assert start_gate(world).returncode == 2
        assert self.certwitness(world, "verify").returncode == 2
        assert self.hold(world)
        heal(world, examine(world))
        assert self.certwitness(world, "verify").returncode == 0
        assert self.hold(world) is None
        assert [one["event"] for one in events(world) if one["event"].startswith("hold.")][-1] == "hold.released"

    def test_release(self, world: World) -> None:
        """A released service starts, the journal says by whom, and the release ends with the cause."""
        BREAKS["pkidbuser-no-seealso"].apply(world)
        assert start_gate(world).returncode == 2
        released = self.certwitness(world, "release", PKI, "--reason", "we know", "--for", "2h")
        assert released.returncode == 0, released.stderr
        done = start_gate(world)
        assert done.returncode == 0
        assert "we know" in done.stdout
        asked = self.certwitness(world, "gate", PKI, "--json")
        assert asked.returncode == 0
        (verdict,) = json.loads(asked.stdout)
        assert verdict["release"]["reason"] == "we know"
        assert verdict["reasons"][0]["level"] == CRITICAL
        world.reset()
        asked = self.certwitness(world, "gate", PKI)
        assert (asked.returncode, self.hold(world)) == (0, None)
        assert "the hold is ended" in asked.stderr

    def test_asking_holds_nothing(self, world: World) -> None:
        """`certwitness gate` is 2 where it would block, shows the remedies, and leaves no hold."""
        BREAKS["pkidbuser-old-certificate"].apply(world)
        asked = self.certwitness(world, "gate", "--all")
        assert asked.returncode == 2
        assert re.search(r"^pki-tomcatd: BLOCK: .*error 49", asked.stdout, re.MULTILINE)
        assert "ldapmodify" in asked.stdout
        assert "httpd: ALLOW" in asked.stdout
        assert self.hold(world) is None
        assert events(world) == []

    def test_garbage_in_the_hold(self, world: World) -> None:
        """A hold that is garbage is told and changes no verdict."""
        path = world.settings.path("certwitness", "holds", f"{PKI}.json")
        path.parent.mkdir(mode=0o700, parents=True)
        path.write_text("garbage")
        done = start_gate(world)
        assert done.returncode == 0
        assert str(path) in done.stderr

    def test_no_space_for_hold_and_log(self, world: World) -> None:
        """Where neither hold nor event can be written the proof still blocks, and both are told."""
        BREAKS["pkidbuser-no-seealso"].apply(world)
        state, logs = world.settings.path("certwitness"), log(world).parent
        for directory in (state, logs):
            directory.mkdir(mode=0o700, exist_ok=True)
        # In a mount namespace of its own: nobody else sees these full file systems.
        full = "mount -t tmpfs -o size=4k,mode=700 tmpfs {0} && ! head -c 9000 /dev/zero 2>/dev/null >{0}/full"
        command = f"{full.format(state)}; {full.format(logs)}; exec {HOOK} --config {world.certwitness_config} {PKI}"
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", command],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 2, done
        assert "the hold cannot be kept" in done.stderr
        assert "not in the event log" in done.stderr
        assert "certwitness release pki-tomcatd" in done.stdout

    def test_killed_at_any_time(self, world: World) -> None:
        """Killed anywhere it allows or blocks, and leaves a whole hold or none, and no torn event."""
        BREAKS["pkidbuser-no-seealso"].apply(world)
        for step in range(8):
            command = [str(HOOK), "--config", str(world.certwitness_config), PKI]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                time.sleep(step * 0.05)
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    for one in (*_children(child), child):
                        os.kill(int(one), signal.SIGKILL)
                process.communicate(timeout=15)
            assert process.returncode in (0, 2)
            found = self.hold(world)
            assert found is None or found.findings
            assert all(event["event"] for event in events(world))
        assert start_gate(world).returncode == 2


def _children(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []

# SPDX-License-Identifier: MIT
"""The lab itself: a renewal end to end, what each fault does, and that nothing of a world is left behind."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwitness.stores.external_bind import bind
from certwitness.stores.pin import Pin
from tests.lab import entries
from tests.lab.ca import key_of, subject
from tests.lab.certmonger import Certmonger
from tests.lab.faults import CATALOGUE
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.services import ServiceError, ServiceManager
from tests.lab.settings import AUTHORITY_ID
from tests.lab.world import CA_NAME, RA, SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).resolve().parents[2]
HELPER = "dogtag-ipa-ca-renew-agent-submit"


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """One world for the module: a fresh one costs two seconds."""
    with World() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The module's world as at its beginning, with an empty journal."""
    shared_world.settings.journal.write_text("")
    yield shared_world
    shared_world.reset()


@dataclass(frozen=True)
class Serials:
    """Where the subsystem certificate is, by serial number."""

    nss: int
    ca_renewal: int
    pkidbuser: int


def serials(world: World) -> Serials:
    """What the three stores hold now."""
    return Serials(
        world.nss_certificate(SUBSYSTEM).serial_number,
        world.ca_renewal_certificate(SUBSYSTEM).serial_number,
        world.people_certificates("pkidbuser")[-1].serial_number,
    )


def traces(directory: Path) -> list[str]:
    """Processes that have something to do with `directory`: by command line, environment or working directory."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            told += os.fsencode(os.readlink(process / "cwd"))
        except OSError:
            continue
        if os.fsencode(directory) in told:
            found.append(told[:200].decode(errors="replace"))
    return found


def gone(directory: Path, patience_s: float = 5) -> bool:
    """Whether directory and processes are gone, or go in time."""
    deadline = time.monotonic() + patience_s
    while directory.exists() or traces(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- a renewal


def test_a_renewal_reaches_every_store(world: World) -> None:
    """A renewal ends in MONITORING, and NSS, cn=ca_renewal, pkidbuser and CS.cfg have the new certificate."""
    before = serials(world)
    request = world.renew(SUBSYSTEM)
    after = serials(world)
    assert (request["status"], request["stuck"], request.get("ca-error")) == ("MONITORING", "no", None)
    assert after.nss > before.nss
    assert (after.ca_renewal, after.pkidbuser) == (after.nss, after.nss)
    assert world.people_description("pkidbuser").startswith(f"2;{after.nss};CN=Certificate Authority,O=IPADOMAIN.COM;")
    assert world.nss_certificate(SUBSYSTEM).public_key() == key_of(SUBSYSTEM).public_key()
    assert world.pki.running
    assert "locked = 0" in world.lock
    assert world.journal.count("dogtag-ipa-renew-agent returned 5") == 2
    assert world.journal.count("dogtag-ipa-renew-agent returned 0") == 1
    assert "renew_ca_cert" in world.journal


def test_the_ra_certificate_is_renewed_in_its_file(world: World) -> None:
    """ipaCert is renewed with itself as the agent's certificate, and ipara learns of the new one."""
    before = world.people_certificates("ipara")[-1].serial_number
    request = world.track(RA)
    assert request["status"] == "MONITORING"
    world.renew(RA)
    new = world.people_certificates("ipara")[-1].serial_number
    assert new > before
    assert world.ca_renewal_certificate(RA).serial_number == new
    assert world.renew(SUBSYSTEM)["status"] == "MONITORING"  # the new one is accepted


def test_the_ca_certificate_is_renewed_with_a_cookie_of_its_own(world: World) -> None:
    """caSigningCert goes through one more level of handlers, on the profile caCACert, and lands in authoritySerial."""
    world.track(CA_NICKNAME)
    before = world.nss_certificate(CA_NICKNAME).serial_number
    request = world.renew(CA_NICKNAME)
    after = world.nss_certificate(CA_NICKNAME)
    assert (request["status"], after.serial_number > before) == ("MONITORING", True)
    assert after.issuer == after.subject
    assert world.ca_renewal_certificate(CA_NICKNAME) == after
    assert world.directory_server is not None
    authority = world.directory_server.ldapi.read(f"cn={AUTHORITY_ID},{entries.AUTHORITIES}")
    assert authority is not None
    assert authority["authorityserial"] == [str(after.serial_number).encode()]
    assert world.settings.ca_csr.read_text().startswith("-----BEGIN")


def test_a_certificate_of_the_host_is_not_shared(world: World) -> None:
    """Server-Cert is renewed without touching cn=ca_renewal."""
    nickname = "Server-Cert cert-pki-ca"
    world.track(nickname)
    before = world.nss_certificate(nickname).serial_number
    world.renew(nickname)
    assert world.nss_certificate(nickname).serial_number > before
    with pytest.raises(LookupError):
        world.ca_renewal_certificate(nickname)


def test_the_reuse_variant_repeats_every_side_effect(world: World) -> None:
    """-reuse gives back the certificate that is held, stores it, and runs the hooks again."""
    before = serials(world)
    world.certmonger.getcert("resubmit", "-i", request_id(SUBSYSTEM), "-c", f"{CA_NAME}-reuse", "-w")
    world.certmonger.wait_for(request_id(SUBSYSTEM))
    assert serials(world) == before
    assert "Started pki_tomcatd" in world.journal
    assert "Forwarding request" not in world.journal


# --- faults


@dataclass(frozen=True)
class Effect:
    """What a fault does to a renewal of the subsystem certificate: the request, the stores, the journal."""

    status: str = "MONITORING"
    ca_error: str | None = None
    nss: bool = False
    ca_renewal: bool = False
    pkidbuser: bool = False
    journal: str = ""
    pki: bool = True


def landed(journal: str = "", pki: bool = True) -> Effect:
    """The fault does not keep the certificate from its stores."""
    return Effect(nss=True, ca_renewal=True, pkidbuser=True, journal=journal, pki=pki)


EFFECTS = {
    "dogtag-down": Effect("CA_UNREACHABLE", "Error 7 connecting to ", journal="renew-agent returned 3"),
    "dogtag-drops": Effect("CA_UNREACHABLE", "Error 52 connecting to "),
    "dogtag-wrong-certificate": Effect("CA_UNREACHABLE", "Error 60 connecting to "),
    "ra-key-missing": Effect("CA_UNREACHABLE", "Error 58 connecting to "),
    "dogtag-slow=0.05": landed(),
    "dogtag-html-503": Effect("MONITORING", None, journal="renew-agent returned 2"),
    "dogtag-empty-body": Effect("MONITORING", "Internal error: no response to "),
    "dogtag-rejects=Policy says no": Effect("MONITORING", "replied: Policy says no"),
    "dogtag-defers": Effect("MONITORING", "replied: 0"),
    "ra-refused": Effect("MONITORING", "replied: 1: Invalid Credential."),
    "jsonrpc-url": Effect("MONITORING", "Usage: dogtag-ipa-renew-agent-submit", journal="returned 4"),
    "ldap-store-lost": Effect(nss=True, pkidbuser=True, journal="Giving up. To retry storing the certificate"),
    "ldap-store-lost-once": landed(journal="Sleeping 30s"),
    "ldap-down": Effect("CA_UNREACHABLE", "Internal error", journal="Can't contact LDAP server"),
    "kinit-fails": Effect("CA_UNREACHABLE", "Internal error", journal="Cannot contact any KDC"),
    "people-update-fails": Effect(
        nss=True, ca_renewal=True, journal="Update failed.", pki=False
    ),  # 389-ds refuses the new certificate: error 49
    "hook-dies-half-way=renew_ca_cert": Effect(nss=True, ca_renewal=True, pki=False),
    "cannot-stop-pki": landed(journal="ERR Cannot stop pki_tomcatd: "),
    "cannot-start-pki": landed(journal="Cannot start pki_tomcatd: CA did not start in 90.0s", pki=False),
    "certificate-missing": Effect(nss=True, ca_renewal=True, journal="No certificate subsystemCert", pki=False),
    "backup-cs-cfg-fails": landed(journal="Failed to backup CS.cfg: "),
    "lock-lost": Effect(
        "CA_UNREACHABLE", "-----BEGIN CERTIFICATE-----", ca_renewal=True, journal="lock not acquired by "
    ),
    "helper-dies": Effect("NEED_GUIDANCE"),
}
# What a renewal of the subsystem certificate does not show, or not by itself: tests of their own, below and in
# test_swallowed.py.
ELSEWHERE = {
    "dogtag-hangs",
    "not-renewal-master",
    "lock-held",
    "restart-httpd-fails",
    "restart-dirsrv-fails",
    "restart-krb5kdc-fails",
    "authority-update-fails",
    "ca-store-update-fails",
    "trust-update-fails",
}


def test_every_fault_is_tested() -> None:
    """No fault of the catalogue goes without a test of what it does."""
    assert {name.partition("=")[0] for name in EFFECTS} | ELSEWHERE == set(CATALOGUE)


@pytest.mark.parametrize("fault", EFFECTS)
def test_a_fault_has_the_effect_that_the_references_describe(world: World, fault: str) -> None:
    """Request, stores, journal and pki-tomcatd after a renewal with the fault on."""
    name, _, value = fault.partition("=")
    before, effect = serials(world), EFFECTS[fault]
    world.faults.on(name, value)
    request = world.renew(SUBSYSTEM)
    after = serials(world)
    assert request["status"] == effect.status
    if effect.ca_error is None:
        assert not request.get("ca-error", "").startswith("Error")
    else:
        assert effect.ca_error in request["ca-error"]
    changed = (after.nss > before.nss, after.ca_renewal > before.ca_renewal, after.pkidbuser > before.pkidbuser)
    assert changed == (effect.nss, effect.ca_renewal, effect.pkidbuser)
    assert effect.journal in world.journal
    assert world.pki.running == effect.pki


def test_a_hanging_dogtag_keeps_the_request_submitting(world: World) -> None:
    """SUBMITTING for as long as Dogtag says nothing; when it drops the connection the run ends with exit 3."""
    world.faults.on("dogtag-hangs")
    world.renew(SUBSYSTEM, wait=False)
    identifier = request_id(SUBSYSTEM)
    world.certmonger.wait_for(identifier, lambda request: request["status"] == "SUBMITTING")
    time.sleep(0.5)
    assert world.request(SUBSYSTEM)["status"] == "SUBMITTING"
    world.faults.on("dogtag-down")
    assert "Error 52 connecting to" in world.certmonger.wait_for(identifier)["ca-error"]


def test_another_server_waits_for_the_master(world: World) -> None:
    """Not the renewal master: CA_WORKING for 28800 s, until cn=ca_renewal holds another certificate."""
    world.faults.on("not-renewal-master")
    world.renew(SUBSYSTEM, wait=False)
    identifier = request_id(SUBSYSTEM)
    world.certmonger.wait_for(identifier, lambda request: request["status"] == "CA_WORKING")
    assert "INFO Updated certificate not available" in world.journal
    assert world.certmonger.stored(identifier, "ca_cookie") == '{"cookie": "", "profile": "caSubsystemCert"}'
    new = world.ca.issue(subject("CA Subsystem"), key_of(SUBSYSTEM).public_key())
    assert world.directory_server is not None
    entries.put(world.directory_server.ldapi, SUBSYSTEM, new)
    world.certmonger.getcert("refresh", "-i", identifier)
    world.certmonger.wait_for(identifier)
    assert world.nss_certificate(SUBSYSTEM) == new


def test_a_held_lock_holds_up_the_helper(world: World) -> None:
    """The helper waits for the renewal lock, and goes on when it is free."""
    world.faults.on("lock-held")
    world.renew(SUBSYSTEM, wait=False)
    identifier = request_id(SUBSYSTEM)
    time.sleep(0.5)
    assert world.request(SUBSYSTEM)["status"] == "SUBMITTING"
    assert "locked = 1" in world.lock
    before = serials(world)
    world.faults.off("lock-held")
    world.certmonger.wait_for(identifier)
    assert serials(world).nss > before.nss


def test_the_audit_trust_of_freeipa_4_13_fails(world: World) -> None:
    """The audit certificate gets its P flag; with the fault it does not, and the journal says so."""
    nickname = "auditSigningCert cert-pki-ca"
    world.track(nickname)
    world.renew(nickname)
    assert world.nss.trust(nickname) == "u,u,Pu"
    world.faults.on("trust-update-fails")
    world.renew(nickname)
    assert f"Updating trust on certificate {nickname} failed" in world.journal


def run_hook(world: World, name: str, *arguments: str) -> int:
    """Run a hook as certmonger does: descriptors 0, 1 and 2 closed, no environment to speak of."""
    line = 'exec "$@" <&- >&- 2>&-'
    command = ["sh", "-c", line, "sh", str(world.settings.hooks / name), *arguments]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, check=False).returncode


def test_httpd_is_not_restarted_although_announced(world: World) -> None:
    """restart_httpd announces first; with the fault httpd is the old one still, and the exit status is 0."""
    starts = world.httpd.starts
    assert run_hook(world, "restart_httpd") == 0
    assert world.httpd.starts == starts + 1
    world.faults.on("restart-httpd-fails")
    assert run_hook(world, "restart_httpd") == 0
    assert world.httpd.starts == starts + 1
    assert world.journal.count("NOTICE certmonger restarted httpd") == 2
    assert "ERR Cannot restart httpd: " in world.journal


def test_dirsrv_is_restarted_unless_the_fault_is_on(world: World) -> None:
    """restart_dirsrv restarts the real 389-ds, which answers again afterwards."""
    assert world.directory_server is not None
    world.faults.on("restart-dirsrv-fails")
    before = world.directory_server.pid
    assert run_hook(world, "restart_dirsrv", "IPADOMAIN-COM") == 0
    assert world.directory_server.pid == before
    assert "Cannot restart dirsrv (instance: 'IPADOMAIN-COM'): " in world.journal
    world.faults.off("restart-dirsrv-fails")
    assert run_hook(world, "restart_dirsrv", "IPADOMAIN-COM") == 0
    assert world.directory_server.pid != before
    assert world.directory_server.ldapi.answers()


# --- the parts


def test_cookies_are_freeipas(world: World) -> None:
    """The nested JSON cookie of a request under way, and of a certificate that waits to be stored."""
    csr = csr_of("CA Subsystem")
    submitted = run_helper(world, "SUBMIT", csr)
    assert submitted.returncode == 5
    delay, cookie = submitted.stdout.splitlines()
    number = world.dogtag.requests[-1].identifier
    inner = f'{{"cookie": "state=approve&requestId={number}", "profile": "caSubsystemCert"}}'
    assert (delay, json.loads(cookie)) == ("0", {"cookie": f"request:{inner}", "profile": "caSubsystemCert"})
    approved = run_helper(world, "POLL", csr, cookie)
    world.faults.on("ldap-store-lost")
    waiting = run_helper(world, "POLL", csr, approved.stdout.splitlines()[1])
    content = json.loads(waiting.stdout.splitlines()[1])["cookie"]
    state, pem, rest = content.split(":", 2)
    assert (waiting.returncode, state, pem[:27]) == (5, "store", "-----BEGIN CERTIFICATE-----")
    assert json.loads(rest) == {"cookie": "1", "profile": "caSubsystemCert"}


@pytest.mark.parametrize(
    ("cookie", "message"),
    [
        (None, "Cookie not provided"),
        ("nonsense", "Invalid cookie: 'nonsense'"),
        ('{"cookie": "request:"}', "No 'profile' in cookie"),
        ('{"cookie": "request:", "profile": 7}', "Invalid 'profile' in cookie: 7"),
        ('{"cookie": 7, "profile": "caSubsystemCert"}', "Invalid 'cookie' in cookie: 7"),
        ('{"cookie": "odd:", "profile": "caSubsystemCert"}', "Invalid cookie: 'odd:'"),
    ],
)
def test_a_bad_cookie_is_unconfigured(shared_world: World, cookie: str | None, message: str) -> None:
    """Exit 4 and FreeIPA's words."""
    done = run_helper(shared_world, "POLL", csr_of("CA Subsystem"), cookie)
    assert (done.returncode, done.stdout) == (4, f"{message}\n")


@pytest.mark.parametrize("operation", ["IDENTIFY", "FETCH-ROOTS", "GET-SUPPORTED-TEMPLATES", ""])
def test_other_operations_are_not_supported(shared_world: World, operation: str) -> None:
    """Exit 6 and nothing on stdout."""
    done = run_helper(shared_world, operation, "")
    assert (done.returncode, done.stdout) == (6, "")


@pytest.mark.parametrize(("operation", "status", "output"), [("SUBMIT", 3, "out\n"), ("GET-DEFAULT-TEMPLATE", 6, "")])
def test_the_guard_runs_a_helper_under_the_lock(shared_world: World, operation: str, status: int, output: str) -> None:
    """ipa-server-guard repeats output and status of what it runs, and lets not every operation through."""
    command = [str(shared_world.settings.helpers / "ipa-server-guard"), "sh", "-c"]
    command.append(f"echo out; grep owner {shared_world.settings.renewal_lock} >&2; exit 3")
    environment = {"PATH": "/usr/bin:/bin", "CERTMONGER_OPERATION": operation}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, output)
    assert ("owner = ipa-server-guard[" in done.stderr) == (status == 3)


def test_the_directory_refuses_a_certificate_that_pkidbuser_lacks(world: World) -> None:
    """Error 49 from the real 389-ds, for the reason that its access log gives, and pki-tomcatd does not start."""
    server = world.directory_server
    assert server is not None
    where = (str(world.nss.directory), SUBSYSTEM, Pin.from_text(world.nss.pin), "localhost", server.ldaps_port)
    assert bind(*where).code == 0
    entries.put(server.ldapi, SUBSYSTEM, world.ca.issue(subject("CA Subsystem"), key_of(SUBSYSTEM).public_key()))
    assert bind(*where).code == 49
    assert "(Could not matching certificate in User's LDAP entry)" in server.access_log
    world.pki.stop()
    with pytest.raises(ServiceError, match=r"CA did not start in 90\.0s"):
        world.pki.start()
    assert "netscape.ldap.LDAPException: Authentication failed (49)" in world.pki_debug


def test_an_agent_that_ipara_does_not_know_is_refused(world: World) -> None:
    """Dogtag looks the agent's certificate up by description, in plain userCertificate."""
    server = world.directory_server
    assert server is not None
    entries.put(server.ldapi, RA, world.ca.issue(subject("IPA RA"), key_of(RA).public_key()))
    assert "1: Invalid Credential." in world.renew(SUBSYSTEM)["ca-error"]


def test_the_configuration_for_certwitness(shared_world: World) -> None:
    """The generated configuration names files of the world, and nobody else can write it."""
    path = shared_world.certwitness_config
    assert path.stat().st_mode & 0o777 == 0o600
    content = configparser.ConfigParser(interpolation=None)
    content.read(path)
    assert Path(content["events"]["file"]).parent.stat().st_mode & 0o777 == 0o700
    assert Path(content["state"]["directory"]).stat().st_mode & 0o777 == 0o700
    assert os.access(content["helpers"][HELPER], os.X_OK)
    assert content["certmonger"]["bus"] == shared_world.certmonger.bus_address
    stores = ("ca_certificate", "pki_nssdb", "pki_password_file", "ra_certificate", "ra_key", "cs_cfg", "certmap")
    assert [name for name in stores if not Path(content["ipa"][name]).exists()] == []
    assert shared_world.directory_server is not None
    assert content["directory"]["uri"] == shared_world.directory_server.ldapi.uri
    assert content["services"]["ldaps"] == content["directory"]["ldaps_uri"].removeprefix("ldaps://")


def test_certmonger_starts_helpers_with_descriptor_0_closed(tmp_path: Path) -> None:
    """certmonger alone; its session daemon leaves a helper 1 (a pipe) and 2 (its own stderr), and not 0."""
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\n[ -e /proc/$$/fd/0 ] || : > {tmp_path}/closed\nexit 6\n")
    helper.chmod(0o755)
    with Certmonger() as certmonger:
        certmonger.add_ca("probe", str(helper))
        certmonger.request("one", "probe", tmp_path / "key", tmp_path / "certificate")
        assert certmonger.wait_for("one")["status"] == "NEED_GUIDANCE"
        certmonger.restart()
        assert certmonger.read("one")["stuck"] == "yes"
    assert (tmp_path / "closed").exists()


def test_near_its_end_a_certificate_is_renewed_without_being_asked(world: World) -> None:
    """With an hour left certmonger submits as soon as it tracks; with Dogtag down it waits half of what is left."""
    nickname = "ocspSigningCert cert-pki-ca"
    world.faults.on("dogtag-down")
    world.track(nickname, lifetime=timedelta(hours=1))
    request = world.certmonger.wait_for(request_id(nickname), lambda request: "ca-error" in request)
    assert request["status"] == "CA_UNREACHABLE"
    assert re.search(r"in 1[78]\d\d seconds", world.certmonger.log)
    world.faults.clear()
    before = world.nss_certificate(nickname)
    world.certmonger.getcert("refresh", "-i", request_id(nickname))
    world.certmonger.wait_for(request_id(nickname))
    assert world.nss_certificate(nickname).serial_number > before.serial_number


# --- coming and going


def test_two_worlds_do_not_meet() -> None:
    """Two at once, each renewing its own certificate; a fault of one is not the other's."""
    with World(ldap=False, tracked=()) as one, World(ldap=False, tracked=()) as other:
        one.faults.on("dogtag-down")
        assert not other.faults.is_on("dogtag-down")
        for world in (one, other):
            world.register(CA_NAME, f"/usr/bin/env X={world.directory} {world.settings.helpers / HELPER}")
        assert str(one.directory) in one.certmonger.helper_of(CA_NAME)
        assert str(other.directory) in other.certmonger.helper_of(CA_NAME)


def test_nothing_is_left_of_a_world() -> None:
    """Neither a file nor a process, also when the block ends with an exception while a helper hangs."""
    with pytest.raises(KeyError), World() as world:  # noqa: PT012  (the block is what is tested)
        world.faults.on("dogtag-hangs")
        world.renew(SUBSYSTEM, wait=False)
        world.certmonger.wait_for(request_id(SUBSYSTEM), lambda request: request["status"] == "SUBMITTING")
        assert traces(world.directory)
        raise KeyError
    assert not world.directory.exists()
    assert not traces(world.directory)


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGTERM, "ldap=True"), (signal.SIGINT, "ldap=False"), (signal.SIGKILL, "ldap=False")],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_nothing_is_left_when_the_owner_is_killed(number: signal.Signals, options: str) -> None:
    """The children die with their owner, and the files go too."""
    script = (
        "import sys, time\n"
        "from tests.lab.world import World\n"
        f"with World({options}) as world:\n"
        "    print(world.directory, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        directory = Path(owner.stdout.readline().strip())
        assert traces(directory)
        owner.send_signal(number)
        owner.wait()
    assert gone(directory)


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """A world removes its directory at its end, so it takes none that holds something already."""
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="not empty"):
        World(tmp_path)
    assert (tmp_path / "mine").exists()


def test_the_command_runs_something_in_a_world(tmp_path: Path) -> None:
    """`python -m tests.lab up --run`: getcert on the PATH is the world's own."""
    command = [sys.executable, "-m", "tests.lab", "up", "--no-ldap", "--run", f"getcert list > {tmp_path}/list; pwd"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert request_id(SUBSYSTEM) in (tmp_path / "list").read_text()
    assert gone(Path(done.stdout.strip()))


def csr_of(common_name: str) -> str:
    """A signing request with that subject, as PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(common_name))
    return builder.sign(key_of(SUBSYSTEM), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def run_helper(world: World, operation: str, csr: str, cookie: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run FreeIPA's stand-in as certmonger does."""
    environment = {"PATH": "/usr/bin:/bin", "CERTMONGER_OPERATION": operation, "CERTMONGER_CSR": csr}
    environment["CERTMONGER_CA_PROFILE"] = "caSubsystemCert"
    if cookie is not None:
        environment["CERTMONGER_CA_COOKIE"] = cookie
    command = [str(world.settings.helpers / HELPER), "-vv"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_closed_service_manager_has_no_thread_left(tmp_path: Path) -> None:
    """A thread that stayed in accept() could take a connection of whoever gets the descriptor's number next."""
    manager = ServiceManager(tmp_path / "services", {}, {}, tmp_path, tmp_path / "journal")
    assert "services" in [thread.name for thread in threading.enumerate()]
    before = {thread.ident for thread in threading.enumerate()}
    manager.close()
    assert len(before - {thread.ident for thread in threading.enumerate()}) == 1

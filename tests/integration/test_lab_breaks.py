# SPDX-License-Identifier: MIT
"""The lab's full world: a whole CA server, what its stand-ins do, every break of it, and its way back to health."""

from __future__ import annotations

import os
import shlex
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from certwitness.stores.external_bind import BindResult, bind
from certwitness.stores.pin import Pin
from tests.lab import entries
from tests.lab.breaks import BREAKS, GENERIC
from tests.lab.services import ServiceError
from tests.lab.tracked import ALL, HTTP, LDAP, PKI_SERVER, RENEW_AGENT
from tests.lab.world import SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = "pkidbuser-old-certificate"
# Rows of freeipa.md section 6 of which this host can show something: all of them.
ROWS = set(range(1, 27))


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """One full world for the module."""
    with World(full=True) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The module's world, healthy."""
    yield shared_world
    shared_world.reset()


def digest(world: World) -> str:
    """All of a world's stores in one value."""
    assert world.healthy is not None
    return world.healthy.digest()


def bound(world: World) -> BindResult:
    """What 389-ds says to pki-tomcatd's certificate."""
    assert world.directory_server is not None
    pin = Pin.from_text(world.nss.pin)
    return bind(str(world.settings.nss_directory), SUBSYSTEM, pin, "localhost", world.directory_server.ldaps_port)


def shown(port: int) -> int:
    """Serial number of the certificate that a TLS port of this host shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as secure:
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def run(world: World, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of an administrator's in the world."""
    path = f"{world.directory / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        shlex.split(command), env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


# --- a full world


def test_a_full_world_tracks_thirteen_certificates(world: World) -> None:
    """All are MONITORING, with the CA of FreeIPA's choice, and no request has anything to complain of."""
    requests = {request["id"]: request for request in world.certmonger.list_requests()}
    assert set(requests) == {request_id(name) for name in ALL}
    assert len(requests) == 13
    assert {(one["status"], one["stuck"], one.get("ca-error")) for one in requests.values()} == {
        ("MONITORING", "no", None)
    }
    assert {name for name in ALL if requests[request_id(name)]["CA"] == "IPA"} == {HTTP, LDAP, "kdc"}


def test_pins_of_pki_are_in_the_requests(world: World) -> None:
    """FreeIPA keeps the PIN of pki/alias in the request itself, those of httpd and 389-ds in files."""
    assert world.certmonger.stored(request_id(SUBSYSTEM), "key_pin") == world.nss.pin
    assert world.certmonger.stored(request_id(SUBSYSTEM), "key_pin_file") is None
    assert world.certmonger.stored(request_id(LDAP), "key_pin_file") == str(world.settings.dirsrv_pin_file)


def test_a_renewal_goes_through_in_a_full_world(world: World) -> None:
    """A renewal of subsystemCert ends well in a full world too, at every user of the certificate."""
    before = world.nss_certificate(SUBSYSTEM).serial_number
    assert world.renew(SUBSYSTEM)["status"] == "MONITORING"
    after = world.nss_certificate(SUBSYSTEM).serial_number
    assert after > before
    assert bound(world).identity == "dn: uid=pkidbuser,ou=people,o=ipaca"
    for dn in ("uid=pkidbuser,ou=people,o=ipaca", "uid=KRA-ipa.ipadomain.com-8443,ou=people,o=kra,o=ipaca"):
        assert world.directory_server is not None
        entry = world.directory_server.ldapi.read(dn)
        assert entry is not None
        assert entry["description"][0].startswith(b"2;%d;" % after)


def test_services_show_what_they_loaded(world: World) -> None:
    """httpd, pki-tomcatd and 389-ds show a new certificate only after a restart."""
    assert world.directory_server is not None
    ports = {"https": world.settings.https_port, "pki": world.settings.pki_port}
    ports["ldaps"] = world.directory_server.ldaps_port
    before = {name: shown(port) for name, port in ports.items()}
    for name in ports:
        BREAKS[f"{name}-old-in-memory"].apply(world)
    assert {name: shown(port) for name, port in ports.items()} == before
    assert run(world, "systemctl restart httpd pki-tomcatd@pki-tomcat.service dirsrv@IPADOMAIN-COM").returncode == 0
    after = {name: shown(port) for name, port in ports.items()}
    assert after["pki"] == world.nss_certificate(PKI_SERVER).serial_number
    assert all(after[name] > before[name] for name in ports)


def test_the_ca_tells_its_status(world: World) -> None:
    """`getStatus` while pki-tomcatd runs, no connection while it does not."""
    url = f"https://localhost:{world.settings.pki_port}/ca/admin/ca/getStatus"
    ask = f"curl --silent --cacert {world.settings.ca_certificate} {url}"
    assert "<Status>running</Status><Version>11.4.0</Version>" in run(world, ask).stdout
    BREAKS["pki-stopped"].apply(world)
    assert run(world, ask).returncode == 7


# --- stand-ins for an administrator's tools


def test_systemctl_knows_the_units_of_the_world(world: World) -> None:
    """is-active, stop, start and try-restart; an unknown unit is refused with systemctl's status."""
    unit = "pki-tomcatd@pki-tomcat"
    assert run(world, f"systemctl is-active {unit} httpd krb5kdc certmonger").stdout.split() == ["active"] * 4
    assert run(world, f"systemctl stop {unit}").returncode == 0
    assert run(world, f"systemctl try-restart {unit}").returncode == 0
    assert (run(world, f"systemctl is-active {unit}").returncode, world.pki.running) == (3, False)
    assert run(world, f"systemctl start {unit}").returncode == 0
    assert world.pki.running
    assert run(world, "systemctl start sshd").returncode == 5


def test_ipa_moves_the_renewal_masters_role(world: World) -> None:
    """config-mod gives the role to one server and takes it from all others; a server without CA is refused."""
    BREAKS["two-renewal-masters"].apply(world)
    done = run(world, "ipa config-mod --ca-renewal-master-server=replica.ipadomain.com")
    assert done.stdout.count("IPA CA renewal master: replica.ipadomain.com") == 1
    assert "IPA CA renewal master: ipa." not in run(world, "ipa config-show").stdout
    assert run(world, "ipa config-mod --ca-renewal-master-server nobody.ipadomain.com").returncode == 1


def test_ipa_server_upgrade_recreates_what_is_missing(world: World) -> None:
    """Missing CA and missing tracking come back; the requests are FreeIPA's again."""
    for name in ("request-on-reuse", "ca-definition-missing", "tracking-missing"):
        BREAKS[name].apply(world)
    done = run(world, "ipa-server-upgrade")
    assert (done.returncode, "ocspSigningCert cert-pki-ca" in done.stdout) == (0, True)
    assert "--reuse-existing" in world.certmonger.helper_of(f"{RENEW_AGENT}-reuse")
    assert {one["status"] for one in world.certmonger.list_requests()} == {"MONITORING"}
    assert world.request("caSigningCert cert-pki-ca")["CA"] == RENEW_AGENT
    assert world.certmonger.stored(request_id(SUBSYSTEM), "key_pin") == world.nss.pin


def test_ipa_certupdate_distributes_the_ca_store(world: World) -> None:
    """ca.crt and 389-ds's NSS database get the CA certificate back."""
    BREAKS["ca-crt-old"].apply(world)
    BREAKS["nss-ca-missing"].apply(world)
    assert run(world, "ipa-certupdate").returncode == 0
    assert world.settings.ca_certificate.read_text().count("BEGIN CERTIFICATE") == 2
    assert world.directory_server is not None
    assert world.directory_server.nss.trust("IPADOMAIN.COM IPA CA") == "CT,C,C"


# --- breaks


def test_every_row_of_the_catalogue_has_a_break() -> None:
    """Each row of freeipa.md section 6 can be made, and each break says what it makes."""
    assert {one.row for one in BREAKS.values()} - {GENERIC} == ROWS
    assert all(one.description.endswith(".") and "\n" not in one.description for one in BREAKS.values())
    assert all(name == one.name for name, one in BREAKS.items())


@pytest.mark.parametrize("name", BREAKS)
def test_a_world_recovers_from_each_break(world: World, name: str) -> None:
    """A break changes something, and reset brings back every store, request and service."""
    healthy = digest(world)
    BREAKS[name].apply(world)
    assert digest(world) != healthy
    world.reset()
    assert digest(world) == healthy


def test_a_world_recovers_from_many_breaks_at_once(world: World) -> None:
    """Breaks can be combined, and reset does not care."""
    healthy = digest(world)
    for name in (SEED, "ca-renewal-older", "stale-lock", "basic-auth", "tracking-missing", "certmap-wrong-issuer"):
        BREAKS[name].apply(world)
    world.renew("auditSigningCert cert-pki-ca", wait=False)  # which waits for the stale lock
    world.reset()
    assert digest(world) == healthy


def test_in_the_seeds_case_pki_tomcatd_does_not_come_back(world: World) -> None:
    """Everything but pkidbuser has the new certificate; 389-ds says 49, and pki-tomcatd, once stopped, stays down."""
    old = world.nss_certificate(SUBSYSTEM)
    assert bound(world).code == 0
    BREAKS[SEED].apply(world)
    new = world.nss_certificate(SUBSYSTEM)
    assert world.ca_renewal_certificate(SUBSYSTEM) == new
    assert world.people_certificates("pkidbuser") == [old]
    assert world.people_description("pkidbuser") == entries.description_of(old)
    assert bound(world).code == 49
    assert world.pki.running  # from memory
    world.pki.stop()
    with pytest.raises(ServiceError, match="CA did not start"):
        world.pki.start()


def test_two_entries_with_one_see_also_make_another_user_of_pki_tomcatd(world: World) -> None:
    """389-ds 2.3.1 does not refuse: of two entries with the certificate it takes the wrong one."""
    BREAKS["pkidbuser-second-seealso"].apply(world)
    assert bound(world) == BindResult(0, "dn: uid=CA-ipa.ipadomain.com-8443,ou=people,o=ipaca", "")


def test_the_break_command_runs_something_in_a_broken_world() -> None:
    """`python -m tests.lab break NAME... --run`: the tools are on the PATH."""
    command = [sys.executable, "-m", "tests.lab", "break", "pki-stopped", "tracking-missing", "--run"]
    command.append("systemctl is-active pki-tomcatd@pki-tomcat httpd; getcert list | grep -c 'Request ID'")
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["inactive", "active", "12"]


def test_the_breaks_are_listed() -> None:
    """`python -m tests.lab breaks`, and an unknown name is refused."""
    command = [sys.executable, "-m", "tests.lab"]
    listed = subprocess.run([*command, "breaks"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert all(name in listed and one.description in listed for name, one in BREAKS.items())
    refused = subprocess.run(
        [*command, "break", "nothing"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "no break 'nothing'" in refused.stderr) == (2, True)

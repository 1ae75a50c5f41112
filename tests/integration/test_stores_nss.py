# SPDX-License-Identifier: MIT
"""NSS databases by the real certutil, and the bind by the real tstclnt to a real 389-ds."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certwitness.errors import StoreError
from certwitness.stores import external_bind, nss
from certwitness.stores.pin import Pin
from tests.lab import entries
from tests.lab.ca import TestCA, key_of, key_pem, new_key, subject
from tests.lab.directory import Directory389
from tests.lab.nss import NssDatabase
from tests.lab.place import Place

pytestmark = pytest.mark.lab

CA = "caSigningCert cert-pki-ca"
SUBSYSTEM = "subsystemCert cert-pki-ca"
DAY = timedelta(days=1)


class Lab:
    """An NSS database like Dogtag's, and a CA to fill it."""

    def __init__(self, directory: Path) -> None:
        self.ca = TestCA()
        self.pin_file = directory / "pin"
        self.pin_file.write_text("Tomcat.123\n")
        self.pin = Pin.from_file(str(self.pin_file))
        self.directory = directory / "alias"
        self.db = NssDatabase(self.directory, self.pin_file)
        self.db.add(CA, self.ca.certificate, "CT,C,C")

    def put(self, nickname: str, name: str, start: int = -1, end: int = 300, role: str = "") -> x509.Certificate:
        """Import a certificate valid between two days from now, with the key of a role (default: its nickname)."""
        key = key_of(role or nickname)
        not_before = datetime.now(timezone.utc).replace(microsecond=0) + start * DAY
        certificate = self.ca.issue(subject(name), key.public_key(), not_before=not_before, lifetime=end * DAY)
        self.db.import_pair(nickname, key, certificate)
        return certificate

    def read(self, *nicknames: str) -> nss.NssDatabase:
        return nss.read(str(self.directory), nicknames or None, self.pin)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def serials(entry: nss.NssEntry | None) -> list[int]:
    assert entry is not None
    return [certificate.serial for certificate in entry.certificates]


def numbers(certificates: Sequence[x509.Certificate]) -> list[int]:
    return [certificate.serial_number for certificate in certificates]


def test_a_database_is_read(lab: Lab) -> None:
    """Nicknames with blanks, flags, certificates and keys of RSA and EC are what was put there."""
    subsystem = lab.put(SUBSYSTEM, "CA Subsystem")
    audit = lab.put("auditSigningCert cert-pki-ca", "CA Audit")
    lab.db.set_trust("auditSigningCert cert-pki-ca", "u,u,Pu")
    key = ec.generate_private_key(ec.SECP384R1())
    curve = lab.ca.issue(subject("EC"), key.public_key())
    lab.db.import_pair("ec cert", key, curve)  # type: ignore[arg-type]
    foreign = lab.ca.issue(subject("No key"), new_key().public_key())
    lab.db.add("foreign", foreign)
    found = lab.read()
    assert found.pin_problem == ""
    assert {name: (entry.trust, serials(entry), entry.keys) for name, entry in found.entries.items()} == {
        CA: ("CT,C,C", [lab.ca.certificate.serial_number], (False,)),
        SUBSYSTEM: ("u,u,u", numbers([subsystem]), (True,)),
        "auditSigningCert cert-pki-ca": ("u,u,Pu", numbers([audit]), (True,)),
        "ec cert": ("u,u,u", numbers([curve]), (True,)),
        "foreign": (",,", numbers([foreign]), (False,)),
    }


def test_odd_nicknames_are_read(lab: Lab) -> None:
    """Quotes, backslashes, tabs, a leading blank or hyphen, letters beyond ASCII and 600 characters are all found."""
    names = ['a "quoted" one', '"all quoted"', "back\\slash\\", "a\ttab", " leading", "-n", "ünïcode nick", "x" * 600]
    for number, name in enumerate(names):
        lab.put(name, f"name {number}", role=SUBSYSTEM)
    found = lab.read(*names)
    assert set(found.entries) == set(names)
    assert {entry.certificates[0].subject.split(",")[0] for entry in found.entries.values()} == {
        f"CN=name {number}" for number in range(len(names))
    }


@pytest.mark.parametrize(
    ("validities", "picked"),
    [
        ([(-10, 300), (-5, 500)], 1),
        ([(-10, 500), (-5, 300)], 1),
        ([(-100, 50), (-90, -2)], 0),
        ([(-100, -50), (-90, 10)], 1),
        ([(-100, 50), (5, 700)], 0),
        ([(-100, -50), (10, 200), (-30, 3)], 2),
    ],
)
def test_the_first_is_the_one_that_nss_picks(lab: Lab, validities: list[tuple[int, int]], picked: int) -> None:
    """Of several certificates of a nickname the first is what a TLS server of NSS's shows: valid, then the newest."""
    certificates = [lab.put(SUBSYSTEM, "CA Subsystem", start, end) for start, end in validities]
    found = serials(lab.read(SUBSYSTEM).get(SUBSYSTEM))
    assert sorted(found) == sorted(numbers(certificates))
    assert found[0] == certificates[picked].serial_number == _served(lab)


def _served(lab: Lab) -> int:
    """The serial number that selfserv shows for the subsystem's nickname."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["timeout", "20", "selfserv", "-D", "-n", SUBSYSTEM, "-d", f"sql:{lab.directory}", "-p", str(port)]
    with subprocess.Popen(
        [*command, "-f", str(lab.pin_file)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            connect = f"openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null"
            show = f"for try in $(seq 100); do {connect} && break; sleep .05; done"
            shown = subprocess.run(["timeout", "15", "bash", "-c", show], capture_output=True, check=True).stdout
        finally:
            server.terminate()
    return x509.load_pem_x509_certificate(shown[shown.index(b"-----BEGIN") :]).serial_number


def test_nicknames_of_one_subject_are_told_apart(lab: Lab) -> None:
    """certutil shows all certificates of a subject: each nickname has its own nevertheless."""
    one = lab.put("one", "Same", start=-9)
    two, three = (lab.ca.issue(subject("Same"), key_of("two").public_key()) for _ in range(2))
    lab.db.add("two", two)
    lab.db.add("three", three)
    found = lab.read()
    assert [serials(found.get(name)) for name in ("one", "two", "three")] == [[c] for c in numbers([one, two, three])]


def test_a_certificate_of_another_key_has_no_key(lab: Lab) -> None:
    """Renewed with a key that is not there: NSS's flag u does not tell, the key ID does."""
    lab.put(SUBSYSTEM, "CA Subsystem")
    other = lab.ca.issue(subject("CA Subsystem"), new_key().public_key())
    lab.db.add(SUBSYSTEM, other)
    entry = lab.read(SUBSYSTEM).get(SUBSYSTEM)
    assert entry is not None
    there = dict(zip(serials(entry), entry.keys))
    assert there.pop(other.serial_number) is False
    assert list(there.values()) == [True]


def test_a_lost_key_is_seen(lab: Lab) -> None:
    """The private key deleted behind NSS's back: the flags still say u,u,u, and the key is not there."""
    lab.put(SUBSYSTEM, "CA Subsystem")
    with closing(sqlite3.connect(lab.directory / "key4.db")) as keys:
        keys.execute("DELETE FROM nssPrivate")
        keys.commit()
    entry = lab.read(SUBSYSTEM).get(SUBSYSTEM)
    assert entry is not None
    assert (entry.trust, entry.keys) == ("u,u,u", (False,))


@pytest.mark.parametrize(
    ("pin", "problem"),
    [(Pin.from_text("wrong"), "wrong PIN"), (Pin.from_text(""), "the PIN given is empty"), (None, "no PIN given")],
)
def test_without_the_right_pin(lab: Lab, pin: Pin | None, problem: str) -> None:
    """A wrong, an empty and no PIN: certificates are read, keys unknown, and nobody is asked."""
    lab.put(SUBSYSTEM, "CA Subsystem")
    found = nss.read(f"sql:{lab.directory}", [SUBSYSTEM], pin)
    entry = found.get(SUBSYSTEM)
    assert entry is not None
    assert (found.pin_problem, entry.keys) == (problem, (None,))


def test_a_database_without_a_pin(tmp_path: Path) -> None:
    """An empty password needs none, and any PIN does; no keys are no problem."""
    subprocess.run(["certutil", "-N", "-d", f"sql:{tmp_path}", "--empty-password"], check=True)
    for pin in (None, Pin.from_text("anything")):
        assert nss.read(str(tmp_path), None, pin) == nss.NssDatabase(str(tmp_path), {}, "")


def test_what_cannot_be_opened_says_why(lab: Lab) -> None:
    """Damage and locks, which certutil calls a bad database alike, are told apart; nothing is created or changed."""
    lab.put(SUBSYSTEM, "CA Subsystem")
    for name in ("cert9.db", "key4.db"):
        copy = lab.directory.with_name(f"bad {name}")
        shutil.copytree(lab.directory, copy)
        with _locked(copy / name), pytest.raises(StoreError, match=f"{name} is locked by another process"):
            nss.read(str(copy), None, lab.pin)
        (copy / name).write_bytes(b"\0" * 3000)
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            nss.read(str(copy), None, lab.pin)
        before = sorted(path.name for path in copy.iterdir())
        (copy / name).unlink()
        with pytest.raises(StoreError, match=rf"{re.escape(name)} is missing"):
            nss.read(str(copy), None, lab.pin)
        assert sorted(path.name for path in copy.iterdir()) == [left for left in before if left != name]


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Another process writes to an SQLite file (in this process, closing the file anywhere would end the lock)."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE')"
    )
    command = [sys.executable, "-c", program + "; print(flush=True); sys.stdin.read()", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield


def test_a_second_token(lab: Lab, tmp_path: Path) -> None:
    """A nickname on another token is read there, with that token's keys; a token that is not there is named."""
    hsm = tmp_path / "hsm"
    hsm.mkdir()
    other = Lab(hsm)
    there = other.put(SUBSYSTEM, "CA Subsystem", role="on the HSM")
    here = lab.put("Server-Cert cert-pki-ca", "server")
    library = next(Path("/usr/lib").glob("**/libsoftokn3.so"), Path("/usr/lib64/libsoftokn3.so"))
    with open(lab.directory / "pkcs11.txt", "a", encoding="ascii") as modules:
        where = f"configdir='sql:{other.directory}' certPrefix='' keyPrefix='' secmod='' flags="
        parameters = f"{where} tokenDescription='HSM TOKEN'"
        modules.write(f"\nlibrary={library}\nname=second\nparameters={parameters}\nNSS=trustOrder=50\n")
    found = lab.read("Server-Cert cert-pki-ca", f"HSM TOKEN:{SUBSYSTEM}", "HSM TOKEN:absent")
    assert set(found.entries) == {"Server-Cert cert-pki-ca", f"HSM TOKEN:{SUBSYSTEM}"}
    assert serials(found.get(f"HSM TOKEN:{SUBSYSTEM}")) == numbers([there])
    assert serials(found.get("Server-Cert cert-pki-ca")) == numbers([here])
    assert {entry.keys for entry in found.entries.values()} == {(True,)}
    with pytest.raises(StoreError, match="there is no token OTHER"):
        lab.read(f"OTHER:{SUBSYSTEM}")


# --- the bind


class Server:
    """A 389-ds as FreeIPA and Dogtag fill it, and the database with which Dogtag binds to it."""

    def __init__(self, place: Place) -> None:
        directory = Path(place.directory) / "dogtag"
        directory.mkdir()
        self.lab = Lab(directory)
        self.ca = self.lab.ca
        self.directory = Directory389(place, self.ca)
        self.directory.start()
        self.subsystem = self.lab.put(SUBSYSTEM, "CA Subsystem")
        shared = {
            SUBSYSTEM: self.subsystem,
            "ipaCert": self.ca.issue(subject("IPA RA"), key_of("ipaCert").public_key()),
        }
        entries.fill(self.directory.ldapi, shared, self.ca.certificate)
        self.lab.put("same subject", "CA Subsystem Two", role=SUBSYSTEM)
        self.lab.put("expired", "CA Expired", -100, -5, role=SUBSYSTEM)
        self.lab.db.add("no key", self.ca.issue(subject("No key"), new_key().public_key()))

    def bind(self, nickname: str = SUBSYSTEM, host: str = "localhost", **more: Pin) -> external_bind.BindResult:
        pin = more.get("pin", self.lab.pin)
        return external_bind.bind(str(self.lab.directory), nickname, pin, host, self.directory.ldaps_port)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One 389-ds for the module; tests put back what they change."""
    place = Place()
    try:
        yield Server(place)
    finally:
        place.close()


def test_a_healthy_subsystem_certificate_binds(server: Server, tmp_path: Path) -> None:
    """The bind tells the same identity as ldapwhoami with the same certificate."""
    result = server.bind()
    assert result == external_bind.BindResult(0, "dn: uid=pkidbuser,ou=people,o=ipaca", "")
    for name, content in (
        ("ca", entries.der(server.ca.certificate)),
        ("cert", entries.der(server.subsystem)),
    ):
        (tmp_path / name).write_bytes(x509.load_der_x509_certificate(content).public_bytes(Encoding.PEM))
    (tmp_path / "key").write_bytes(key_pem(key_of(SUBSYSTEM)))
    variables = {"CACERT": "ca", "CERT": "cert", "KEY": "key"}
    environment = {f"LDAPTLS_{name}": str(tmp_path / file) for name, file in variables.items()}
    command = ["ldapwhoami", "-Q", "-Y", "EXTERNAL", "-H", f"ldaps://localhost:{server.directory.ldaps_port}"]
    shown = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=20
    )
    assert shown.stdout.strip().casefold() == result.identity


def test_another_certificate_of_the_subject_is_refused(server: Server) -> None:
    """Code 49 where the directory has another certificate of the same subject."""
    other = server.ca.issue(subject("CA Subsystem"), key_of(SUBSYSTEM).public_key())
    entries.put(server.directory.ldapi, SUBSYSTEM, other)
    try:
        result = server.bind()
    finally:
        entries.put(server.directory.ldapi, SUBSYSTEM, server.subsystem)
    assert (result.code, result.identity) == (49, "")
    assert server.bind().code == 0


def test_a_subject_without_an_entry_is_refused(server: Server) -> None:
    """Code 49 for a certificate whose subject nobody has."""
    assert server.bind("same subject").code == 49


def test_an_expired_certificate_is_refused(server: Server) -> None:
    """The server ends TLS with an alert: a refusal, not a failure to look."""
    result = server.bind("expired")
    assert result.code == external_bind.REFUSED_IN_TLS
    assert "SSL_ERROR_EXPIRED_CERT_ALERT" in result.message


def test_no_verdict_says_why(server: Server, tmp_path: Path) -> None:
    """Wrong PIN, no certificate, no key, unknown CA, nobody listening: each is told, none is a refusal."""
    with pytest.raises(StoreError, match="wrong PIN"):
        server.bind(pin=Pin.from_text("wrong"))
    for nickname in ("absent", "no key"):
        with pytest.raises(StoreError, match="no such certificate with its private key"):
            server.bind(nickname)
    stranger = NssDatabase(tmp_path / "stranger", server.lab.pin_file)
    stranger.import_pair(SUBSYSTEM, key_of(SUBSYSTEM), server.subsystem)
    with pytest.raises(StoreError, match=r"SEC_ERROR_(UNKNOWN|UNTRUSTED)_ISSUER"):
        external_bind.bind(str(stranger.directory), SUBSYSTEM, server.lab.pin, "localhost", server.directory.ldaps_port)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(StoreError, match="Connection refused"):
            external_bind.bind(
                str(server.lab.directory), SUBSYSTEM, server.lab.pin, "localhost", closed.getsockname()[1]
            )


def test_a_port_that_says_nothing(server: Server) -> None:
    """A server that takes the connection and says nothing is given up at the deadline."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        where = (str(server.lab.directory), SUBSYSTEM, server.lab.pin, "127.0.0.1", silent.getsockname()[1])
        with pytest.raises(StoreError, match=r"no answer within 0\.5 s"):
            external_bind.bind(*where, deadline_s=0.5)

# SPDX-License-Identifier: MIT
"""The directory is read from a real 389-ds: what is there, how it is asked, and what happens if it does not answer."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from certwitness.errors import StoreError
from certwitness.stores import directory
from certwitness.stores.directory import Directory
from tests.lab import entries
from tests.lab.ca import TestCA, key_of, subject
from tests.lab.directory import Directory389
from tests.lab.ldapi import Ldapi, Value
from tests.lab.place import Place
from tests.lab.settings import HOST, REALM, SUFFIX

SUBSYSTEM = "subsystemCert cert-pki-ca"
SUBSYSTEM_NAME = f"CN=CA Subsystem,O={REALM}"
SEARCHES = 12


class Lab:
    """A directory as FreeIPA and Dogtag fill it, and its CA."""

    def __init__(self, place: Place) -> None:
        self.ca = TestCA()
        self.server = Directory389(place, self.ca)
        self.server.start()
        self.ldapi: Ldapi = self.server.ldapi
        self.shared = {
            SUBSYSTEM: self.issue("CA Subsystem"),
            "ipaCert": self.issue("IPA RA"),
        }
        entries.fill(self.ldapi, self.shared, self.ca.certificate)

    def issue(self, name: str) -> x509.Certificate:
        return self.ca.issue(subject(name), key_of(name).public_key())

    def read(self, *names: str, timeout_s: float = 10) -> Directory:
        return directory.read(self.ldapi.uri, SUFFIX, lambda: names, timeout_s=timeout_s)

    def searches(self) -> int:
        """How many searches the server has logged so far, but for those of its own."""
        return len(re.findall(r"conn=\d+ .*SRCH base=", self.server.access_log))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One filled directory for the module; what a test adds it takes away."""
    place = Place()
    try:
        yield Lab(place)
    finally:
        place.close()


def ders(certificates: Sequence[object]) -> list[bytes]:
    """DER of certificates, ours or cryptography's."""
    return [entries.der(c) if isinstance(c, x509.Certificate) else getattr(c, "der", b"") for c in certificates]


def test_everything_of_a_ca_server_is_read(lab: Lab) -> None:
    """The shared certificates, Dogtag's users, authorities, masters and names are what FreeIPA put there."""
    found = lab.read(SUBSYSTEM_NAME)
    assert found.bound_as == "dn: cn=Directory Manager"
    assert found.suffix == SUFFIX
    assert set(found.ca_renewal) == {SUBSYSTEM, "ipaCert"}
    assert ders(found.ca_renewal[SUBSYSTEM].certificates("userCertificate")) == ders([lab.shared[SUBSYSTEM]])
    assert {uid for entry in found.people for uid in entry.texts("uid")} == {"pkidbuser", "ipara", f"CA-{HOST}-8443"}
    person = found.person("PKIDBUSER")
    assert person is not None
    assert person.texts("seeAlso") == (SUBSYSTEM_NAME,)
    description = directory.parse_description(person.texts("description")[0])
    assert description is not None
    assert description.serial == lab.shared[SUBSYSTEM].serial_number
    assert found.authorities[0].texts("authoritySerial") == (str(lab.ca.certificate.serial_number),)
    assert found.masters[0].dn == entries.MASTER
    assert "caRenewalMaster" in found.masters[0].texts("ipaConfigString")
    assert found.ca_subject == f"CN=Certificate Authority,O={REALM}"
    assert found.subject_base == f"O={REALM}"
    assert (found.has_kra, found.ca_store, found.legacy_ca) == (False, (), None)
    assert found.see_also == {SUBSYSTEM_NAME: (entries.person_dn("pkidbuser"),)}
    assert ders(found.issued[SUBSYSTEM_NAME]) == ders([lab.shared[SUBSYSTEM]])


def test_twelve_searches_on_one_connection(lab: Lab) -> None:
    """However many names are asked for, the server sees twelve searches on one connection."""
    before = len(lab.server.access_log)
    lab.read(SUBSYSTEM_NAME, f"CN=IPA RA,O={REALM}", f"CN=OCSP Subsystem,O={REALM}")
    log = lab.server.access_log[before:]
    searches = re.findall(r"conn=(\d+) .*SRCH base=", log)
    assert len(searches) == SEARCHES
    assert len(set(searches)) == 1
    assert not re.search(r"\b(MOD|ADD|DEL|MODRDN) dn=", log)


def test_the_second_wave_is_left_out_where_no_name_is_asked_for(lab: Lab) -> None:
    """Without subjects there is nothing to look for in the repository."""
    before = lab.searches()
    found = lab.read()
    assert lab.searches() - before == SEARCHES - 3
    assert (found.see_also, found.issued) == ({}, {})


def test_subjects_are_asked_for_when_the_first_wave_is_under_way(lab: Lab) -> None:
    """What the caller does meanwhile costs no time: the server has nine searches by then."""
    before = lab.searches()
    seen: list[int] = []

    def subjects() -> Sequence[str]:
        deadline = time.monotonic() + 10
        while lab.searches() - before < SEARCHES - 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(lab.searches() - before)
        return [SUBSYSTEM_NAME]

    found = directory.read(lab.ldapi.uri, SUFFIX, subjects)
    assert seen == [SEARCHES - 3]
    assert found.issued[SUBSYSTEM_NAME]


def test_what_is_asked_for_subjects_comes_under_the_spelling_that_was_asked(lab: Lab) -> None:
    """Names are matched as the server does, and the answer is found under the text that was given."""
    spelled = f"cn=ca subsystem, o={REALM.lower()}"
    found = lab.read(spelled, "CN=nobody,O=X")
    assert found.see_also[spelled] == (entries.person_dn("pkidbuser"),)
    assert found.see_also["CN=nobody,O=X"] == ()
    assert found.issued["CN=nobody,O=X"] == ()


def test_issued_certificates_come_newest_first(lab: Lab) -> None:
    """The newest of several for one subject is the first, whatever the serial numbers are."""
    names = subject("Several")
    dn = entries.name_of(names)
    now = datetime.now(timezone.utc)
    key = key_of("Several")
    made = []
    for days, serial in ((30, 2**158 + 5), (10, 7), (20, 2**100)):
        start = now - timedelta(days=days)
        builder = x509.CertificateBuilder().subject_name(names).issuer_name(lab.ca.certificate.subject)
        builder = builder.public_key(key.public_key()).serial_number(serial)
        made.append(builder.not_valid_before(start).not_valid_after(now).sign(key, hashes.SHA256()))
    lab.ldapi.add(*map(entries.record_of, made))
    try:
        found = lab.read(dn).issued[dn]
        assert [certificate.serial for certificate in found] == [7, 2**100, 2**158 + 5]
    finally:
        for certificate in made:
            lab.ldapi.delete(entries.record_of(certificate)[0])


@pytest.mark.parametrize(
    "common_name", ["a, b+c", "semi;colon", 'quo"te', "Größe (x)*", "back\\slash", "#hash", "<x>=y", " blank "]
)
def test_names_with_special_characters_are_found(lab: Lab, common_name: str) -> None:
    """Escapes, UTF-8 and what means something in a filter do no harm, in o=ipaca and in FreeIPA's suffix."""
    attributes = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, REALM),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    certificate = lab.ca.issue(x509.Name(attributes), key_of("special").public_key())
    dn = entries.name_of(certificate.subject)
    record = entries.record_of(certificate)
    user = f"cn=see,{SUFFIX}"
    lab.ldapi.add(record, (user, {"objectClass": ["person", "inetOrgPerson"], "sn": ["s"], "seeAlso": [dn]}))
    try:
        found = lab.read(dn)
        assert ders(found.issued[dn]) == ders([certificate])
        assert found.see_also[dn] == (user,)
    finally:
        lab.ldapi.delete(record[0])
        lab.ldapi.delete(user)


def test_a_seealso_in_another_suffix_and_on_a_second_entry_is_seen(lab: Lab) -> None:
    """389-ds wants exactly one hit in all suffixes, so all of them are told."""
    extra = f"cn=second,{SUFFIX}"
    entry = {"objectClass": ["person", "inetOrgPerson"], "sn": ["s"], "seeAlso": [SUBSYSTEM_NAME.lower()]}
    lab.ldapi.add((extra, entry))
    try:
        assert set(lab.read(SUBSYSTEM_NAME).see_also[SUBSYSTEM_NAME]) == {entries.person_dn("pkidbuser"), extra}
    finally:
        lab.ldapi.delete(extra)


def test_odd_values_are_no_traceback(lab: Lab) -> None:
    """Several certificates, one with ;binary, rubbish, and a name that is none: each is told apart."""
    other = lab.issue("CA Subsystem")
    version = b"\xa0\x03\x02\x01\x02"
    negative = bytearray(entries.der(other))
    negative[negative.index(version) + len(version) + 2] |= 0x80  # the serial number's first octet
    dn = entries.person_dn("pkidbuser")
    lab.ldapi.modify(
        dn,
        ("add", "userCertificate", [entries.der(other), bytes(negative), b"no certificate", b"0"]),
        ("add", "userCertificate;binary", [entries.der(other)]),
        ("add", "description", ["just a person", "2;x;y;z", "2;1;=;;"]),
    )
    try:
        person = lab.read("no name at all", "#3000", "CN=\\zz", "", "CN=(*)").person("pkidbuser")
        assert person is not None
        found = person.certificates("userCertificate")
        assert {certificate.der for certificate in found} == {bytes(negative), *ders([other, lab.shared[SUBSYSTEM]])}
        assert min(certificate.serial for certificate in found) < 0
        assert person.unreadable("userCertificate") == 2
        assert ders(person.certificates("usercertificate;BINARY")) == ders([other])
        assert set(person.attributes) >= {"usercertificate", "usercertificate;binary"}
        assert len(person.texts("description")) == 4
    finally:
        lab.ldapi.modify(
            dn,
            ("delete", "userCertificate;binary", []),
            ("replace", "userCertificate", [entries.der(lab.shared[SUBSYSTEM])]),
            ("replace", "description", [entries.description_of(lab.shared[SUBSYSTEM])]),
        )


def test_a_user_with_nothing_but_binary_certificates_is_found(lab: Lab) -> None:
    """A user of another name counts by its certificate, with or without ;binary; one without a certificate does not."""
    person = {"objectClass": ["person", "inetOrgPerson"], "sn": ["s"], "cn": ["s"]}
    certificate = entries.der(lab.shared[SUBSYSTEM])
    lab.ldapi.add(
        ("uid=binary,ou=people,o=ipaca", {**person, "userCertificate;binary": [certificate]}),
        ("uid=plain,ou=people,o=ipaca", person),
    )
    try:
        found = lab.read()
        assert found.person("binary") is not None
        assert found.person("plain") is None
    finally:
        lab.ldapi.delete("uid=binary,ou=people,o=ipaca")
        lab.ldapi.delete("uid=plain,ou=people,o=ipaca")


def test_the_kra_and_the_ca_store_are_read(lab: Lab) -> None:
    """A KRA's users come with the CA's, and the CA store's certificates are read with their option."""
    units = [f"{unit},o=ipaca" for unit in ("o=kra", "ou=people,o=kra")]
    person = {"objectClass": ["person", "inetOrgPerson"], "sn": ["s"], "cn": ["s"]}
    store = [f"cn=certificates,cn=ipa,cn=etc,{SUFFIX}", f"cn={REALM} IPA CA,cn=certificates,cn=ipa,cn=etc,{SUFFIX}"]
    legacy = f"cn=CAcert,cn=ipa,cn=etc,{SUFFIX}"
    authority = entries.der(lab.ca.certificate)
    stored: dict[str, list[Value]] = {"objectClass": ["nsContainer", "pkiCA"], "cACertificate;binary": [authority]}
    lab.ldapi.add(
        (units[0], {"objectClass": ["organization"]}),
        (units[1], {"objectClass": ["organizationalUnit"]}),
        (f"uid=ipakra,{units[1]}", person),
        (store[0], {"objectClass": ["nsContainer"]}),
        (store[1], stored),
        (legacy, stored),
    )
    try:
        found = lab.read()
        assert found.has_kra
        assert found.person("ipakra") is not None
        assert found.ca_store[0].texts("cn") == (f"{REALM} IPA CA",)
        assert ders(found.ca_store[0].certificates("cACertificate;binary")) == [authority]
        assert found.legacy_ca is not None
        assert ders(found.legacy_ca.certificates("cACertificate;binary")) == [authority]
    finally:
        for dn in (f"uid=ipakra,{units[1]}", units[1], units[0], store[1], store[0], legacy):
            lab.ldapi.delete(dn)


def test_a_suffix_that_is_not_there_is_empty(lab: Lab) -> None:
    """Bases that do not exist are no error: the server may have no CA."""
    found = directory.read(lab.ldapi.uri, "dc=elsewhere,dc=com", lambda: [SUBSYSTEM_NAME])
    assert (found.ca_renewal, found.masters, found.ca_subject) == ({}, (), None)
    assert found.people


def test_a_suffix_that_is_no_name_is_an_error_of_one_line(lab: Lab) -> None:
    """What the server refuses is said in its words."""
    with pytest.raises(StoreError, match=r"^directory: ldapi://.*DN") as raised:
        directory.read(lab.ldapi.uri, "no name", list)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    """No socket: the error says which, and that the server cannot be contacted."""
    uri = Ldapi(tmp_path / "slapd.socket").uri
    with pytest.raises(StoreError, match=re.escape(uri) + r".*Can't contact"):
        directory.read(uri, SUFFIX, list)


@pytest.mark.parametrize("uri", ["", "nonsense", "http://localhost"])
def test_an_address_that_is_none_is_an_error(uri: str) -> None:
    """An address that libldap cannot use is a StoreError too."""
    with pytest.raises(StoreError):
        directory.read(uri, SUFFIX, list, timeout_s=2)


@pytest.mark.parametrize("when", ["before the bind", "after the first wave"])
def test_a_server_that_does_not_answer_costs_the_time_limit(lab: Lab, when: str) -> None:
    """A server that is stopped in the middle ends the reading in time."""

    def stop() -> Sequence[str]:
        os.kill(lab.server.pid, signal.SIGSTOP)
        return [SUBSYSTEM_NAME]

    try:
        if when == "before the bind":
            stop()
        with pytest.raises(StoreError, match=r"no answer from .* in 1 s"):
            directory.read(lab.ldapi.uri, SUFFIX, stop, timeout_s=1)
    finally:
        os.kill(lab.server.pid, signal.SIGCONT)
    assert lab.read().ca_renewal


def test_a_server_that_hangs_holds_up_nobody_else(lab: Lab) -> None:
    """While the bind waits, other threads run: the other stores are read, and Ctrl-C is heard."""

    def read() -> None:
        with suppress(StoreError):
            directory.read(lab.ldapi.uri, SUFFIX, list, timeout_s=2)

    os.kill(lab.server.pid, signal.SIGSTOP)
    try:
        reader = threading.Thread(target=read)
        reader.start()
        longest, last = 0.0, time.monotonic()
        while reader.is_alive():
            time.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 1
    finally:
        os.kill(lab.server.pid, signal.SIGCONT)


def test_what_the_subjects_take_costs_no_time_of_the_servers(lab: Lab) -> None:
    """Whoever waits for certmonger is not told that the directory does not answer."""

    def slow() -> Sequence[str]:
        time.sleep(1.5)
        return [SUBSYSTEM_NAME]

    found = directory.read(lab.ldapi.uri, SUFFIX, slow, timeout_s=1)
    assert found.see_also[SUBSYSTEM_NAME] == (entries.person_dn("pkidbuser"),)


def test_a_record_is_found_under_the_name_that_dogtag_gives_it(lab: Lab) -> None:
    """subjectName is compared as text: Dogtag writes E= where cryptography writes a number."""
    names = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, REALM),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "pki@ipadomain.com"),
            x509.NameAttribute(NameOID.COMMON_NAME, "CA Audit"),
        ]
    )
    certificate = lab.ca.issue(names, key_of("special").public_key())
    dn, attributes = entries.record_of(certificate)
    lab.ldapi.add((dn, {**attributes, "subjectName": [f"CN=CA Audit,E=pki@ipadomain.com,O={REALM}"]}))
    try:
        name = names.rfc4514_string()
        assert ders(lab.read(name).issued[name]) == ders([certificate])
    finally:
        lab.ldapi.delete(dn)


NOBODY = 65534


@pytest.mark.parametrize("mapped", [False, True])
def test_another_identity_than_directory_manager_is_refused(lab: Lab, mapped: bool) -> None:
    """Without root's rights an entry that is not seen may still be there: no conclusion, whether or not 389-ds has an
    entry for the user."""
    user = f"cn=nobody,{SUFFIX}"
    if mapped:
        numbers = {"uidNumber": [str(NOBODY)], "gidNumber": [str(NOBODY)]}
        person = {"objectClass": ["person", "posixAccount"], "sn": ["s"], "uid": ["n"], "homeDirectory": ["/"]}
        lab.ldapi.add((user, {**person, **numbers}))
        settings = {"maptoentries": "on", "uidnumbertype": "uidNumber", "gidnumbertype": "gidNumber"}
        for name, value in {**settings, "entrysearchbase": SUFFIX}.items():
            lab.ldapi.modify("cn=config", ("replace", f"nsslapd-ldapi{name}", [value]))
    said = read_as_nobody(lab)
    if mapped:
        lab.ldapi.delete(user)
        assert said == f"StoreError directory: bound as dn: {user}, not as cn=directory manager: run as root"
    else:
        assert said.startswith(f"StoreError directory: {lab.ldapi.uri}: Inappropriate authentication")
        assert said.endswith(": run as root")


def read_as_nobody(lab: Lab) -> str:
    """What comes of a reading by a user without rights (389-ds takes group 0 for root as well)."""
    inside = [path for path in lab.server.socket.parents if path.is_relative_to(lab.server.place.directory)]
    for path in (lab.server.socket, *inside):
        path.chmod(0o777)
    reading, writing = os.pipe()
    child = os.fork()  # user IDs are a process's
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            lab.read()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__} {error}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:
        return pipe.read().decode()

# SPDX-License-Identifier: MIT
"""The commands that findings propose: safe for the shell, right for ldapmodify, certmap.conf and getcert."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certwitness import catalogue, host
from certwitness.certificates import Certificate
from certwitness.checks import remedies
from certwitness.config import Config
from certwitness.host import Host
from certwitness.stores import certmap
from certwitness.stores.directory import Entry, parse_description
from certwitness.tracked import Tracked

ISSUER = "CN=Certificate Authority,O=IPADOMAIN.COM"
SUBJECT = "CN=CA Subsystem,O=IPADOMAIN.COM"
DN = "uid=pkidbuser,ou=people,o=ipaca"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """An IPA server's host, from a configuration that names the realm."""
    nothing = tmp_path_factory.mktemp("host") / "default.conf"
    return host.load(Config("", {"ipa": {"realm": "IPADOMAIN.COM", "host": "ipa.ipadomain.com"}}), str(nothing))


def certificate(subject: str = SUBJECT, serial: int = 4711) -> Certificate:
    """A self-made certificate of ISSUER."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(ISSUER))
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=720))
        .public_key(key.public_key())
    )
    return Certificate.from_der(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def ldif(command: str) -> list[str]:
    """The lines that a shell gives to the command's standard input."""
    word = command.split(maxsplit=1)[0]
    done = subprocess.run(["sh", "-ec", f"{word}() {{ cat; }}\n{command}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def decoded(line: str) -> str:
    """The value of an LDIF line."""
    _, _, rest = line.partition(":")
    return base64.b64decode(rest[1:]).decode() if rest.startswith(":") else rest.strip()


def test_modify_is_a_whole_ldif_with_a_line_between_changes(here: Host) -> None:
    """Each change begins after a single dash, certificates are base64, and the URI is the host's own."""
    command = remedies.modify(
        here, DN, ("add", "userCertificate", [b"\x30\x00"]), ("delete", "userCertificate;binary", [])
    )
    assert command.splitlines()[0] == (
        "ldapmodify -Q -Y EXTERNAL -H ldapi://%2Frun%2Fslapd-IPADOMAIN-COM.socket <<'EOF'"
    )
    assert ldif(command) == [
        f"dn: {DN}",
        "changetype: modify",
        "add: userCertificate",
        "userCertificate:: MAA=",
        "-",
        "delete: userCertificate;binary",
    ]


@pytest.mark.parametrize(
    "value",
    [
        " leading",
        "trailing ",
        ":colon",
        "<file:///etc/passwd",
        "line\nEOF\nrm -rf /",
        "Ünïcode",
        "$(id) `id`",
        "",
        "#x",
    ],
)
def test_any_value_reaches_ldapmodify_as_it_is(here: Host, value: str) -> None:
    """Neither the shell nor LDIF takes a value for something else."""
    lines = ldif(remedies.modify(here, DN, ("replace", "description", [value])))
    assert len(lines) == 4
    assert lines[3].startswith("description:")
    assert decoded(lines[3]) == value


def test_a_dn_with_utf8_goes_as_base64(here: Host) -> None:
    """An entry's DN is encoded like a value."""
    lines = ldif(remedies.modify(here, "cn=Zürich\\, \\;,o=ipaca", ("delete", "seeAlso", ["CN=x"])))
    assert lines[0].startswith("dn:: ")
    assert decoded(lines[0]) == "cn=Zürich\\, \\;,o=ipaca"


def test_an_uri_with_blanks_stays_one_word(here: Host) -> None:
    """The URI comes from a file."""
    command = remedies.modify(replace(here, uri="ldapi://x; rm"), DN, ("delete", "seeAlso", []))
    assert "-H 'ldapi://x; rm' <<" in command


@pytest.mark.parametrize("serial", [1, 2**158 + 1, 5000000000])
def test_description_has_the_serial_in_decimal(serial: int) -> None:
    """However large it is."""
    one = certificate(serial=serial)
    assert remedies.description(one) == f"2;{serial};{ISSUER};{SUBJECT}"


def test_description_keeps_the_spelling_of_the_entry() -> None:
    """Dogtag searches for the text: where the entry has the same names otherwise spelled, only the serial changes."""
    spelled = "cn=Certificate Authority, o=IPADOMAIN.COM"
    entry = Entry(DN, {"description": (b"nonsense", f"2;7;{spelled};{SUBJECT}".encode())})
    assert remedies.description(certificate(), entry) == f"2;4711;{spelled};{SUBJECT}"


def test_description_replaces_other_names() -> None:
    """Names of another certificate are not kept."""
    entry = Entry(DN, {"description": (b"2;7;CN=Other,O=X;CN=CA Subsystem,O=X",)})
    assert remedies.description(certificate(), entry) == f"2;4711;{ISSUER};{SUBJECT}"


@pytest.mark.parametrize("subject", ["CN=a\\;b\\,c,O=X", "CN=a+OU=b,O=X", "CN=Zürich,O=Ä Ö"])
def test_description_of_odd_names_is_read_back(subject: str) -> None:
    """What is proposed is what the check accepts."""
    one = certificate(subject)
    read = parse_description(remedies.description(one))
    assert read is not None
    assert (read.serial, read.issuer, read.subject) == (one.serial, one.issuer, one.subject)


def test_renewal_entry_replaces_or_adds(here: Host) -> None:
    """An entry that is there gets one value; one that is not is made with FreeIPA's classes."""
    dn, one = "cn=ipaCert,cn=ca_renewal,cn=ipa,cn=etc,dc=ipadomain,dc=com", certificate()
    encoded = base64.b64encode(one.der).decode()
    assert ldif(remedies.renewal_entry(here, dn, "ipaCert", one, exists=True))[2:] == [
        "replace: userCertificate",
        f"userCertificate:: {encoded}",
    ]
    command = remedies.renewal_entry(here, dn, "ipaCert", one, exists=False)
    assert command.startswith("ldapadd ")
    assert ldif(command) == [
        f"dn: {dn}",
        "objectClass: top",
        "objectClass: pkiuser",
        "objectClass: nscontainer",
        "cn: ipaCert",
        f"userCertificate:: {encoded}",
    ]


def test_getcert_names_the_request() -> None:
    """Without certmonger's request the place for its ID is kept."""
    tracked = Tracked("NSSDB", "/alias", "subsystemCert cert-pki-ca", catalogue.BY_KEY["subsystem"])
    assert remedies.getcert(tracked, "refresh") == "getcert refresh -i ID"


ODD = "CN=R&D / Zürich \\; \\+1,O=It's"


@pytest.mark.parametrize("issuer", [ISSUER, ODD])
@pytest.mark.parametrize("name", ["ipaca", "ip.a*[c]a/$", "IPACA"])
def test_certmap_mapping_is_corrected_in_place(tmp_path: Path, issuer: str, name: str) -> None:
    """Issuer and both properties become right, other mappings and properties stay, and the old file is kept."""
    path = tmp_path / "certmap.conf"
    before = (
        "# a comment\ncertmap default\tdefault\ndefault:FilterComps uid\n"
        f"certmap {name}  CN=Wrong,O=X\n{name}:CmapLdapAttr description\n{name}:DNComps\n{name}:VerifyCert off\n"
        "certmap other CN=Other,O=Y\nother:CmapLdapAttr cn\n"
    )
    path.write_text(before)
    subprocess.run(["sh", "-ec", remedies.certmap(str(path), name, issuer)], check=True)
    default, ours, other = certmap.read(str(path))
    assert (default.name, dict(default.properties)) == ("default", {"filtercomps": "uid"})
    assert (ours.name, ours.issuer) == (name, issuer)
    assert dict(ours.properties) == {"cmapldapattr": "seeAlso", "verifycert": "on", "dncomps": ""}
    assert (other.issuer, dict(other.properties)) == ("CN=Other,O=Y", {"cmapldapattr": "cn"})
    assert (tmp_path / "certmap.conf.before").read_text() == before


def test_certmap_mapping_is_added(tmp_path: Path) -> None:
    """Also where the file does not end with a line's end."""
    path = tmp_path / "certmap.conf"
    path.write_text("certmap default default\ndefault:DNComps")
    subprocess.run(["sh", "-ec", remedies.certmap(str(path), "", ODD)], check=True)
    ours = certmap.read(str(path))[-1]
    assert (ours.name, ours.issuer) == ("ipaca", ODD)
    assert dict(ours.properties) == {"cmapldapattr": "seeAlso", "verifycert": "on"}

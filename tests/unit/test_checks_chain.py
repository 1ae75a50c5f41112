# SPDX-License-Identifier: MIT
"""Pure judgements of the checks: who issued what, trust flags, modes of files, and directives of a CS.cfg."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from certwitness.certificates import Certificate
from certwitness.checks import chain, keys, pki, requests, saved
from certwitness.events.renewals import Renewal
from certwitness.evidence import Evidence
from certwitness.findings import ERROR, WARNING
from certwitness.stores.pem import PemKey
from certwitness.tracked import Tracked

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
RSA, OTHER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def name(text: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])


def signed(
    subject: x509.Name, issuer: x509.Name, key: Any, by: Any, *, serial: int = 1, days: int = 365
) -> Certificate:
    """A certificate for `key`, signed with `by`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=days))
    )
    digest = None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Certificate.from_der(builder.sign(by, digest).public_bytes(Encoding.DER))


CA = name("Certificate Authority")
LEAF = name("leaf")


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=["RSA", "EC", "Ed25519"])
def test_a_signature_of_any_kind_is_verified(key: Any) -> None:
    """With what cryptography has for it, and by hand as where it has nothing (before 40)."""
    authority, leaf = signed(CA, CA, key, key), signed(LEAF, CA, OTHER, key)
    assert chain.misfit(leaf, authority) == ""
    chain.verify(x509.load_der_x509_certificate(leaf.der), key.public_key())
    stranger = signed(LEAF, CA, OTHER, ED if key is not ED else OTHER)
    assert chain.misfit(stranger, authority) == chain.SIGNATURE


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=["RSA", "EC", "Ed25519"])
def test_by_hand_a_changed_certificate_is_refused(key: Any) -> None:
    """The signature of another certificate with the same kind of key."""
    other = {RSA: OTHER, EC: ec.generate_private_key(ec.SECP256R1()), ED: ed25519.Ed25519PrivateKey.generate()}[key]
    leaf = x509.load_der_x509_certificate(signed(LEAF, CA, OTHER, other).der)
    with pytest.raises(InvalidSignature):
        chain.verify(leaf, key.public_key())


def test_by_hand_a_key_of_another_kind_is_no_judgement() -> None:
    """An RSA signature cannot be judged with an Ed25519 key."""
    leaf = x509.load_der_x509_certificate(signed(LEAF, CA, OTHER, RSA).der)
    with pytest.raises(ValueError, match="not known"):
        chain.verify(leaf, ED.public_key())


def test_a_name_in_another_encoding_is_told_apart() -> None:
    """The signature fits, but NSS compares the bytes of names and finds no issuer."""
    authority = signed(CA, CA, RSA, RSA)
    leaf = signed(LEAF, name("Certificate Authority", _ASN1Type.PrintableString), OTHER, RSA)
    assert chain.misfit(leaf, authority) == chain.NAME
    assert chain.issuer_of(leaf, [authority]) == (None, chain.NAME)


def test_any_of_several_certificates_of_a_renewed_ca_may_fit() -> None:
    """The one that fits and lives longest counts, wherever it stands."""
    rekeyed = signed(CA, CA, OTHER, OTHER, serial=1, days=900)
    first, second = (signed(CA, CA, RSA, RSA, serial=number, days=100 * number) for number in (2, 3))
    leaf = signed(LEAF, CA, OTHER, RSA)
    assert chain.issuer_of(leaf, [rekeyed, first, second]) == (second, "")
    assert chain.issuer_of(leaf, [rekeyed]) == (None, chain.SIGNATURE)


def test_without_a_ca_of_that_name_there_is_no_judgement() -> None:
    """Another CA's certificate is compared with nothing."""
    assert chain.issuer_of(signed(LEAF, name("Another CA"), OTHER, RSA), [signed(CA, CA, RSA, RSA)]) == (None, "")


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ("u,u,Pu", "u,u,Pu", ""),
        ("u,u,u", "u,u,Pu", "without P for code signing"),
        ("CTu,Cu,Cu", "CTu,Cu,Cu", ""),
        ("CTu,CTu,CTu", "CTu,Cu,Cu", ""),
        ("u,u,u", "CTu,Cu,Cu", "without CT for SSL, C for S/MIME, C for code signing"),
        (",,", "u,u,u", ""),
        ("pu,u,u", "u,u,u", "p forbids its use"),
        ("u,u,u or u,u,Pu", "u,u,Pu", ""),
        ("u,u", "u,u,Pu", "without P for code signing"),
        ("", "u,u,Pu", "without P for code signing"),
    ],
)
def test_trust_flags(found: str, wanted: str, words: str) -> None:
    """A flag that is lost, or one that forbids; others do no harm."""
    assert saved.untrusted(found, wanted) == words


def file(owner: str, group: str, mode: int) -> PemKey:
    return PemKey("/var/lib/ipa/ra-agent.key", "00", owner, group, mode)


@pytest.mark.parametrize(
    ("found", "group", "level"),
    [
        (("root", "ipaapi", 0o440), "ipaapi", ""),
        (("root", "ipaapi", 0o640), "ipaapi", ""),
        (("root", "root", 0o440), "", ""),
        (("root", "root", 0o400), "", ""),
        (("root", "root", 0o440), "ipaapi", ERROR),
        (("root", "ipaapi", 0o400), "ipaapi", ERROR),
        (("apache", "ipaapi", 0o440), "ipaapi", ERROR),
        (("root", "users", 0o440), "", ERROR),
        (("root", "ipaapi", 0o444), "ipaapi", ERROR),
        (("root", "ipaapi", 0o460), "ipaapi", ERROR),
        (("root", "ipaapi", 0o550), "ipaapi", WARNING),
    ],
)
def test_owner_group_and_mode_of_the_ra_key(found: tuple[str, str, int], group: str, level: str) -> None:
    """root:ipaapi 0440; the group root where there is no ipaapi."""
    assert keys.fault(file(*found), group=group, allowed=0o440, is_key=True)[0] == level


@pytest.mark.parametrize(("mode", "is_key", "level"), [(0o644, False, ""), (0o644, True, ERROR), (0o664, False, ERROR)])
def test_a_strangers_file_must_only_not_be_open_to_anybody(mode: int, is_key: bool, level: str) -> None:
    """Where FreeIPA has no rule."""
    assert keys.fault(file("nobody", "users", mode), group="", allowed=0, is_key=is_key)[0] == level


def test_directives_are_set_whatever_the_file_looks_like(tmp_path: Path) -> None:
    """CRLF, blanks, a key twice, a missing one, no end of the last line: and keys that only look alike stay."""
    path = tmp_path / "CS.cfg"
    path.write_bytes(b"a.cert=old\r\nXa.cert=1\r\naxcert=2\r\n a.cert = older\r\na.cert.nickname=n\r\nlast=3")
    commands = pki.set_directives(str(path), {"a.cert": "AB+/==", "b.cert": "CD&\\1"}, ["b.cert"])
    script = "\n".join(line for line in commands if not line.startswith("systemctl"))
    subprocess.run(["sh", "-e"], input=script, text=True, check=True)
    assert path.read_bytes() == (
        b"a.cert=AB+/==\nXa.cert=1\r\naxcert=2\r\na.cert=AB+/==\na.cert.nickname=n\r\nlast=3\nb.cert=CD&\\1\n"
    )
    assert commands[0].startswith("systemctl stop ")
    assert commands[-1].startswith("systemctl start ")
    assert (tmp_path / "CS.cfg.before").read_bytes().startswith(b"a.cert=old\r\n")


@pytest.mark.parametrize(("hours", "running", "words"), [(3, True, "3 hours"), (1, True, ""), (3, False, "3 hours")])
def test_a_helper_that_runs_for_hours_hangs(hours: int, running: bool, words: str) -> None:
    """By the log: since its start, or since the last that was seen of the renewal."""
    begun = "2026-11-23T00:00:00.000001Z"
    renewal = Renewal("0" * 32, "2026-11-22T00:00:00.000001Z")
    renewal.running_since = begun if running else ""
    renewal.last = begun
    evidence = SimpleNamespace(now=NOW + timedelta(hours=hours), renewal=lambda _: renewal)
    assert requests.hangs(cast(Evidence, evidence), cast(Tracked, None)) == words
    evidence.renewal = lambda _: None
    assert requests.hangs(cast(Evidence, evidence), cast(Tracked, None)) == ""

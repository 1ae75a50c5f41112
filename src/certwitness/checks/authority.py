# SPDX-License-Identifier: MIT
"""What the CA and IPA know of certificates: Dogtag's repository, its authorities, and every copy of the CA's own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwitness import catalogue, landing
from certwitness.certificates import Certificate
from certwitness.checks import remedies, services, wording
from certwitness.checks.check import certificate_check
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, WARNING, Finding
from certwitness.landing import Holding
from certwitness.stores.names import same_dn
from certwitness.stores.nss import NssEntry
from certwitness.tracked import Tracked

# 389-ds checks client certificates (pki-tomcatd's) with T, servers with C.
_DIRSRV_TRUST = "CT,C,C"


def wrong(evidence: Evidence, tracked: Tracked, store: str) -> Iterator[tuple[Certificate, Holding]]:
    """The certificate, and each place of the store that does not hold it; at last the StoreError of one unread."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    unknown: StoreError | None = None
    for holding in landing.holdings(evidence, tracked, store):
        if holding.store != store or holding.mark == landing.LANDED:
            continue
        if holding.mark == landing.UNKNOWN:
            unknown = StoreError(holding.where, holding.reason.removeprefix(f"{holding.where}: "))
        else:
            yield wanted, holding
    if unknown:
        raise unknown


@certificate_check(
    "repository",
    ERROR,
    rows=(24,),
    compares="the certificate with the CA's own record of it (ou=certificateRepository)",
    failure="the CA does not know it: it can be neither shown nor revoked, and OCSP says unknown",
    found_by="IPADogtagCertsMatchCheck",
    replicates=True,
    applies=lambda tracked: catalogue.REPOSITORY in tracked.role.stores,
)
def repository(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """Certificates of other CAs are in their repositories."""
    for wanted, holding in wrong(evidence, tracked, catalogue.REPOSITORY):
        yield Finding(
            "",
            ERROR,
            where=holding.where,
            expected=f"a record of serial {wanted.serial_text}",
            found="none: o=ipaca may have been restored from an older backup, or does not replicate",
            breaks="the CA can neither show nor revoke it, and OCSP answers unknown",
            remedy="Compare with the other CA servers; if they have no record either, have it issued again"
            f" {services.where_to_renew(tracked, evidence)}.",
            commands=services.renew(tracked, evidence),
        )


@certificate_check(
    "authority-serial",
    ERROR,
    rows=(13,),
    compares="authoritySerial of the CA's entry in ou=authorities with the CA certificate's serial",
    failure="a lightweight CA goes back to its old certificate at Dogtag's next start; the CA's entry is out of date",
    replicates=True,
    applies=lambda tracked: catalogue.AUTHORITY in tracked.role.stores,
)
def authority_serial(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """Of the CA itself and of lightweight CAs. Where the entry is ahead of this server, not the entry is wrong."""
    for wanted, holding in wrong(evidence, tracked, catalogue.AUTHORITY):
        if holding.mark == landing.NEWER:
            continue  # ca-renewal or saved
        # Dogtag goes by it for lightweight CAs alone (CertificateAuthority.checkForNewerCert, PKI 10.5 to 11.9).
        lightweight = tracked.role.key == "lightweight-ca"
        yield Finding(
            "",
            ERROR if lightweight else WARNING,
            where=holding.where,
            expected=f"authoritySerial {wanted.serial_text}",
            found=holding.reason,
            breaks="at its next start Dogtag puts the certificate of that serial into NSS, and this one out"
            if lightweight
            else "the entry names an old certificate; the CA itself goes by its NSS database",
            remedy="Put the serial in (on one server: it replicates).",
            commands=(
                remedies.modify(evidence.host, holding.where, ("replace", "authoritySerial", [wanted.serial_text])),
            ),
            since=wording.since(evidence, tracked, wanted),
        )


@certificate_check(
    "ca-store",
    CRITICAL,
    rows=(14,),
    compares="IPA's CA certificate in Dogtag's NSS database with its copies: cn=certificates, cn=CAcert,"
    " /etc/ipa/ca.crt, 389-ds's NSS database and its trust there",
    failure="clients, services or 389-ds do not trust what the CA signs",
    found_by="IPACertMatchCheck, IPADogtagCertsMatchCheck (the CA's part)",
    applies=lambda tracked: tracked.role.key == "ca",
)
def ca_store(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """One finding for each copy."""
    wanted = evidence.wanted(tracked)
    if wanted is None:
        return
    # Where a copy is ahead of this server, ca-renewal says so: what is there must not be replaced by the old one.
    behind = (one for _, one in wrong(evidence, tracked, catalogue.CA_STORE) if one.mark != landing.NEWER)
    looks = (
        (_copy(evidence, tracked, wanted, holding) for holding in behind),
        _dirsrv(evidence, tracked, wanted),
    )
    for look in looks:
        try:
            yield from look
        except StoreError as error:  # one copy that cannot be read hides no other
            yield Finding("", UNKNOWN, where=error.store, found=f"could not look: {error.reason}")


def _copy(evidence: Evidence, tracked: Tracked, wanted: Certificate, holding: Holding) -> Finding:
    """The finding for LDAP's entries and for ca.crt."""
    host = evidence.host
    is_file = holding.where == host.ca_certificate
    # While the old certificate of the same key is valid, what the CA signs verifies against it.
    old = holding.found
    verifies = old is not None and old.spki_sha256 == wanted.spki_sha256 and old.not_after > evidence.now
    if is_file:
        command = f"cat >> {shlex.quote(host.ca_certificate)} <<'EOF'\n\n{services.pem(wanted)}\nEOF"
        remedy = "Add it (ipa-certupdate does the same from LDAP, for all of this host's copies)."
        breaks = "this host trusts nothing that the CA signs: renewals fail (Error 60, 77)"
    elif holding.where.lower().startswith("cn=cacert,"):
        change = ("replace", "cACertificate;binary", [wanted.der])
        command = remedies.modify(host, holding.where, change)
        remedy = "Put it in, then run ipa-certupdate on all hosts."
        breaks = "what still reads cn=CAcert (old clients at their enrolment) does not trust the CA"
    else:
        command = _store_entry(evidence, wanted, holding.where)
        remedy = "Put it in, then run ipa-certupdate on all hosts: that fetches it from here."
        breaks = "ipa-certupdate brings no host the CA's certificate: they stop trusting it when the old one ends"
    if verifies and old is not None and is_file:
        breaks = f"this host stops trusting what the CA signs when the old one ends, on {old.not_after:%Y-%m-%d}"
    return Finding(
        "",
        CRITICAL if is_file and not verifies else ERROR,
        where=holding.where,
        expected=f"the CA certificate with serial {wanted.serial_text}",
        found=f"the one with serial {old.serial_text}" if old else "none of this CA",
        breaks=breaks,
        remedy=remedy,
        commands=(command,),
        since=wording.since(evidence, tracked, wanted),
    )


def _store_entry(evidence: Evidence, wanted: Certificate, dn: str) -> str:
    """Add the certificate to its entry below cn=certificates, or make the entry, as FreeIPA's certstore has it."""
    host = evidence.host
    issuer_serial = f"{wanted.issuer};{wanted.serial_text}"
    entry = next((one for one in evidence.directory.ca_store if one.dn == dn), None)
    if entry is not None:
        changes: list[tuple[str, str, list[str | bytes]]] = [("add", "cACertificate;binary", [wanted.der])]
        if issuer_serial not in entry.texts("ipacertissuerserial"):
            changes.append(("add", "ipaCertIssuerSerial", [issuer_serial]))
        return remedies.modify(host, dn, *changes)
    attributes: list[tuple[str, Any]] = [
        *(("objectClass", name) for name in ("top", "ipaCertificate", "pkiCA", "ipaKeyPolicy")),
        ("cn", f"{host.realm} IPA CA"),
        ("ipaCertSubject", wanted.subject),
        ("ipaCertIssuerSerial", issuer_serial),
        ("ipaPublicKey", _public_key(wanted)),
        ("ipaKeyTrust", "trusted"),
        *(("ipaKeyExtUsage", f"1.3.6.1.5.5.7.3.{number}") for number in (1, 2, 3, 4)),
        ("ipaConfigString", "ipaCA"),
        ("ipaConfigString", "compatCA"),
        ("cACertificate;binary", wanted.der),
    ]
    return remedies.add(host, f"cn={host.realm} IPA CA,{dn}", attributes)


def _dirsrv(evidence: Evidence, tracked: Tracked, wanted: Certificate) -> Iterator[Finding]:
    """389-ds verifies pki-tomcatd's certificate with the CA certificate in its own database."""
    location = evidence.host.dirsrv_nssdb
    entries = evidence.nss(location).entries
    named = [
        (nickname, entry, one)
        for nickname, entry in entries.items()
        for one in entry.certificates
        if same_dn(one.subject, wanted.subject)
    ]
    ours = [(nickname, entry) for nickname, entry, one in named if one == wanted]
    if any(_trusts_clients(entry) for _, entry in ours):
        return
    if any(_trusts_clients(entry) and one.not_before > wanted.not_before for _, entry, one in named):
        return  # ahead of this server's CA
    nicknames = [*(name for name, _ in ours), *(name for name, *_ in named)]
    nickname = next(iter(nicknames), f"{evidence.host.realm} IPA CA")
    old = max((one for *_, one in named), key=lambda one: one.not_after, default=None)
    valid = old is not None and old.spki_sha256 == wanted.spki_sha256 and old.not_after > evidence.now
    trusted = any(_trusts_clients(entry) for _, entry, _ in named)
    critical = not (valid and trusted)
    if ours:
        found = f"trust {ours[0][1].trust}: its certificates are no clients' (no T in the first field)"
        command = services.certutil(evidence, location, "-M", "-n", nickname, "-t", _DIRSRV_TRUST)
    else:
        found = f"the one with serial {old.serial_text}" if old else "none of this CA"
        arguments = ("-A", "-n", nickname, "-t", _DIRSRV_TRUST)
        command = services.certutil(evidence, location, *arguments, text=services.pem(wanted))
    yield Finding(
        "",
        CRITICAL if critical else ERROR,
        where=location,
        expected=f"the CA certificate with serial {wanted.serial_text}, trust {_DIRSRV_TRUST}",
        found=found,
        breaks="pki-tomcatd will not start: 389-ds does not trust its certificate after its own next start"
        if critical or old is None
        else f"389-ds stops trusting pki-tomcatd when the old CA certificate ends, on {old.not_after:%Y-%m-%d}",
        remedy="Put it right and restart 389-ds (ipa-certupdate does the same from LDAP).",
        commands=(command, remedies.restart(f"dirsrv@{evidence.host.instance}")),
        since="" if ours else wording.since(evidence, tracked, wanted),
    )


def _trusts_clients(entry: NssEntry) -> bool:
    """Whether one of a nickname's certificates has T in the first field (``,, or CT,C,C`` where they differ)."""
    return any("T" in flags.partition(",")[0] for flags in entry.trust.split(" or "))


def _public_key(certificate: Certificate) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    key = x509.load_der_x509_certificate(certificate.der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


CHECKS = (repository, authority_serial, ca_store)

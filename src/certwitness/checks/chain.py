# SPDX-License-Identifier: MIT
"""Whether a certificate verifies against the CA certificates that this host trusts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from certwitness.certificates import Certificate
from certwitness.checks import services, wording
from certwitness.checks.check import certificate_check
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, Finding
from certwitness.stores.names import same_dn
from certwitness.tracked import Tracked

SIGNATURE, NAME = "signature", "name"
# PKCS #1, ANSI X9.62, RFC 8410.
_KINDS = (
    ("1.2.840.113549.1.1.", rsa.RSAPublicKey),
    ("1.2.840.10045.4.", ec.EllipticCurvePublicKey),
    ("1.3.101.112", ed25519.Ed25519PublicKey),
)


def misfit(certificate: Certificate, authority: Certificate) -> str:
    """Why `authority` did not issue `certificate`: SIGNATURE, NAME (the same name in another encoding: NSS compares
    the bytes, so it builds no chain), "" if it did. Raises ValueError where the algorithm is not supported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cryptography: serial numbers that are not positive, old hashes
        child, parent = (x509.load_der_x509_certificate(one.der) for one in (certificate, authority))
        if not _may_sign(child.signature_algorithm_oid.dotted_string, parent.public_key()):
            return SIGNATURE
        try:
            same_name = child.issuer.public_bytes() == parent.subject.public_bytes()
            if same_name and hasattr(child, "verify_directly_issued_by"):  # from cryptography 40 on
                child.verify_directly_issued_by(parent)
            else:
                verify(child, parent.public_key())
        except InvalidSignature:
            return SIGNATURE
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(str(error)) from error
    return "" if same_name else NAME


def _may_sign(algorithm: str, key: Any) -> bool:
    """Whether a key is of the kind that an algorithm (OID) signs with; True for what is not known here."""
    for start, kind in _KINDS:
        if algorithm.startswith(start):
            return isinstance(key, kind)
    return True


def verify(child: x509.Certificate, key: Any) -> None:
    """Verify the signature by hand, with a public key of cryptography.

    Raises InvalidSignature; ValueError, TypeError or UnsupportedAlgorithm for what is not known here.
    """
    signed, signature, digest = child.tbs_certificate_bytes, child.signature, child.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and digest is not None:
        how = getattr(child, "signature_algorithm_parameters", None) or padding.PKCS1v15()
        key.verify(signature, signed, how, digest)  # RSASSA-PSS can be told from cryptography 41 on
    elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
        key.verify(signature, signed, ec.ECDSA(digest))
    elif digest is None and hasattr(key, "verify"):  # Ed25519, Ed448
        key.verify(signature, signed)
    else:
        raise ValueError("this kind of signature is not known")


def issuer_of(certificate: Certificate, candidates: Iterable[Certificate]) -> tuple[Certificate | None, str]:
    """The CA certificate among `candidates` that issued `certificate` and lives longest, and "" (or None, and how the
    best one does not fit: "" too if none has the issuer's name). A renewed CA has several of one name: any may fit.
    Raises ValueError as `misfit`."""
    named = sorted((one for one in candidates if same_dn(one.subject, certificate.issuer)), key=_end, reverse=True)
    reasons = [misfit(certificate, one) for one in named]
    if "" in reasons:
        return named[reasons.index("")], ""
    return None, NAME if NAME in reasons else SIGNATURE if reasons else ""


def _end(certificate: Certificate) -> Any:
    return certificate.not_after


def _known(evidence: Evidence) -> Iterator[Certificate]:
    """The CA certificates that this host trusts, and those of its own CAs."""
    yield from evidence.pem(evidence.host.ca_certificate).certificates
    for one in evidence.tracked:
        if one.role.key in ("ca", "lightweight-ca"):
            held = evidence.held(one)
            if held is not None:
                yield held


@certificate_check(
    "chain",
    CRITICAL,
    compares="the certificate's signature and issuer with the CA certificates that this host trusts (/etc/ipa/ca.crt)",
    failure="whoever is shown the certificate refuses it",
    found_by="IPAOpenSSLChainValidation, IPANSSChainValidation (of the services' certificates)",
)
def chain(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """A certificate of a CA that nobody here knows is no fault: there is nothing to compare it with."""
    held = evidence.held(tracked)
    if held is None:
        return
    try:
        issuer, reason = issuer_of(held, _known(evidence))
    except ValueError as error:
        raise StoreError(tracked.location, f"the signature of {tracked.name} cannot be verified: {error}") from None
    words = f"serial {held.serial_text}, signed by {held.issuer}"
    if issuer is None and reason:
        what = "but not with that CA's key" if reason == SIGNATURE else "but with that name in another encoding"
        yield Finding(
            "",
            CRITICAL if tracked.role.key not in ("", "kdc", "lightweight-ca") else ERROR,
            where=tracked.location,
            expected=f"a certificate that verifies against {evidence.host.ca_certificate}",
            found=f"{words} {what}",
            breaks=services.refused(tracked.role),
            remedy=f"Have it issued again {services.where_to_renew(tracked, evidence)}.",
            commands=services.renew(tracked, evidence),
            since=wording.since(evidence, tracked, held),
        )
    elif issuer is not None and issuer.not_after <= evidence.now and not _is_tracked(evidence, issuer):
        yield Finding(
            "",
            CRITICAL,
            where=evidence.host.ca_certificate,
            expected="a CA certificate that is valid",
            found=f"the CA certificate with serial {issuer.serial_text} ended on {issuer.not_after:%Y-%m-%d %H:%M} UTC",
            breaks=services.refused(tracked.role),
            remedy="Fetch the CA's current certificate from LDAP.",
            commands=("ipa-certupdate",),
            since=issuer.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def _is_tracked(evidence: Evidence, authority: Certificate) -> bool:
    """Whether the expiry check speaks of this CA certificate already."""
    return any(evidence.held(one) == authority for one in evidence.tracked if one.role.key in ("ca", "lightweight-ca"))

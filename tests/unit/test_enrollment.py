# SPDX-License-Identifier: MIT
from __future__ import annotations

import json

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certwitness.enrollment import request_block
from tests.unit.conftest import CERTMONGER_CSR, CERTMONGER_SPKI, CERTMONGER_SPKI_SHA256, CHALLENGE, pem

VARIABLES = (
    "CSR",
    "SPKI",
    "CERTIFICATE",
    "CA_COOKIE",
    "KEY_TYPE",
    "CA_PROFILE",
    "CA_ISSUER",
    "REQ_SUBJECT",
    "REQ_HOSTNAME",
    "REQ_EMAIL",
    "REQ_PRINCIPAL",
    "REQ_IP_ADDRESS",
    "SPKAC",
)


def test_whole_request(leaf: x509.Certificate) -> None:
    """A renewal's environment gives all that is known of the request."""
    block = request_block(
        {
            "CERTMONGER_CSR": CERTMONGER_CSR,
            "CERTMONGER_SPKI": CERTMONGER_SPKI,
            "CERTMONGER_KEY_TYPE": "EC",
            "CERTMONGER_REQ_SUBJECT": "CN=plain",
            "CERTMONGER_REQ_HOSTNAME": "plain\nplain.example",
            "CERTMONGER_REQ_PRINCIPAL": "host/plain@EXAMPLE",
            "CERTMONGER_REQ_EMAIL": "root@plain",
            "CERTMONGER_REQ_IP_ADDRESS": "192.0.2.1\n2001:db8::1",
            "CERTMONGER_CA_PROFILE": "caServerCert",
            "CERTMONGER_CA_ISSUER": "ipa",
            "CERTMONGER_CERTIFICATE": pem(leaf).decode() + "\n",
            "CERTMONGER_CA_COOKIE": "state=approve&requestId=7",
        }
    )
    previous = block.pop("previous")
    assert previous["serial"] == "10"
    assert previous["not_after"] == "2028-01-02T03:04:05Z"
    assert block == {
        "nickname": "plain",
        "profile": "caServerCert",
        "issuer": "ipa",
        "subject": "CN=plain",
        "csr_subject": "CN=plain",
        "hostnames": ["plain", "plain.example"],
        "emails": ["root@plain"],
        "principals": ["host/plain@EXAMPLE"],
        "ip_addresses": ["192.0.2.1", "2001:db8::1"],
        "csr_sans": ["DNS:plain"],
        "key_type": "EC",
        "key_size": 521,
        "spki_sha256": CERTMONGER_SPKI_SHA256,
        "has_challenge_password": True,
        "has_cookie": True,
    }


def test_no_secret() -> None:
    """Neither the request nor its challenge password nor the SPKAC, which holds it too, is in the block."""
    block = json.dumps(request_block({"CERTMONGER_CSR": CERTMONGER_CSR, "CERTMONGER_SPKAC": CERTMONGER_CSR}))
    assert CHALLENGE not in block
    assert "BEGIN" not in block
    assert CERTMONGER_CSR.splitlines()[2] not in block


def test_key_without_request() -> None:
    """Without a request the key is known from CERTMONGER_SPKI."""
    assert request_block({"CERTMONGER_SPKI": CERTMONGER_SPKI}) == {
        "nickname": None,
        "previous": None,
        "has_challenge_password": False,
        "has_cookie": False,
        "spki_sha256": CERTMONGER_SPKI_SHA256,
    }


def test_problems_are_told() -> None:
    """What cannot be read is named, and a request that cannot be read is taken to hold a challenge password."""
    block = request_block({"CERTMONGER_CSR": "x", "CERTMONGER_SPKI": "%", "CERTMONGER_CERTIFICATE": "x"})
    assert [problem.split(":")[0] for problem in block["problems"]] == [
        "CERTMONGER_CSR",
        "CERTMONGER_SPKI",
        "CERTMONGER_CERTIFICATE",
    ]
    assert block["has_challenge_password"] is True


@given(st.dictionaries(st.sampled_from([f"CERTMONGER_{name}" for name in VARIABLES]), st.text(st.characters())))
def test_any_environment(environ: dict[str, str]) -> None:
    """No environment makes it raise, and the block is always JSON."""
    json.dumps(request_block(environ))

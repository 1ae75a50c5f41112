# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certwitness.cookies import parts
from tests.unit.conftest import pem


def freeipa(inner: str, profile: str | None = "caSubsystemCert") -> str:
    return json.dumps({"cookie": inner, "profile": profile})


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("state=approve&requestId=7", {"state": "approve", "request_id": "7"}),
        ("state=retrieve&requestId=0x1f\n", {"state": "retrieve", "request_id": "0x1f"}),
        (freeipa("", None), {"profile": None}),
        (
            freeipa("request:" + freeipa("state=approve&requestId=7")),
            {"steps": ["request"], "profile": "caSubsystemCert", "state": "approve", "request_id": "7"},
        ),
        (
            freeipa("request:" + freeipa("request:" + freeipa("state=retrieve&requestId=8")), "caCACert"),
            {"steps": ["request", "request"], "profile": "caCACert", "state": "retrieve", "request_id": "8"},
        ),
        (freeipa("retrieve:" + freeipa("")), {"steps": ["retrieve"], "profile": "caSubsystemCert"}),
        ("", {}),
        ("anything else", {}),
        ("request:state=approve&requestId=7", {}),
        ("{", {}),
        ('{"profile": "x"}', {}),
        ("[1]", {}),
    ],
)
def test_known_and_unknown_forms(cookie: str, expected: dict[str, Any]) -> None:
    """Dogtag's and FreeIPA's cookies are taken apart, others give nothing."""
    assert parts(cookie) == expected


def test_certificate_that_waits_to_be_stored(leaf: x509.Certificate) -> None:
    """FreeIPA's cookie for storing shows the certificate and the failed attempts."""
    found = parts(freeipa(f"store:{pem(leaf).decode()}:{freeipa('3')}"))
    assert found["steps"] == ["store"]
    assert found["store_attempts"] == 3
    assert found["certificate"]["subject"] == "CN=a.example"


def test_damaged_certificate_is_told() -> None:
    """A certificate in the cookie that cannot be read is told, and what follows is still read."""
    block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    found = parts(freeipa(f"store:{block}:{freeipa('9')}"))
    assert found["store_attempts"] == 9
    assert "not a certificate" in found["certificate_problem"]


def test_depth_is_bounded() -> None:
    """Endless nesting ends."""
    cookie = ""
    for _ in range(13):
        cookie = freeipa("request:" + cookie)
    assert len(parts(cookie)["steps"]) < 13


@given(st.one_of(st.text(), st.text().map(freeipa), st.text().map(lambda text: freeipa(f"store:{text}"))))
def test_any_text(cookie: str) -> None:
    """No cookie makes it raise, and the parts are always JSON."""
    json.dumps(parts(cookie))


def test_deep_json() -> None:
    """JSON nested beyond the interpreter's limit gives nothing."""
    assert parts('{"a":' * 100_000) == {}

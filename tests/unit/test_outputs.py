# SPDX-License-Identifier: MIT
from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from certwitness.certificates import Certificate
from certwitness.outputs import decode, foreign_key, harmful
from tests.unit.conftest import CERTMONGER_CSR, Authority, bundle, der, new_key, pem, pem_block

HEAD, FOOT = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
MIB = 1 << 20

# Each form was given to certmonger 0.79.17 as the stdout of a helper that exits with 0. `P` is a PEM certificate, `Q`
# another, `D` the DER of the first, `B` its base64 on one line, `J` JSON with it, `C` the CA's certificate.
ACCEPTED = {
    "plain": "P",
    "text around": "b'hello\\n' + P + b'bye\\n'",
    "CRLF": "P.replace(b'\\n', b'\\r\\n')",
    "CR": "P.replace(b'\\n', b'\\r')",
    "blanks at line ends": "P.replace(b'\\n', b' \\n')",
    "another label": "P.replace(b'CERTIFICATE', b'FOO')",
    "body on one line": "HEAD + B + b'\\n' + FOOT",
    "blank line in the body": "HEAD + B[:40] + b'\\n\\n' + B[40:] + b'\\n' + FOOT",
    "CA first": "C + P",
    "two leaves": "P + Q + C",
    "same twice": "P + P",
    "junk block first": "HEAD + b'AAAA\\n' + FOOT + P",
    "END first": "FOOT + P",
    "NUL after": "P + b'\\0junk'",
    "PKCS#7 in PEM": "pem_block('PKCS7', bundle(ca, leaf))",
    "PKCS#7 in DER": "bundle(ca, leaf)",
    "DER": "D",
    "JSON": "J()",
    "JSON, newlines after": "J() + b'\\n\\n \\n'",
    "JSON, blanks before": "b'\\n ' + J()",
    "JSON, UTF-8": "J(note='\u00e9')",
    "JSON, PKCS#7": "J(certificate=pem_block('PKCS7', bundle(ca, leaf)).decode())",
    "JSON, line ends unescaped": "b'{\"certificate\": \"' + P + b'\"}'",
    "JSON, chain and roots": "J(chain=[{'certificate': C.decode()}], roots=[{'certificate': C.decode()}])",
}
REFUSED = {
    "empty": "b''",
    "text": "b'no certificate'",
    "bare base64": "B",
    "line breaks removed": "P.replace(b'\\n', b'')",
    "indented": "b'  ' + P.replace(b'\\n', b'\\n  ')",
    "no line break before END": "P.replace(b'\\n-----END', b'-----END')",
    "headers": "HEAD + b'X: y\\n\\n' + P[len(HEAD):]",
    "damaged base64": "P.replace(b'MII', b'!II')",
    "text that is not ASCII": "'h\u00e9llo\\n'.encode() + P",
    "NUL before": "b'x\\0' + P",
    "newline after DER": "D + b'\\n'",
    "two of one name": "C + pem(other_ca)",
    "JSON without certificate": "json.dumps({'chain': [{'certificate': P.decode()}]}).encode()",
    "JSON string": "json.dumps(P.decode()).encode()",
    "JSON array": "b'[' + J() + b']'",
    "JSON and more": "J() + b'x\\n'",
    "JSON, base64": "J(certificate=B.decode())",
    "JSON, line breaks removed": "J(certificate=P.replace(b'\\n', b'').decode())",
    "JSON, certificate is an object": "J(certificate={'certificate': P.decode()})",
    "JSON, text that is not ASCII": "J(certificate='\u00e9' + P.decode())",
    "PEM without END": "P.replace(FOOT, b'')",
    "PEM without END after a good one": "P + HEAD + b'MIIB\\n'",
}


@pytest.fixture(scope="session")
def form(authority: Authority, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Any:
    """Evaluates an entry of ACCEPTED or REFUSED."""
    certificate = pem(leaf)

    def as_json(**more: Any) -> bytes:
        return json.dumps({"certificate": certificate.decode(), **more}, ensure_ascii="note" not in more).encode()

    names = {
        "P": certificate,
        "D": der(leaf),
        "B": base64.b64encode(der(leaf)),
        "C": pem(authority.certificate),
        "Q": pem(authority.issue("second", key)),
        "J": as_json,
        "ca": authority.certificate,
        "leaf": leaf,
        "other_ca": Authority.create().certificate,
        **globals(),
    }
    return lambda text: eval(text, names)  # noqa: S307 (the tables above)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_forms(form: Any, name: str) -> None:
    """Every form that certmonger takes for a certificate is one, and the leaf is found."""
    result, kept = decode(0, form(ACCEPTED[name]))
    assert kept
    assert result["kind"] == "certificate"
    assert result["certificate"]["subject"] == "CN=a.example"
    expected = "JSON" if "J(" in ACCEPTED[name] else "PKCS7" if "PKCS" in name else "DER" if name == "DER" else "PEM"
    assert result["format"] == expected


@pytest.mark.parametrize("name", REFUSED)
def test_refused_forms(form: Any, name: str) -> None:
    """Every form that certmonger refuses breaks the promise, and the reason is told."""
    result, kept = decode(0, form(REFUSED[name]))
    assert not kept
    assert result["problem"]
    assert "\n" not in result["problem"]


def test_chain(form: Any) -> None:
    """The certificates that came with the leaf are its chain, those of JSON too."""
    assert [one["is_ca"] for one in decode(0, form("C + P"))[0]["chain"]] == [True]
    assert len(decode(0, form(ACCEPTED["JSON, chain and roots"]))[0]["chain"]) == 2


def test_key(leaf: x509.Certificate) -> None:
    """The key is told to be the one held, the request's new one, or a foreign one; only the last is a finding."""
    mine = Certificate.from_der(der(leaf)).spki_sha256
    cases = {"same": (mine, mine), "new": (mine, "ff"), "other": ("ff", mine)}
    for expected, (request, previous) in cases.items():
        result, kept = decode(0, pem(leaf), request_spki=request, previous_spki=previous)
        assert kept
        assert result["key"] == expected
        assert [finding["check"] for finding in foreign_key(result)] == (
            ["certificate-for-another-key"] if expected == "other" else []
        )
    assert "key" not in decode(0, pem(leaf), request_spki=None, previous_spki=None)[0]
    assert decode(0, pem(leaf), request_spki=mine, previous_spki=None)[0]["key"] == "new"


def test_enveloped_data_is_unknown() -> None:
    """Enveloped PKCS#7, which only certmonger can open, does not count as broken."""
    enveloped = bytes.fromhex("300f06092a864886f70d010703a0023000")
    result, kept = decode(0, enveloped)
    assert kept
    assert "enveloped" in result["problem"]


def test_large_bundle(authority: Authority) -> None:
    """A large bundle is read in bounds."""
    key = new_key()
    many = b"".join(pem(authority.issue(f"n{number}", key, serial=number + 1)) for number in range(50))
    assert len(decode(0, many)[0]["chain"]) <= 16


# Each was measured on certmonger 0.79.17, too.
@pytest.mark.parametrize(
    ("stdout", "delay", "cookie"),
    [
        (b"3\nck\n", 3, "ck"),
        (b"3\r\nck\r\n", 3, "ck"),
        (b"3\n\nck\n", 3, "ck"),
        (b"0\nck\n", 0, "ck"),
        (b"-3\nck\n", -3, "ck"),
        (b"+3\nck\n", 3, "ck"),
        (b" 3\nck\n", 3, "ck"),
        (b"\n3\nck\n", 3, "ck"),
        (b"\nck\n", 0, "ck"),
        (b"3", 3, ""),
        (b"3\n", 3, ""),
        (b"3\0\nck\n", 3, ""),
        (b"3\nck\nck2\n", 3, "ck\nck2"),
        (b"99999999999999999999\nck\n", None, "ck"),
        (b"9" * 100_000, None, ""),
    ],
)
def test_delay_and_cookie(stdout: bytes, delay: int | None, cookie: str) -> None:
    """Exit 5 with a number alone on the first line keeps its promise."""
    result, kept = decode(5, stdout)
    assert kept
    assert (result["kind"], result.get("delay_s"), result["cookie"]["text"]) == ("delay+cookie", delay, cookie)


@pytest.mark.parametrize("stdout", [b"", b"\0", b"abc\nck\n", b"3x\nck\n", b"3 \nck\n", b"0x3\nck\n", b"3.5\nck\n"])
def test_broken_delay(stdout: bytes) -> None:
    """Exit 5 without a number alone on the first line breaks its promise."""
    result, kept = decode(5, stdout)
    assert not kept
    assert "delay" in result["problem"]


@pytest.mark.parametrize(
    ("stdout", "kept"), [(b"", False), (b"\0x", False), (b"\n", True), (b" ", True), (b"c\n", True)]
)
def test_cookie(stdout: bytes, kept: bool) -> None:
    """Exit 1 needs any text at all."""
    assert decode(1, stdout)[1] is kept


def test_cookie_is_taken_apart_and_bounded() -> None:
    """A cookie comes with its parts, its true size and a bounded text."""
    result, _kept = decode(1, b"state=approve&requestId=7\n")
    assert result["cookie"] == {
        "text": "state=approve&requestId=7",
        "size": 25,
        "state": "approve",
        "request_id": "7",
    }
    large = decode(1, b"c" * 100_000)[0]["cookie"]
    assert (large["size"], len(large["text"])) == (100_000, 512)


@pytest.mark.parametrize("code", [2, 3, 4, 6, 7, 16, 17, 127, None])
@pytest.mark.parametrize(
    ("stdout", "result"),
    [
        (b"foo\nbar", {"kind": "message", "message": "foo"}),
        (b"  foo  \r\n", {"kind": "message", "message": "  foo  "}),
        (b"foo\0bar", {"kind": "message", "message": "foo"}),
        (b"\nfoo", {"kind": "text"}),
        (b"\xff\n", {"kind": "message", "message": "\\xff"}),
        (b"", {"kind": "nothing"}),
    ],
)
def test_message(code: int | None, stdout: bytes, result: dict[str, Any]) -> None:
    """Any other exit gives the first line, as certmonger shows it in ca-error, and breaks no promise."""
    assert decode(code, stdout) == (result, True)


def test_message_holds_no_request() -> None:
    """Dogtag's message that repeats the whole URL loses the request in it."""
    url = "http://ca/x?cert_request=" + CERTMONGER_CSR.replace("\n", "%0A").replace(" ", "+") + "&pwd=hunter2"
    message = decode(2, f'Internal error: no response to "{url}".'.encode())[0]["message"]
    assert message == (
        'Internal error: no response to "http://ca/x?cert_request=[CERTIFICATE REQUEST left out]%0A&pwd=***".'
    )


def test_what_was_cut_is_unknown(leaf: x509.Certificate) -> None:
    """Where only the beginning of stdout was kept, no promise is called broken for what is missing."""
    for stdout in (b"x" * 100, pem(leaf)[:200]):
        result, kept = decode(0, stdout, complete=False)
        assert kept
        assert "unknown" in result["problem"]
    result, kept = decode(0, pem(leaf) + HEAD, complete=False)
    assert kept
    assert result["kind"] == "certificate"
    assert decode(5, b"abc\n", complete=False)[1] is False


def checks(code: int | None, stdout: bytes, longest_line: int | None = None, complete: bool = True) -> list[str]:
    longest = max(map(len, stdout.split(b"\n"))) if longest_line is None else longest_line
    return [finding["check"] for finding in harmful(code, stdout, longest, complete=complete)]


@pytest.mark.parametrize(
    ("code", "stdout", "expected"),
    [
        (2, b"\xff\xfe\n", ["stdout-not-utf8"]),
        (17, b"\xff\xfe\n", ["stdout-not-utf8"]),
        (99, b"caf\xe9", ["stdout-not-utf8"]),
        (3, "caf\u00e9\n".encode(), []),
        (3, b"fine\n\xff\n", []),
        (3, b"fine\0\xff\n", []),
        (0, b"\xff", []),
        (1, b"\xff", []),
        (None, b"\xff", []),
        (2, b"x" * MIB, []),
        (2, b"x" * (MIB + 1), ["stdout-line-too-long"]),
        (2, b"short\n" + b"x" * 2 * MIB, []),
        (1, b"x" * 2 * MIB, ["stdout-line-too-long", "cookie-too-long"]),
        (5, b"3\n" + b"x" * 140_000, ["cookie-too-long"]),
        (5, b"3\n" + b"x" * 130_000, []),
        (0, b"x" * 2 * MIB, []),
        (0, HEAD + b"AAAA\n", ["stdout-pem-unterminated"]),
        (2, HEAD + b"AAAA\n", []),
        (0, HEAD + b"AAAA\n" + FOOT, []),
        (0, b'{"certificate": "-----BEGIN"}', ["stdout-pem-unterminated"]),
        (0, b"\xff" + HEAD, []),
    ],
)
def test_harm(code: int | None, stdout: bytes, expected: list[str]) -> None:
    """Outputs that harm certmonger are found, with a remedy, and others are not."""
    assert checks(code, stdout) == expected


def test_harm_seen_through_our_own_cut() -> None:
    """A character or a PEM block cut off by us is no finding, a line known to be long is."""
    assert checks(2, "caf\u00e9".encode()[:-1], complete=False) == []
    assert checks(2, "caf\u00e9".encode()[:-1]) == ["stdout-not-utf8"]
    assert checks(0, HEAD, complete=False) == []
    assert checks(2, b"x" * 100, longest_line=2 * MIB, complete=False) == ["stdout-line-too-long"]


def test_findings_are_whole(leaf: x509.Certificate) -> None:
    """Every finding says what was expected and found, what breaks, and a remedy in commands."""
    findings = harmful(2, b"\xff" * 2 * MIB, 2 * MIB) + harmful(1, b"x", 2 * MIB) + harmful(0, HEAD, 30)
    findings += foreign_key(decode(0, pem(leaf), request_spki="ff")[0])
    assert {finding["level"] for finding in findings} == {"CRITICAL", "ERROR"}
    for finding in findings:
        assert list(finding) == ["check", "level", "expected", "found", "breaks", "remedy"]
        assert "certmonger" in finding["remedy"] or "getcert" in finding["remedy"]
        json.dumps(finding)


PIECES = st.sampled_from(
    [HEAD, FOOT, b"-----BEGIN", b"-----END", b"MIIB", b"\n", b"\0", b"{", b'{"certificate":"', b'"}', b"0"]
)


@given(
    st.one_of(st.none(), st.integers(0, 255)),
    st.one_of(st.binary(), st.lists(st.one_of(PIECES, st.binary(max_size=20))).map(b"".join)),
    st.booleans(),
    st.one_of(st.none(), st.text(max_size=3)),
)
def test_any_stdout(code: int | None, stdout: bytes, complete: bool, spki: str | None) -> None:
    """No code and no stdout make it raise, and the result is always JSON."""
    result, _kept = decode(code, stdout, complete=complete, request_spki=spki, previous_spki=spki)
    json.dumps([result, foreign_key(result), harmful(code, stdout, len(stdout), complete=complete)])


@given(st.data())
def test_damaged_outputs(leaf: x509.Certificate, authority: Authority, data: st.DataObject) -> None:
    """A good output with any byte changed never makes it raise."""
    both = bundle(authority.certificate, leaf)
    forms = [pem(leaf), der(leaf), both, pem_block("PKCS7", both)]
    damaged = bytearray(data.draw(st.sampled_from(forms)))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    result, _kept = decode(0, bytes(damaged))
    json.dumps(result)


@pytest.mark.parametrize("unit", [b"\n", b"-----BEGIN\n", b"-----BEGIN\n-----END\n", b"-----END", b"A", b"\n ", b"{"])
def test_time_is_linear(unit: bytes) -> None:
    """Output made to confuse the decoders takes no longer than other output."""
    started = time.process_time()
    stdout = b"-----BEGIN\n" + unit * (200_000 // len(unit)) + b"x-----END"
    for code in (0, 1, 2, 5):
        decode(code, stdout)
        harmful(code, stdout, len(stdout))
    assert time.process_time() - started < 5


def test_deep_json() -> None:
    """JSON nested beyond the interpreter's limit is refused."""
    assert decode(0, b"[" * 100_000)[1] is False

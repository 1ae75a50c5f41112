# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.redaction import MARK, redact_command, redact_text
from tests.unit.conftest import CERTMONGER_CSR

S = "hunter2"
CSR_LINE = CERTMONGER_CSR.splitlines()[5]
IN_URL = CERTMONGER_CSR.replace("\n", "%0A").replace("/", "%2F").replace("=", "%3D").replace("+", "%2B")


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["-P", S, "-E", "u"], ["-P", MARK, "-E", "u"]),
        ([f"-P{S}"], [f"-P{MARK}"]),
        ([f"-vvP{S}"], [f"-vvP{MARK}"]),
        (["-NvW", S, "x"], ["-NvW", MARK, "x"]),
        (["-Y", S], ["-Y", MARK]),
        (["--sslpin", S, "-v"], ["--sslpin", MARK, "-v"]),
        ([f"--pin={S}"], [f"--pin={MARK}"]),
        (["--pin", S], ["--pin", MARK]),
        ([f"--userpwd={S}", "--userpin", S], [f"--userpwd={MARK}", "--userpin", MARK]),
        (["--password", S, "--client-secret", S], ["--password", MARK, "--client-secret", MARK]),
        (["-passin", f"pass:{S}"], ["-passin", MARK]),
        (["--sslpinfile", "/f", "--pinfile=/f", "-p", "/f", "-w", "/f"],) * 2,
        (["-O", f"challenge={S}"], ["-O", f"challenge={MARK}"]),
        (["-o", f"pin={S} with=more"], ["-o", f"pin={MARK}"]),
        ([f"--submit-option=pin={S}"], [f"--submit-option=pin={MARK}"]),
        ([f"-Ochallengephrase={S}"], [f"-Ochallengephrase={MARK}"]),
        (["-P", "-P", S, "end"], ["-P", MARK, MARK, "end"]),
        (["-W"], ["-W"]),
        (["submit", "--", "helper", "-W", S], ["submit", "--", "helper", "-W", MARK]),
        (["sh", "-c", f"exec helper  -P {S} -v"], ["sh", "-c", f"exec helper  -P {MARK} -v"]),
        (["-E", f"https://joe:{S}@host/ca"], ["-E", f"https://joe:{MARK}@host/ca"]),
        ([f"http://host/x?uid=joe&pwd={S}&a=b"], [f"http://host/x?uid=joe&pwd={MARK}&a=b"]),
        (
            ["ipa-server-guard", "/usr/libexec/certmonger/ipa-submit", "-P", "host/x@R", "-W", S],
            ["ipa-server-guard", "/usr/libexec/certmonger/ipa-submit", "-P", "host/x@R", "-W", MARK],
        ),
        (
            ["--pass", S, f"--pass={S}", "--pw", S, f"--pw={S}"],
            ["--pass", MARK, f"--pass={MARK}", "--pw", MARK, f"--pw={MARK}"],
        ),
        (
            [f"--password={S}", "--bind-pw", S, "--bindpw", S],
            [f"--password={MARK}", "--bind-pw", MARK, "--bindpw", MARK],
        ),
        (
            ["-p", S, f"-p{S}", f"-vp{S}", "-p", "/f", "-p/f", "-p"],
            ["-p", MARK, f"-p{MARK}", f"-vp{MARK}", "-p", "/f", "-p/f", "-p"],
        ),
        ([f"helper -P {S} -v"], [f"helper -P {MARK} -v"]),
        ([f"helper\t-P\t{S}"], [f"helper -P {MARK}"]),
        (["echo 'a b'\n\"c  d\""],) * 2,
        (["sh", "-c", f"helper -P '{S} {S}' -v"], ["sh", "-c", f"helper -P {MARK} -v"]),
        (["sh", "-c", f"helper '--pin={S}' \"-W\" {S}"], ["sh", "-c", f'helper --pin={MARK} "-W" {MARK}']),
        (["sh", "-c", f"helper --pin='{S} {S}' -v"], ["sh", "-c", f"helper --pin={MARK} -v"]),
        ([f"http://host/x?pw={S}&passed=1"], [f"http://host/x?pw={MARK}&passed=1"]),
        (["helper", "-vv", "-N", "--ee-url=http://h/ca", "-T", "caServerCert", "", "-", "--"],) * 2,
    ],
)
def test_command(argv: list[str], shown: list[str]) -> None:
    """Values of secret options go, everything else stays."""
    assert redact_command(argv) == shown


@given(st.lists(st.text()))
def test_any_command(argv: list[str]) -> None:
    """Any command line is redacted word by word without raising."""
    assert len(redact_command(argv)) == len(argv)


def test_many_equals_signs() -> None:
    """A word made of a thousand options is no trouble."""
    redact_command(["--a=" * 50_000, "a=" * 50_000, "-" * 50_000])


DOGTAG = (
    f'POST "http://ca/ca/ee/ca/profileSubmit?profileId=caServerCert&cert_request_type=pkcs10&cert_request='
    f'{IN_URL.replace(" ", "+")}&xml=true&uid=joe&pwd=userpassword&pin=userpin&challenge=abc"\ncode = 7\n'
)


def test_what_dogtag_prints() -> None:
    """The URL printed by dogtag-ipa-renew-agent-submit -v loses its request and its passwords, and nothing else."""
    assert redact_text(DOGTAG) == (
        'POST "http://ca/ca/ee/ca/profileSubmit?profileId=caServerCert&cert_request_type=pkcs10&cert_request='
        f'[CERTIFICATE REQUEST left out]%0A&xml=true&uid=joe&pwd={MARK}&pin={MARK}&challenge={MARK}"\ncode = 7\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        CERTMONGER_CSR,
        CERTMONGER_CSR.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        IN_URL.replace(" ", "%20"),
        IN_URL.replace(" ", "+").replace("-", "%2D"),
        IN_URL.replace(" ", "%20").replace("CERT", "NEW%20CERT"),
        CERTMONGER_CSR.replace("\n", "\\n").replace("/", "\\/"),
        CERTMONGER_CSR.replace("\n", "\r\n"),
        CERTMONGER_CSR[:500],
        CERTMONGER_CSR[100:],
        IN_URL.replace(" ", "+")[100:],
        CERTMONGER_CSR.replace("CERTIFICATE REQUEST", "RSA PRIVATE KEY"),
        CERTMONGER_CSR.replace("CERTIFICATE REQUEST", "PRIVATE KEY"),
    ],
)
def test_blocks_go(text: str) -> None:
    """Requests and keys go in every form, also where the beginning or the end is missing."""
    shown = redact_text("before: " + text)
    encoded = CSR_LINE.replace("/", "%2F").replace("+", "%2B")
    assert CSR_LINE not in shown
    assert encoded not in shown
    assert "left out]" in shown


@pytest.mark.parametrize("cut", [5, 30, 100, 400])
@pytest.mark.parametrize("prefix", ["", "> ", "ipa[7]: "])
def test_a_tail_loses_what_began_before_it(cut: int, prefix: str) -> None:
    """In the end of a stream everything up to an END without a BEGIN goes; complete blocks go, and other text stays."""
    lines = "".join(f"{prefix}{line}\n" for line in CERTMONGER_CSR.splitlines())
    tail = f"{lines[len(prefix) + cut :]}between\n{CERTMONGER_CSR}end\n"
    out = "[CERTIFICATE REQUEST left out]\n"
    assert redact_text(tail, is_tail=True) == f"{out}between\n{out}end\n"
    assert redact_text("a: b\nend\n", is_tail=True) == "a: b\nend\n"


def test_text_around_blocks_stays() -> None:
    """What stands before and after a request stays."""
    assert redact_text(f"a: b.\n{CERTMONGER_CSR}c") == "a: b.\n[CERTIFICATE REQUEST left out]\nc"


def test_certificates_stay() -> None:
    """Certificates are public and stay, with a challenge password too; other base64 goes then."""
    certificate = CERTMONGER_CSR.replace("CERTIFICATE REQUEST", "CERTIFICATE")
    body = "".join(CERTMONGER_CSR.splitlines()[1:-1])
    text = f"x\n{certificate}y {body} z"
    assert redact_text(text) == text
    assert redact_text(text, has_challenge_password=True) == f"x\n{certificate}y [base64 left out] z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"> Authorization: Basic {S}\r\n> Host: x", f"> Authorization: Basic {MARK}\r\n> Host: x"),
        (f"< Set-Cookie: ipa_session={S}; path=/ipa\n", f"< Set-Cookie: {MARK}\n"),
        ("Invalid cookie: u''", "Invalid cookie: u''"),
        ("Error 60 connecting to https://h:8443/ca/x: y.", "Error 60 connecting to https://h:8443/ca/x: y."),
    ],
)
def test_headers(text: str, shown: str) -> None:
    """Credentials in the headers of libcurl's trace go, messages stay."""
    assert redact_text(text) == shown


@given(st.text(), st.booleans())
def test_any_text(text: str, challenge: bool) -> None:
    """No text makes it raise."""
    redact_text(text, challenge)


@pytest.mark.parametrize(
    "unit",
    ["A", "-", "-----BEGIN ", "-----END ", "%2D", "&pin", "&a.", "://a:", "A ", "-----BEGIN A", "\n ", "cookie: "],
)
def test_time_is_linear(unit: str) -> None:
    """Text made to confuse patterns takes no longer than other text."""
    started = time.process_time()
    redact_text(unit * (100_000 // len(unit)), has_challenge_password=True)
    assert time.process_time() - started < 2


def test_cheap_to_import() -> None:
    """A command line is redacted without `re`: the helpers do it on every run."""
    code = (
        "import sys; from certwitness.redaction import redact_command; before = set(sys.modules); "
        "redact_command(['x', '-P', 'y', '-E', 'https://h/ca']); sys.exit('re' in sys.modules)"
    )
    search_path = [entry for entry in sys.path if entry]
    program = f"import sys; sys.path[:] = {search_path!r}; {code}"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", program], check=False, timeout=30).returncode == 0

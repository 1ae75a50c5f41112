# SPDX-License-Identifier: MIT
"""What stands in the event log after a run, and which renewal a run belongs to."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jsonschema import Draft202012Validator

from tests.unit.harness import CHECKOUT, Tree, environment, program, python_program, result, run

NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "IPADOMAIN.COM"),
        x509.NameAttribute(NameOID.COMMON_NAME, "CA Subsystem"),
    ]
)
SCHEMA = json.loads((CHECKOUT / "src/certwitness/events/schema.json").read_text(encoding="utf-8"))


class Request:
    """A certmonger request: a key, the certificate held, and the environment of its SUBMIT."""

    def __init__(self, nickname: str = "subsystemCert cert-pki-ca", *, days: float = 10, held: bool = True) -> None:
        self.nickname = nickname
        self.rekey()
        self.held = self.issue(days) if held else ""

    def rekey(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    def issue(self, days: float = 365, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        """A certificate for the request that ends in `days`, PEM."""
        now = datetime.now(timezone.utc).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).serial_number(x509.random_serial_number())
        )
        builder = builder.not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=days))
        certificate = builder.public_key((key or self.key).public_key()).sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def environment(self, operation: str = "SUBMIT", **more: str) -> dict[str, str]:
        friendly = x509.ObjectIdentifier("1.2.840.113549.1.9.20")
        builder = x509.CertificateSigningRequestBuilder().subject_name(NAME)
        bmp_string = x509.name._ASN1Type.BMPString  # the only way to have certmonger's kind of string
        builder = builder.add_attribute(friendly, self.nickname.encode("utf-16-be"), _tag=bmp_string)
        pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        names = {
            "CERTMONGER_CSR": pem,
            "CERTMONGER_SPKI": base64.b64encode(spki).decode(),
            "CERTMONGER_KEY_TYPE": "EC",
            "CERTMONGER_CA_PROFILE": "caSubsystemCert",
            "CERTMONGER_REQ_SUBJECT": "CN=CA Subsystem,O=IPADOMAIN.COM",
        }
        if self.held:
            names["CERTMONGER_CERTIFICATE"] = self.held + "\n"
        return environment(operation, **{**names, **more})


class Helper:
    """A tree with a helper that answers what a test says."""

    def __init__(self, directory: Path) -> None:
        self.tree = Tree(directory)
        self.directory = directory

    def __call__(self, env: Mapping[str, str], code: int | str, stdout: str = "", stderr: str = "") -> dict[str, Any]:
        """Run it once and return its run.ended; everything logged so far keeps the schema."""
        (self.directory / "stdout").write_text(stdout, encoding="utf-8")
        (self.directory / "stderr").write_text(stderr, encoding="utf-8")
        end = f"kill -{code} $$" if isinstance(code, str) else f"exit {code}"
        child = program(
            self.directory / "helper", f"cat {self.directory}/stdout; cat {self.directory}/stderr >&2; {end}"
        )
        bare = result(run([child], env))
        assert result(run(self.tree.wrapped([child]), env)) == bare
        for event in self.tree.events():
            Draft202012Validator(SCHEMA).validate(event)
        return self.tree.ended()


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    return Helper(tmp_path)


def test_an_issued_certificate(helper: Helper) -> None:
    """The event says what was asked, what was held, what was issued, and with which key."""
    request = Request()
    issued = request.issue()
    event = helper(request.environment(), 0, issued)
    assert event["request"]["nickname"] == event["nickname"] == "subsystemCert cert-pki-ca"
    assert event["request"]["profile"] == "caSubsystemCert"
    assert event["request"]["previous"]["subject"] == "CN=CA Subsystem,O=IPADOMAIN.COM"
    certificate = x509.load_pem_x509_certificate(issued.encode())
    assert event["result"]["certificate"]["serial"] == str(certificate.serial_number)
    assert event["result"]["key"] == "same"
    assert (event["renewal"], event["promise_kept"], event["level"]) == ("issued", True, "info")
    assert event["must_follow"] == ["repository", "ca_renewal", "saved", "CS.cfg", "users"]
    assert event["duration_s"] > 0
    started = helper.tree.events()[0]
    assert started["event"] == "run.started"
    assert (started["span_id"], started["trace_id"]) == (event["span_id"], event["trace_id"])


@pytest.mark.parametrize(
    ("owner", "told"), [("renew_ca_cert", "renew_ca_cert"), ("dogtag-ipa[{pid}]", None), (None, None)]
)
def test_who_holds_the_renewal_lock(helper: Helper, owner: str | None, told: str | None) -> None:
    """A run that finds FreeIPA's renewal lock in somebody else's hands says in whose; what started it is nobody else,
    as ipa-server-guard holds the lock for the helper behind it."""
    lock = helper.directory / "renewal.lock"
    if owner:
        lock.write_text(f"[lock]\nlocked = 1\nowner = {owner.format(pid=os.getpid())}\nexpire = 20991231000000000000\n")
    with helper.tree.config.open("a", encoding="utf-8") as config:
        config.write(f"[ipa]\nrenewal_lock = {lock}\n")
    request = Request()
    ended = helper(request.environment(), 0, request.issue())
    assert ended.get("lock") == helper.tree.events()[0].get("lock") == told


def test_the_runs_of_a_renewal_share_a_trace(helper: Helper) -> None:
    """Dogtag's three steps are one renewal with three attempts; the next SUBMIT after it is another."""
    request = Request()
    steps = [("SUBMIT", "0\nstate=approve&requestId=7\n"), ("POLL", "0\nstate=retrieve&requestId=7\n")]
    events = [helper(request.environment(operation), 5, stdout) for operation, stdout in steps]
    events.append(helper(request.environment("POLL"), 0, request.issue()))
    assert len({event["trace_id"] for event in events}) == 1
    assert [event["attempt"] for event in events] == [1, 2, 3]
    assert [("request" in event) for event in events] == [True, False, False]
    assert events[0]["result"]["cookie"]["request_id"] == "7"
    after = helper(request.environment(), 3, "Error 7 connecting to https://ca\n")
    assert after["trace_id"] != events[0]["trace_id"]
    assert after["attempt"] == 1


def test_unreachable_stays_open(helper: Helper) -> None:
    """A CA that is down for days is one renewal, however often certmonger asks."""
    request = Request()
    events = [helper(request.environment(), 3, "Error 7 connecting to https://ca\n", "same words\n") for _ in range(3)]
    assert len({event["trace_id"] for event in events}) == 1
    assert events[2]["stderr"] == {"size": 11, "same_as_previous": True}
    assert events[0]["next"]["state"] == "CA_UNREACHABLE"
    assert events[0]["next"]["retry_after_s"] in range(431000, 432001)


@pytest.mark.parametrize(("days", "traces"), [(-1, 1), (10, 3)])
def test_rejected(helper: Helper, days: float, traces: int) -> None:
    """A rejection ends the renewal; but an expired certificate is asked for every 30 seconds, and that is one."""
    request = Request(days=days)
    events = [helper(request.environment(), 2, "no\n") for _ in range(3)]
    assert len({event["trace_id"] for event in events}) == traces
    if traces == 1:
        assert [event["attempt"] for event in events] == [1, 2, 3]
        assert events[0]["next"]["retry_after_s"] == 30


def test_a_new_key_is_the_same_renewal(helper: Helper) -> None:
    """After exit 17 certmonger comes back with another key: the trace goes on."""
    request = Request()
    first = helper(request.environment(), 17)
    request.rekey()
    second = helper(request.environment(), 0, request.issue())
    assert (second["trace_id"], second["attempt"]) == (first["trace_id"], 2)
    assert second["result"]["key"] == "new"


def test_two_requests_of_one_nickname(helper: Helper) -> None:
    """Server-Cert in two databases: the public key tells them apart."""
    one, other = Request("Server-Cert"), Request("Server-Cert")
    assert helper(one.environment(), 3, "x\n")["trace_id"] != helper(other.environment(), 3, "x\n")["trace_id"]


def test_lost_state_opens_a_new_trace(helper: Helper) -> None:
    """The state file can be lost, or be garbage, without harm."""
    request = Request()
    first = helper(request.environment(), 3, "x\n")
    for path in (helper.tree.state / "renewals").iterdir():
        path.write_bytes(b"\x00garbage")
    second = helper(request.environment(), 3, "x\n")
    assert second["trace_id"] != first["trace_id"]
    assert second["attempt"] == 1
    assert helper(request.environment(), 3, "x\n")["attempt"] == 2


def test_state_directory_unusable(helper: Helper) -> None:
    """Without a place for the state the run is recorded all the same, and says what is missing."""
    helper.tree.state.rmdir()
    helper.tree.state.write_text("in the way")
    assert "the next run opens a new trace" in helper(Request().environment(), 3, "x\n")["observer"][0]


@pytest.mark.parametrize(
    ("code", "stdout", "renewal", "level"),
    [
        (0, "", "stuck", "error"),
        (1, "", "stuck", "error"),
        (5, "soon\ncookie", "stuck", "error"),
        (6, "", "stuck", "error"),
        (9, "what\n", "stuck", "error"),
        ("KILL", "", "stuck", "error"),
        (4, "no\n", "unconfigured", "warning"),
        (16, "", "needs-scep", "warning"),
    ],
)
def test_other_ends(helper: Helper, code: int | str, stdout: str, renewal: str, level: str) -> None:
    """Each end has its state; a promise that stdout does not keep leaves the request stuck for ever."""
    event = helper(Request().environment(), code, stdout)
    assert (event["renewal"], event["level"]) == (renewal, level)
    if renewal == "stuck":
        assert (event["next"]["state"], event["next"]["stuck"], event["next"]["retry_at"]) == (
            "NEED_GUIDANCE",
            True,
            None,
        )


def test_a_certificate_for_another_key(helper: Helper) -> None:
    """certmonger saves a certificate that does not fit the key without a word: a finding says so."""
    request = Request()
    event = helper(request.environment(), 0, request.issue(key=ec.generate_private_key(ec.SECP256R1())))
    assert event["result"]["key"] == "other"
    assert event["findings"][0]["check"] == "certificate-for-another-key"


def test_what_harms_certmonger_is_relayed_and_found(helper: Helper) -> None:
    """Bytes that are not UTF-8 abort certmonger: they are passed on, and the event is critical."""
    child = program(helper.directory / "child", r"printf '\377\376 no\n'; exit 3")
    process = run(helper.tree.wrapped([child]), Request().environment())
    assert (process.returncode, process.stdout) == (3, b"\xff\xfe no\n")
    event = helper.tree.ended()
    assert event["level"] == "critical"
    assert [finding["check"] for finding in event["findings"]] == ["stdout-not-utf8"]


def test_what_hangs_certmonger_is_found(helper: Helper) -> None:
    """A certificate that begins and never ends keeps certmonger in SUBMITTING for ever: that is not NEED_GUIDANCE."""
    event = helper(Request().environment(), 0, "-----BEGIN CERTIFICATE-----\nMIIB\n")
    assert [finding["check"] for finding in event["findings"]] == ["stdout-pem-unterminated"]
    assert (event["next"]["state"], event["next"]["stuck"], event["level"]) == ("SUBMITTING", False, "critical")


def test_secrets_and_control_characters(helper: Helper) -> None:
    """No PIN of the command line, no signing request and no escape sequence stands in the log."""
    request = Request()
    env = request.environment()
    child = program(
        helper.directory / "child", 'printf "\\033[2J%s\\n" "$CERTMONGER_CSR"; echo "$CERTMONGER_CSR" >&2; exit 2'
    )
    run(helper.tree.wrapped([child, "-P", "s3cret", "--pin=s3cret", "-vv"]), env)
    written = helper.tree.log.read_bytes()
    assert b"s3cret" not in written
    assert b"\x1b" not in written
    assert env["CERTMONGER_CSR"].split("\n")[1].encode() not in written
    assert helper.tree.ended()["command"][1:] == ["-P", "***", "--pin=***", "-vv"]


@pytest.mark.parametrize(("code", "prefix"), [(2, "denied: "), (5, "9\n"), (1, "")])
def test_a_challenge_password(helper: Helper, code: int, prefix: str) -> None:
    """A signing request that holds a challenge password is kept in no form, not even as bare base64."""
    request = Request()
    name = x509.ObjectIdentifier("1.2.840.113549.1.9.7")
    builder = x509.CertificateSigningRequestBuilder().subject_name(NAME).add_attribute(name, b"challenge-me")
    der = builder.sign(request.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE REQUEST-----\n"
    plain = base64.b64encode(der).decode()
    helper(request.environment(CERTMONGER_CSR=pem), code, f"{prefix}{plain}\n", f"{plain}\n")
    assert plain[100:160] not in helper.tree.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_signing_request_cut_by_the_middle_that_is_not_kept(helper: Helper, stream: str) -> None:
    """A signing request whose beginning is left out is left out as well, though something stands before each line."""
    env = Request().environment()
    lines = "".join(f"line: {line}\n" for line in env["CERTMONGER_CSR"].splitlines())
    body = lines.index("line: -----END")
    before = "x" * (40 << 10) + "\n"
    padding = "y" * ((4 << 10) - (len(lines) - body // 2)) + "\n"
    event = helper(env, 2, **{stream: before + lines + padding})
    assert "omitted" in event[stream]
    assert "[CERTIFICATE REQUEST left out]\ny" in event[stream]["tail"]
    assert env["CERTMONGER_CSR"].splitlines()[-2] not in helper.tree.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("secret", ["helper -P s3cret", "helper\t--pin=s3cret", "https://joe:s3cret@ca/x"])
def test_a_command_of_one_word(helper: Helper, secret: str) -> None:
    """A word that is a whole command line, or a URL, is shown without its secrets."""
    directory = (helper.directory / secret).parent
    directory.mkdir(parents=True, exist_ok=True)
    program(helper.directory / secret, "exit 6")
    run(helper.tree.wrapped([f"{helper.directory}/{secret}"]), environment("IDENTIFY"))
    assert "s3cret" not in helper.tree.log.read_text(encoding="utf-8")
    assert "***" in helper.tree.ended()["command"][0]


def test_others_can_write_the_state(helper: Helper) -> None:
    """A state directory that others can write is not used, and the event says what to do."""
    first = helper(Request().environment(), 3, "x\n")
    helper.tree.state.chmod(0o777)
    second = helper(Request().environment(), 3, "x\n")
    assert second["trace_id"] != first["trace_id"]
    assert f"chmod go-w {helper.tree.state}: the next run opens a new trace" in second["observer"][0]


def test_without_a_signing_request(helper: Helper) -> None:
    """Runs of which neither name nor key is known are not one renewal."""
    events = [helper(environment("SUBMIT"), 3, "x\n") for _ in range(2)]
    assert events[0]["trace_id"] != events[1]["trace_id"]
    assert [event["attempt"] for event in events] == [1, 1]


def test_the_log_bears_a_run_every_30_seconds(helper: Helper) -> None:
    """What a loop adds with each run is a small part of what its first run wrote."""
    request = Request(days=-1)
    sizes = [0]
    for _ in range(4):
        helper(request.environment(), 2, 'Server at "https://ca" replied: 1: Invalid Credential.\n', "x" * 10000)
        sizes.append(helper.tree.log.stat().st_size)
    first, *_, last = [after - before for before, after in zip(sizes, sizes[1:])]
    assert last < first / 4


def test_modes(helper: Helper) -> None:
    """Log and state are for root alone."""
    helper.tree.state.rmdir()
    helper(Request().environment(), 3, "x\n")
    paths = [helper.tree.log, *(helper.tree.state / "renewals").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (helper.tree.state, helper.tree.state / "renewals")} == {0o700}


def test_peak_memory(helper: Helper) -> None:
    """What the helper really used is told apart from the copy of our interpreter that it started as."""
    small = helper(Request().environment(), 3, "x\n")
    assert small["max_rss_is_upper_bound"]
    child = python_program(helper.directory / "child", "b = bytearray(64 << 20)")
    run(helper.tree.wrapped([child]), Request().environment())
    large = helper.tree.ended()
    assert large["max_rss_kib"] > 64 << 10
    assert "max_rss_is_upper_bound" not in large


def test_generated_document() -> None:
    """docs/events.md is what the schema generates."""
    from tools.events_md import document

    assert (CHECKOUT / "docs" / "events.md").read_text(encoding="utf-8") == document()

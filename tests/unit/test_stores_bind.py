# SPDX-License-Identifier: MIT
"""The LDAP of the bind, and what each end of tstclnt means, with a stand-in for it (the real: tests/integration)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.errors import StoreError
from certwitness.stores import external_bind, nss_tools
from certwitness.stores.external_bind import REFUSED_IN_TLS, BindResult, message_size
from certwitness.stores.pin import Pin

IDENTITY = "dn: uid=pkidbuser,ou=people,o=ipaca"
TSTCLNT = """#!{python} -IS
import os, sys, time
from pathlib import Path
here = Path({here!r})
with open(here / "asked", "a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
(here / "pin").write_text(Path(sys.argv[sys.argv.index("-W") + 1]).read_text())
sys.stderr.write((here / "err").read_text())
sys.stderr.flush()
if (here / "answers").exists():
    for answer in (here / "answers").read_text().split():
        (here / "request").write_bytes(os.read(0, 4096))
        for byte in bytes.fromhex(answer):
            os.write(1, bytes([byte]))
    time.sleep(60 if (here / "stays").exists() else 0)
sys.exit(1)
"""


def element(tag: int, *contents: bytes, wide: bool = False) -> bytes:
    inner = b"".join(contents)
    if wide:  # as OpenLDAP writes lengths
        return bytes([tag, 0x84]) + len(inner).to_bytes(4, "big") + inner
    if len(inner) < 0x80:
        return bytes([tag, len(inner)]) + inner
    return bytes([tag, 0x82]) + len(inner).to_bytes(2, "big") + inner


def answer(number: int, operation: int, code: int, words: str = "", *more: bytes, wide: bool = False) -> bytes:
    result = element(
        operation, b"\x0a\x01" + bytes([code]), b"\x04\x00", element(0x04, words.encode()), *more, wide=wide
    )
    return element(0x30, b"\x02\x01" + bytes([number]), result, wide=wide)


BOUND = answer(1, 0x61, 0)


class Tool:
    """A tstclnt that gives the answers it is told to, one a request, byte by byte, and stays or ends. The port that it
    is to connect to is listened on: on "localhost" over IPv4, on "::1" where `ipv6`."""

    def __init__(self, directory: Path, *, ipv6: bool = False) -> None:
        self.here = directory
        self.listener = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
        self.listener.bind(("::1" if ipv6 else "127.0.0.1", 0))
        self.listener.listen()
        self.port: int = self.listener.getsockname()[1]
        for name in ("cert9.db", "key4.db"):
            (directory / name).touch()
        (directory / "bin").mkdir()
        program = directory / "bin" / "tstclnt"
        program.write_text(TSTCLNT.format(python=sys.executable, here=str(directory)))
        program.chmod(0o755)

    def bind(
        self, *answers: bytes, err: str = "", stays: bool = True, deadline_s: float = 10, host: str = "localhost"
    ) -> BindResult:
        (self.here / "err").write_text(err)
        if answers:
            (self.here / "answers").write_text(" ".join(one.hex() for one in answers))
        if stays:
            (self.here / "stays").touch()
        pin = Pin.from_text("Not.To.Be.Seen")
        return external_bind.bind(str(self.here), "sub cert", pin, host, self.port, deadline_s=deadline_s)

    @property
    def asked(self) -> list[str]:
        return (self.here / "asked").read_text().splitlines() if (self.here / "asked").exists() else []


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Tool]:
    tool = Tool(tmp_path, ipv6=getattr(request, "param", False))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield tool
    tool.listener.close()


@pytest.mark.parametrize("wide", [False, True])
def test_a_bind_tells_who_it_is(tool: Tool, wide: bool) -> None:
    """After a bind the answer to Who am I is the identity, however lengths are written; the name is asked for."""
    me = answer(2, 0x78, 0, "", element(0x8B, IDENTITY.encode()), wide=wide)
    assert tool.bind(answer(1, 0x61, 0, wide=wide), me) == BindResult(0, IDENTITY, "")
    assert tool.asked[0].startswith(f"-h localhost -p {tool.port} -a localhost -d sql:")
    assert (tool.here / "request").read_bytes().endswith(b"1.3.6.1.4.1.4203.1.11.3")


def test_the_pin_is_in_no_argument(tool: Tool) -> None:
    """tstclnt gets the PIN through a descriptor."""
    tool.bind(BOUND, answer(2, 0x78, 0))
    assert (tool.here / "pin").read_text() == "Not.To.Be.Seen"
    assert "Not.To.Be.Seen" not in " ".join(tool.asked)


@pytest.mark.parametrize("size", [10, 127, 128, 300, 40_000])
def test_a_refusal_has_the_servers_words(tool: Tool, size: int) -> None:
    """Code 49 comes with the server's words, of any length."""
    words = "x" * size
    assert tool.bind(answer(1, 0x61, 49, words)) == BindResult(49, "", words)
    assert (tool.here / "request").read_bytes().endswith(b"EXTERNAL")


def test_a_server_without_who_am_i(tool: Tool) -> None:
    """Bound, and the server does not say as whom: still bound."""
    assert tool.bind(BOUND, answer(2, 0x78, 2, "no such operation")) == BindResult(0, "", "no such operation")


def test_a_certificate_refused_in_tls(tool: Tool) -> None:
    """The server's alert about our certificate is a verdict, with NSS's words."""
    err = "subject DN: x\ntstclnt: read from socket failed: SSL_ERROR_EXPIRED_CERT_ALERT: SSL peer rejected it.\n"
    result = tool.bind(err=err)
    assert (result.code, result.identity) == (REFUSED_IN_TLS, "")
    assert result.message == "read from socket failed: SSL_ERROR_EXPIRED_CERT_ALERT: SSL peer rejected it."


@pytest.mark.parametrize(
    ("err", "reason"),
    [
        (
            "tstclnt: unable to connect (poll): PR_CONNECT_REFUSED_ERROR: Connection refused by peer\n",
            "refused by peer",
        ),
        (
            "tstclnt: authentication of server cert failed: SEC_ERROR_UNTRUSTED_ISSUER: x\n",
            "SEC_ERROR_UNTRUSTED_ISSUER",
        ),
        ("Incorrect password/PIN entered.\nFailed to load a suitable client certificate \n", "wrong PIN"),
        ("Failed to load a suitable client certificate \n", "no such certificate with its private key"),
        ("", "it gave no reason"),
    ],
)
def test_no_verdict_is_not_a_refusal(tool: Tool, err: str, reason: str) -> None:
    """Where the server never judged our certificate, that is said, with the server's address."""
    with pytest.raises(StoreError, match=rf"^ldaps://localhost:{tool.port}: .*{reason}"):
        tool.bind(err=err)


def test_a_bind_without_certificate_is_no_verdict(tool: Tool) -> None:
    """With a wrong PIN tstclnt goes on without a certificate: the server's code 48 then says nothing about it."""
    err = "Incorrect password/PIN entered.\nFailed to load a suitable client certificate \n"
    with pytest.raises(StoreError, match="wrong PIN for the NSS database"):
        tool.bind(answer(1, 0x61, 48, "missing client certificate"), err=err)


@pytest.mark.parametrize(
    ("tool", "host", "option"), [(False, "localhost", "-4"), (True, "::1", "-6")], indirect=["tool"]
)
def test_tstclnt_is_told_the_family_that_answers(tool: Tool, host: str, option: str) -> None:
    """It takes the first address of a name only, and localhost is ::1 first."""
    tool.bind(BOUND, answer(2, 0x78, 0), host=host)
    assert [line.split()[-1] for line in tool.asked] == [option]


def test_nobody_listens(tool: Tool) -> None:
    """A port that refuses the connection is told without tstclnt."""
    tool.listener.close()
    with pytest.raises(StoreError, match="refused"):
        tool.bind()
    assert tool.asked == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x80",
        b"\x30\x84\x7f\xff\xff\xff",
        b"\x30\x03\x02\x01\x01",
        b"\x30\x02\x02\x09",
    ],
)
def test_what_is_no_ldap(tool: Tool, garbage: bytes) -> None:
    """An answer that is no LDAP, or far too long, is a StoreError at once."""
    with pytest.raises(StoreError, match="its answer is not LDAP"):
        tool.bind(garbage)


def test_a_server_that_hangs_up(tool: Tool) -> None:
    """A notice of disconnection gives its words."""
    with pytest.raises(StoreError, match="it hung up: shutting down"):
        tool.bind(answer(0, 0x78, 52, "shutting\ndown"))


def test_a_server_that_does_not_answer(tool: Tool) -> None:
    """The deadline holds, also in the middle of a message, and tstclnt is gone then."""
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"no answer within 0\.5 s"):
        tool.bind(BOUND[:5], deadline_s=0.5)
    assert time.monotonic() - start < 5


@given(st.binary(max_size=300))
def test_sizes_of_any_bytes(data: bytes) -> None:
    """Any bytes have a size of at most 64 KiB, need more, or are refused."""
    try:
        size = message_size(data)
    except ValueError:
        return
    assert size is None or 2 <= size <= 64 * 1024


def test_tool_does_not_outlive_us(tool: Tool) -> None:
    """When the command ends while the bind hangs, nothing that it started runs on; what it starts then, neither."""
    code = (
        "import sys, threading, time; from certwitness.cli import main; from certwitness.stores import external_bind\n"
        "from certwitness.stores.pin import Pin\n"
        f"words = ({str(tool.here)!r}, 'sub cert', Pin.from_text('x'), 'localhost', {tool.port})\n"
        "threading.Thread(target=external_bind.bind, args=words).start(); time.sleep(0.5); main(['--version'])"
    )
    # As tstclnt, it does not end at the end of its input.
    (tool.here / "bin" / "tstclnt").write_text("#!/bin/sh\nsleep 8 # $*\n")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=20)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"-d sql:{tool.here} " not in running


def test_tool_ends_though_we_were_killed(tool: Tool) -> None:
    """At the end of its input tstclnt spins: somebody else than us sets it a limit."""
    tool.bind(BOUND, answer(2, 0x78, 0))
    command = nss_tools.limited(["tstclnt"], nss_tools.Deadline(10))
    assert command[1:] == ["-s", "KILL", "11", "tstclnt"]

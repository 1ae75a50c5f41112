# SPDX-License-Identifier: MIT
"""What certutil is asked and how its answers are read, with a stand-in for it (the real one: tests/integration)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certwitness.certificates import Certificate
from certwitness.errors import StoreError
from certwitness.stores import nss, nss_tools
from certwitness.stores.pin import Pin
from tests.unit.conftest import Authority, der, pem
from tests.unit.harness import program

SECRET = "Not.To.Be.Seen"
HEADER = "\nCertificate Nickname      Trust Attributes\n                          SSL,S/MIME,JAR/XPI\n\n"
CERTUTIL = """#!{python} -IS
import json, os, re, sys, time
from pathlib import Path
here = Path({here!r})
says = json.loads((here / "says").read_text())
arguments = sys.argv[1:]
with open(here / "asked", "a") as asked:
    asked.write(json.dumps(arguments) + "\\n")
if "-f" in arguments:
    with open(here / "pins", "a") as pins:
        pins.write(Path(arguments[arguments.index("-f") + 1]).read_text() + "\\n")
if "-B" in arguments:
    script = Path(arguments[arguments.index("-i") + 1]).read_text()
    (here / "script").write_text(script)
    for line in script.splitlines():
        name, to = re.search('-n "(.*?)" -a -o (\\\\S+)', line).groups()
        if name not in says["pem"]:
            sys.exit(255)
        Path(to).write_text(says["pem"][name])
    sys.exit(0)
if "-n" in arguments:
    sys.stdout.write(says["pem"].get(arguments[arguments.index("-n") + 1], ""))
    sys.exit(0)
out, err, code = says["-K" if "-K" in arguments else "-L"]
time.sleep(says["slow"])
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


class Tool:
    """A certutil that says what it is told to and writes down what it was asked, and a database for it."""

    def __init__(self, directory: Path) -> None:
        self.here = directory
        self.database = directory / "alias"
        self.database.mkdir()
        for name in ("cert9.db", "key4.db"):
            (self.database / name).touch()
        (directory / "bin").mkdir()
        program = directory / "bin" / "certutil"
        program.write_text(CERTUTIL.format(python=sys.executable, here=str(directory)))
        program.chmod(0o755)

    def says(
        self,
        listed: str,
        pems: dict[str, bytes],
        keys: str = "",
        *,
        where: str = "NSS Certificate DB",
        slow: float = 0,
        refusal: str = "",
    ) -> None:
        """What -L lists, -L -n gives and -K lists: keys of the token `where`, or a `refusal` on standard error."""
        lines = "" if refusal else keys or "certutil: no keys found\n"
        answers = {
            "-L": [HEADER + listed, "", 0],
            "-K": [f'certutil: Checking token "{where}" in slot "x"\n{lines}', refusal, 0 if keys else 255],
            "pem": {name: text.decode() for name, text in pems.items()},
            "slow": slow,
        }
        (self.here / "says").write_text(json.dumps(answers))

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.here / "asked").read_text().splitlines()]

    def read(self, *nicknames: str, pin: str | None = SECRET, deadline_s: float = 10) -> nss.NssDatabase:
        given = None if pin is None else Pin.from_text(pin)
        return nss.read(str(self.database), nicknames or None, given, deadline_s=deadline_s)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    tool = Tool(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tool


def key_line(certificate: x509.Certificate, nickname: str) -> str:
    identifier = nss.key_id(Certificate(der(certificate)))
    assert identifier is not None
    return f"< 0> ec       {identifier.hex()}   {nickname}\n"


def test_three_processes_for_many_nicknames(tool: Tool, authority: Authority, leaf: x509.Certificate) -> None:
    """Fifty nicknames cost three processes; each has its certificate, flags, and whether its key is there."""
    names = [f"cert number {i}" for i in range(50)]
    tool.says(
        "".join(f"{name:<60} u,u,Pu\n" for name in names) + f"{'the CA':<60} CT,C,C\n",
        {**{name: pem(leaf) for name in names}, "the CA": pem(authority.certificate)},
        key_line(leaf, "x"),
    )
    found = tool.read()
    assert len(found.entries) == 51
    assert len(tool.asked) == 3
    entry = found.get("cert number 7")
    assert entry == nss.NssEntry("cert number 7", "u,u,Pu", (Certificate(der(leaf)),), (True,))
    assert found.entries["the CA"].keys == (False,)
    assert (found.directory, found.pin_problem) == (str(tool.database), "")


def test_only_what_is_asked_for_and_there_is_looked_at(tool: Tool, leaf: x509.Certificate) -> None:
    """A nickname that is not listed is never given to certutil, which would take it for a file's name."""
    tool.says("one u,u,u\ntwo u,u,u\n", {"one": pem(leaf), "/etc/passwd": pem(leaf)})
    found = tool.read("one", "/etc/passwd")
    assert list(found.entries) == ["one"]
    assert found.get("/etc/passwd") is None
    assert "/etc/passwd" not in (tool.here / "script").read_text()


def test_the_pin_is_in_no_argument(tool: Tool, leaf: x509.Certificate) -> None:
    """certutil gets the PIN through a descriptor, never as an argument or in a file."""
    tool.says("one u,u,u\n", {"one": pem(leaf)})
    tool.read()
    assert set((tool.here / "pins").read_text().split()) == {SECRET}
    assert SECRET not in json.dumps(tool.asked)
    asked = [*tool.asked, (tool.here / "script").read_text().split()]
    given = [words[words.index("-f") + 1] for words in asked if "-f" in words]
    assert len(given) == 3
    assert all(word.startswith("/proc/self/fd/") for word in given)


@pytest.mark.parametrize(
    ("pin", "problem"),
    [("wrong", "wrong PIN"), ("", "the PIN given is empty"), (None, "no PIN given")],
)
def test_without_the_pin_the_certificates_are_still_read(
    tool: Tool, leaf: x509.Certificate, pin: str | None, problem: str
) -> None:
    """Where the PIN does not open the database, why is said, and whether a key is there is unknown."""
    refusal = "certutil: could not authenticate to token NSS Certificate DB.: SEC_ERROR_BAD_PASSWORD: wrong.\n"
    tool.says("one u,u,u\n", {"one": pem(leaf)}, refusal=refusal)
    found = tool.read(pin=pin)
    assert found.pin_problem == problem
    assert found.entries["one"].keys == (None,)


def test_a_token_is_asked_for_by_name(tool: Tool, leaf: x509.Certificate) -> None:
    """An HSM's nickname keeps its prefix; certutil gets the token, in batches too."""
    tool.says("HSM one:sub u,u,u\n", {"HSM one:sub": pem(leaf)}, key_line(leaf, "sub"), where="HSM one")
    entry = tool.read("HSM one:sub").get("HSM one:sub")
    assert entry is not None
    assert entry.keys == (True,)
    assert all(asked[asked.index("-h") + 1] == "HSM one" for asked in tool.asked if "-B" not in asked)
    assert '-h "HSM one"' in (tool.here / "script").read_text()


def test_a_token_that_is_not_there_is_no_missing_certificate(tool: Tool, leaf: x509.Certificate) -> None:
    """certutil looks elsewhere where there is no such token: that is a failure to look."""
    tool.says("sub u,u,u\n", {"sub": pem(leaf)})
    with pytest.raises(StoreError, match="there is no token HSM one"):
        tool.read("HSM one:sub")


def test_the_internal_token_may_be_named(tool: Tool, leaf: x509.Certificate) -> None:
    """certmonger names the internal token in full: the nickname is found without it."""
    tool.says("sub u,u,u\n", {"sub": pem(leaf)})
    found = tool.read("NSS Certificate DB:sub")
    assert list(found.entries) == ["NSS Certificate DB:sub"]


@pytest.mark.parametrize("name", ['odd "quoted" nick', "long " + "x" * 600, "ünïcode"])
def test_nicknames_that_no_batch_can_hold(tool: Tool, leaf: x509.Certificate, name: str) -> None:
    """Quotes and very long nicknames are asked for one by one."""
    tool.says(f"{name:<60} u,u,u\n", {name: pem(leaf)})
    assert tool.read(name).get(name) is not None


def test_a_nickname_that_vanishes_is_not_reported_missing(tool: Tool, leaf: x509.Certificate) -> None:
    """Listed and then gone: a failure to look where it was asked for, left out where all were."""
    tool.says("one u,u,u\ngone u,u,u\ntwo u,u,u\n", {"one": pem(leaf), "two": pem(leaf)})
    with pytest.raises(StoreError, match="gone was listed and could not be read"):
        tool.read("one", "gone", "two")
    assert list(tool.read().entries) == ["one", "two"]


def test_one_bad_nickname_does_not_cost_a_process_each(tool: Tool, leaf: x509.Certificate) -> None:
    """certutil ends a batch at the first that fails, and a batch is limited: the rest goes into the next one."""
    names = [f"cert {i}" for i in range(300)]
    tool.says("".join(f"{name} u,u,u\n" for name in names), {name: pem(leaf) for name in names if name != "cert 7"})
    assert len(tool.read().entries) == 299
    assert len(tool.asked) == 2 + 3


def test_flags_that_differ_are_all_told(tool: Tool, authority: Authority, leaf: x509.Certificate) -> None:
    """Two certificates of a nickname with different flags show both."""
    tool.says("one u,u,u\none u,u,Pu\n", {"one": pem(leaf) + pem(authority.certificate)})
    assert tool.read().entries["one"].trust == "u,u,u or u,u,Pu"


def test_certificates_of_another_nickname_are_no_guess(
    tool: Tool, authority: Authority, leaf: x509.Certificate
) -> None:
    """More certificates than are listed, and a cert9.db that cannot say which: a failure to look."""
    tool.says("one u,u,u\n", {"one": pem(leaf) + pem(authority.certificate)})
    with pytest.raises(StoreError, match="could not be read"):
        tool.read("one")


def test_a_slow_certutil_is_killed(tool: Tool) -> None:
    """At the deadline there is a StoreError."""
    tool.says("one u,u,u\n", {}, slow=3600)
    with pytest.raises(StoreError, match=r"certutil did not end within 0\.5 s"):
        tool.read(deadline_s=0.5)


def test_no_database_is_said_before_certutil_is_asked(tool: Tool, tmp_path: Path) -> None:
    """A missing directory, a missing file, and the old format are told apart."""
    with pytest.raises(StoreError, match="there is no such directory"):
        nss.read(str(tmp_path / "absent"), None, None)
    (tool.database / "key4.db").unlink()
    with pytest.raises(StoreError, match=r"no NSS database: key4\.db is missing$"):
        nss.read(f"sql:{tool.database}", None, None)
    (tool.database / "cert8.db").touch()
    (tool.database / "cert9.db").unlink()
    with pytest.raises(StoreError, match="old format: write dbm:"):
        nss.read(str(tool.database), None, None)
    assert not (tool.here / "asked").exists()


def test_the_old_format_is_handed_through(tool: Tool, leaf: x509.Certificate) -> None:
    """dbm: before the directory reaches certutil."""
    for name in ("cert8.db", "key3.db"):
        (tool.database / name).touch()
    tool.says("one u,u,u\n", {"one": pem(leaf)})
    assert nss.read(f"dbm:{tool.database}", None, None).get("one") is not None
    assert {asked[asked.index("-d") + 1] for asked in tool.asked} == {f"dbm:{tool.database}"}


def test_a_missing_tool_names_the_packages() -> None:
    """Where a tool of NSS is missing, the packages of both families are named."""
    with pytest.raises(StoreError, match=r"^db: no-such-tool is not installed: install nss-tools .* or libnss3-tools"):
        nss_tools.find("no-such-tool", "db")


def test_key_ids(authority: Authority) -> None:
    """An RSA key's ID is the SHA-1 of its modulus without the sign's zero; an unknown algorithm has none."""
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.public_key().public_numbers()
    certificate = authority.issue("x", key)  # type: ignore[arg-type]
    expected = hashlib.sha1(numbers.n.to_bytes(256, "big"), usedforsecurity=False).digest()
    assert nss.key_id(Certificate(der(certificate))) == expected


def test_a_tool_ends_without_us(tmp_path: Path) -> None:
    """Killed while a tool hangs, as at the end of a hook's look: nothing of ours stays."""
    tool = program(tmp_path / "certutil", f"echo $$ >{tmp_path}/pid; exec sleep 600")
    code = f"from certwitness.stores import nss_tools; nss_tools.run([{str(tool)!r}], nss_tools.Deadline(1), 'nss')"
    reader = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    pid_file = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not pid_file.exists() or not pid_file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reader.kill()
    reader.wait()
    status = Path(f"/proc/{int(pid_file.read_text())}/status")
    while status.exists() and "(zombie)" not in status.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)

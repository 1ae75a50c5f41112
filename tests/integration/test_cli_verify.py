# SPDX-License-Identifier: MIT
"""verify, status and show on a whole CA server: healthy, after a renewal that went astray, after the remedy."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certwitness.findings import LEVELS
from tests.integration.conftest import Witnessed
from tests.lab.breaks import BREAKS
from tests.lab.tracked import ALL
from tests.lab.world import SUBSYSTEM, World

PKIDBUSER = "uid=pkidbuser,ou=people,o=ipaca"


@pytest.fixture(scope="module")
def whole() -> Iterator[World]:
    """A CA server with KRA and all of its requests."""
    with World(full=True) as world:
        yield world


@pytest.fixture
def server(whole: World) -> Iterator[Witnessed]:
    """The same, as at its beginning, with an empty log and our helper registered."""
    witnessed = Witnessed(whole)
    witnessed.register()
    yield witnessed
    whole.reset()


@pytest.fixture
def silent(server: Witnessed) -> Witnessed:
    """The subsystem certificate was renewed, and FreeIPA's hook could not write pkidbuser, of which it says nothing."""
    with server.world.faults.active("people-update-fails"):
        server.world.renew(SUBSYSTEM)
    return server


def paste(server: Witnessed, printed: str) -> None:
    """Run what is printed below "what to do" as an administrator who copies it from the terminal."""
    blocks = re.findall(rf"what to do: .*\n\n((?: {{8}}\S.*\n|(?!{'|'.join(LEVELS)})\S.*\n)+)", printed)
    assert blocks
    path = f"{server.world.settings.path('bin')}:{os.environ['PATH']}"
    for block in blocks:
        done = subprocess.run(["sh", "-e"], input=block, env={**os.environ, "PATH": path}, text=True,
                              capture_output=True, check=False, timeout=120)  # fmt: skip
        assert done.returncode == 0, (block, done.stderr)


def test_healthy(server: Witnessed) -> None:
    """A healthy server has two lines and nothing on stderr."""
    done = server.certwitness("verify")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.fullmatch(
        rf"\S+: {len(ALL)} certificates, \d+ checks: OK\n{len(ALL)} certificates landed everywhere they must be\n",
        done.stdout,
    )


def test_healthy_status(server: Witnessed) -> None:
    """A healthy server's status is a table in which all marks are good."""
    done = server.certwitness("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("MONITORING") == len(ALL)
    assert not {"✗", "old", "new", "dif", "?"} & set(done.stdout.partition("landed")[0].split())


def test_silent_failure_and_its_remedy(silent: Witnessed) -> None:
    """What FreeIPA did not say is told as a story: what failed, what it breaks, how to mend it; then it has landed."""
    done = silent.certwitness("verify")
    assert done.returncode == 2
    for words in (f"CRITICAL  {SUBSYSTEM}", "user-certificate", PKIDBUSER, "pki-tomcatd will not start", "ldapmodify"):
        assert words in done.stdout
    shown = silent.certwitness("show")
    assert shown.returncode == 2
    assert "  must follow: repository, ca_renewal, saved, CS.cfg, users\n" in shown.stdout
    assert "\ndid not land: users (seen " in shown.stdout
    assert "did not land: users" in silent.certwitness("renewals").stdout

    paste(silent, done.stdout)

    done = silent.certwitness("verify", "--wait", "20")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    shown = silent.certwitness("show")
    assert shown.returncode == 0
    landed = r"\nlanded: repository, ca_renewal, saved, CS.cfg, users \(seen .* UTC\)\n.* from the first run "
    assert re.search(landed, shown.stdout)
    outcomes = [event["outcome"] for event in silent.events() if event["event"] == "verified"]
    assert outcomes == ["did not land", "landed"]


def test_the_same_outcome_is_written_once(silent: Witnessed) -> None:
    """Looking twice adds nothing to the log; neither does a look with some of the checks, nor status."""
    silent.certwitness("status")
    silent.certwitness("verify", "--only", "user-certificate")
    assert [event for event in silent.events() if event["event"] == "verified"] == []
    for _ in range(2):
        silent.certwitness("verify")
    found = [event for event in silent.events() if event["event"] == "verified"]
    assert len(found) == 1
    assert (found[0]["level"], found[0]["findings"][0]["check"]) == ("critical", "user-certificate")


def test_log_that_cannot_be_written(silent: Witnessed) -> None:
    """An outcome that cannot be written is told on stderr in one line, and changes nothing else."""
    directory = silent.log.parent
    real = directory.rename(directory.with_name("real"))
    directory.symlink_to(real)  # is read, but not written through
    try:
        done = silent.certwitness("verify", "--json")
    finally:
        directory.unlink()
        real.rename(directory)
    assert done.returncode == 2
    assert json.loads(done.stdout)
    assert done.stderr.startswith(f"certwitness: the outcome is not in the event log: {directory}: a symbolic link")
    assert done.stderr.count("\n") == 1


def test_status_of_the_silent_failure(silent: Witnessed) -> None:
    """The certificate that did not land is the first row, with its mark, and what to do is below the table."""
    done = silent.certwitness("status")
    assert done.returncode == 2
    rows, _, below = done.stdout.partition("blank: need not be there")
    assert re.match(rf"{SUBSYSTEM} +✓ +✓ +✓ +✓ +(dif|old) ", rows.splitlines()[3])
    assert f"CRITICAL  {SUBSYSTEM}" in below
    form = json.loads(silent.certwitness("status", "--json").stdout)
    assert form["certificates"][0]["certificate"] == SUBSYSTEM
    assert form["certificates"][0]["stores"]["users"] in ("other", "older")
    assert form["certificates"][0]["last_renewal"]["state"] == "issued"


def test_json(silent: Witnessed) -> None:
    """Programs read what ipa-healthcheck's do, one entry a finding, with the remedy in it."""
    done = silent.certwitness("verify", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert all(entry["source"] == "certwitness" and "kw" in entry for entry in found)
    critical = [entry for entry in found if entry["result"] == "CRITICAL"]
    assert {"user-certificate", "pkidbuser-bind"} <= {entry["check"] for entry in critical}
    assert critical[0]["kw"]["commands"]
    assert silent.certwitness("verify", "--json").stderr == ""


def test_one_certificate(silent: Witnessed) -> None:
    """Another certificate than the broken one is well, by any of its names."""
    ra = silent.world.settings.ra_certificate
    request = silent.world.request("ocspSigningCert cert-pki-ca")["id"]
    for name in (str(ra), "ocspSigningCert cert-pki-ca", request):
        done = silent.certwitness("verify", name)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "1 certificate landed everywhere" in done.stdout


def test_expected_certificate(server: Witnessed) -> None:
    """With --expect the certificate in the file must have landed: the one that is saved has, a later one has not."""
    world = server.world
    path = world.settings.path("expected.pem")
    for certificate, status in ((world.nss_certificate(SUBSYSTEM), 0), (world.issue(SUBSYSTEM), 2)):
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        done = server.certwitness("verify", SUBSYSTEM, "--expect", str(path))
        assert done.returncode == status, done.stdout
    path.write_bytes(world.ca.certificate.public_bytes(Encoding.PEM))
    assert server.certwitness("verify", "--expect", str(path)).returncode == 0


@pytest.mark.parametrize("name", sorted(BREAKS)[::8])  # what is found in all of them, test_checks_*.py look at
def test_a_break_reads_well(server: Witnessed, name: str) -> None:
    """Whatever is broken, verify and status tell it without a word on stderr, and what they tell is complete."""
    BREAKS[name].apply(server.world)
    done = server.certwitness("verify", "--json")
    assert done.stderr == ""
    for entry in json.loads(done.stdout):
        if entry["kw"].get("level") in ("CRITICAL", "ERROR"):
            assert {"found", "expected", "breaks", "remedy"} <= set(entry["kw"]), entry
    assert server.certwitness("status").stderr == ""

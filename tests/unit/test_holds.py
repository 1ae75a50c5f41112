# SPDX-License-Identifier: MIT
"""Holds on disk."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwitness import gate, holds, host, judging
from certwitness.checks import BY_NAME
from certwitness.config import Config, load
from certwitness.errors import CertwitnessError
from certwitness.findings import CRITICAL, UNKNOWN, Finding
from certwitness.gate import Verdict
from certwitness.holds import Release
from certwitness.start_facts import Facts
from certwitness.verification import Result
from tests.unit import empty_host
from tests.unit.findings_factory import BIND, NOW, USER_CERTIFICATE
from tests.unit.harness import CHECKOUT

PKI = "pki-tomcatd"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config("", {"events": {"file": f"{tmp_path}/log/events.jsonl"}, "state": {"directory": f"{tmp_path}/state"}})


def events(config: Config) -> list[dict[str, Any]]:
    path = Path(config.events_file)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def file(config: Config) -> Path:
    return Path(config.state_directory, "holds", f"{PKI}.json")


def python_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def placed(config: Config) -> holds.Hold:
    return holds.place(config, PKI, [USER_CERTIFICATE, BIND], "start-gate", "a" * 32, NOW)


def test_place_and_read(config: Config) -> None:
    """A hold reads back as it was placed; file and directories are root's alone, and no other file is left."""
    hold = placed(config)
    assert holds.read(config, PKI) == (hold, "")
    assert hold.checks == {"user-certificate", "pkidbuser-bind"}
    assert file(config).stat().st_mode & 0o777 == 0o600
    assert file(config).parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(file(config).parent) == [f"{PKI}.json"]
    (event,) = events(config)
    assert (event["event"], event["level"], event["service"]) == ("hold.placed", "critical", PKI)
    assert event["trace_id"] == "a" * 32


def test_none(config: Config) -> None:
    """Without a file there is no hold, and nothing to say."""
    assert holds.read(config, PKI) == (None, "")
    assert holds.every(config, [PKI, "httpd"]) == ([], [])


def test_the_same_block_again(config: Config) -> None:
    """A second block for the same reason keeps the beginning and writes no second event; another reason does."""
    first = placed(config)
    again = holds.place(config, PKI, [USER_CERTIFICATE, BIND], "start-gate", "a" * 32, NOW + timedelta(hours=1))
    assert again.since == first.since
    assert len(events(config)) == 1
    holds.place(config, PKI, [BIND], "start-gate", "a" * 32, NOW)
    assert len(events(config)) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"service": "httpd"}', b"\xff\xfe", b"[" * 100_000, b'{"service": 7}', b"NaN"],
)
def test_garbage_is_no_hold(config: Config, content: bytes) -> None:
    """A file that is no hold is taken for none, is told, and the next block replaces it."""
    placed(config)
    file(config).write_bytes(content)
    hold, problem = holds.read(config, PKI)
    assert hold is None
    assert str(file(config)) in problem
    assert placed(config) == holds.read(config, PKI)[0]


def test_wrong_types_are_survived(config: Config) -> None:
    """Fields of another type count as not there; such a release does not last."""
    placed(config)
    file(config).write_text(json.dumps({"service": PKI, "findings": 3, "since": [], "release": {"by": 1, "at": "x"}}))
    hold, problem = holds.read(config, PKI)
    assert problem == ""
    assert hold is not None
    assert hold.findings == ()
    assert hold.release is not None
    assert not hold.release.lasts(NOW)


def test_a_file_that_others_can_write_is_no_hold(config: Config) -> None:
    """Nobody but root releases anything."""
    holds.release(config, PKI, "alice", "because", "", NOW)
    file(config).chmod(0o666)
    hold, problem = holds.read(config, PKI)
    assert hold is None
    assert "others than root" in problem
    file(config).unlink()
    file(config).symlink_to("/dev/null")
    assert holds.read(config, PKI)[0] is None


def test_release(config: Config) -> None:
    """A release keeps the hold with who, why and until when, and is recorded; once it is over, a block drops it."""
    placed(config)
    hold = holds.release(config, PKI, "alice", "because", "2026-11-23T22:00:00Z", NOW)
    assert hold.release == Release("alice", "because", "2026-11-23T20:00:00.000000Z", "2026-11-23T22:00:00Z")
    assert holds.read(config, PKI)[0] == hold
    event = events(config)[-1]
    assert (event["event"], event["by"], event["reason"]) == ("hold.released", "alice", "because")
    assert event["trace_id"] == "a" * 32
    assert placed(config).release == hold.release  # it came between that judgement and this
    later = NOW + timedelta(hours=2)
    assert holds.place(config, PKI, [BIND], "start-gate", "", later).release is None


@pytest.mark.parametrize(
    ("at", "until", "lasts"),
    [
        ("2026-11-23T19:00:00Z", "", True),
        ("2026-11-23T19:00:00Z", "2026-11-23T20:00:01Z", True),
        ("2026-11-23T19:00:00Z", "2026-11-23T20:00:00Z", False),
        ("2026-11-23T20:04:00Z", "", True),
        ("2026-11-23T21:00:00Z", "2026-11-24T20:00:00Z", False),
        ("", "", False),
        ("2026-11-23T19:00:00Z", "tomorrow", False),
    ],
)
def test_how_long_a_release_lasts(at: str, until: str, lasts: bool) -> None:
    """Until its end; a clock set back behind its beginning ends it, and so does what is no time."""
    assert Release("alice", "because", at, until).lasts(NOW) is lasts


def test_end(config: Config) -> None:
    """The end removes the file and is recorded, once."""
    hold = placed(config)
    assert holds.end(config, hold, "the cause is gone")
    assert not holds.end(config, hold, "the cause is gone")
    assert not file(config).exists()
    assert [event["event"] for event in events(config)] == ["hold.placed", "hold.released"]


def test_only_what_was_judged_is_ended(config: Config) -> None:
    """Who has looked for long ends no hold that somebody has placed or released meanwhile."""
    judged = placed(config)
    released = holds.release(config, PKI, "alice", "because", "", NOW)
    assert not judging.end_if_gone(config, Verdict(PKI, True), judged)
    assert holds.read(config, PKI) == (released, "")
    assert events(config)[-1]["by"] == "alice"


def test_what_is_still_found_ends_no_hold(config: Config) -> None:
    """Where the finding is there, and only what makes a proof of it was not seen, the hold stays."""
    hold = placed(config)
    unseen = Finding("internal-database", UNKNOWN)
    assert not judging.end_if_gone(config, Verdict(PKI, True, warnings=(USER_CERTIFICATE,), unseen=(unseen,)), hold)
    other = Finding("user-certificate", CRITICAL, "another")
    assert judging.end_if_gone(config, Verdict(PKI, True, warnings=(other,), unseen=(unseen,)), hold)
    assert judging.end_if_gone(config, Verdict(PKI, True, warnings=(USER_CERTIFICATE,)), placed(config))


def test_two_at_once(config: Config) -> None:
    """No release is lost to a block that is kept at the same time, and what is read is always whole."""
    placed(config)
    program = """
import sys
from datetime import datetime, timezone
from certwitness import config, holds
from tests.unit.findings_factory import BIND, NOW, USER_CERTIFICATE
ours = config.load(sys.argv[1])
for number in range(60):
    holds.place(ours, "pki-tomcatd", [(BIND, USER_CERTIFICATE)[number % 2]], "start-gate", "", NOW)
"""
    path = Path(config.state_directory).parent / "conf"
    path.write_text(f"[events]\nfile = {config.events_file}\n[state]\ndirectory = {config.state_directory}\n")
    path.chmod(0o600)
    with subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=CHECKOUT, env=python_path()) as other:
        number = 0
        while other.poll() is None:
            number += 1
            holds.release(config, PKI, "alice", str(number), "", NOW)
            hold, problem = holds.read(config, PKI)
            assert problem == ""
            assert hold is not None
            assert hold.release is not None
            assert hold.release.reason == str(number)
    assert other.returncode == 0
    assert os.listdir(file(config).parent) == [f"{PKI}.json"]


def test_who_hangs_holds_up_no_start(config: Config) -> None:
    """Another that holds the lock and does not go on is not waited for."""
    placed(config)
    descriptor = os.open(file(config).parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        hold = holds.place(config, PKI, [BIND], "start-gate", "", NOW)
    finally:
        os.close(descriptor)
    assert holds.read(config, PKI) == (hold, "")


def test_killed_while_it_is_written(config: Config) -> None:
    """Killed at any step of the writing, what was there stays there, whole, and the next one is not disturbed."""
    before = placed(config)
    for step in ("mkdir", "open", "fsync", "replace"):
        child = os.fork()
        if child == 0:
            setattr(os, step, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            try:
                holds.place(config, PKI, [BIND], "start-gate", "", NOW)
            finally:
                os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert holds.read(config, PKI) == (before, "")
    assert holds.place(config, PKI, [BIND], "start-gate", "", NOW) == holds.read(config, PKI)[0]


def test_it_ends_by_itself(config: Config) -> None:
    """A hold ends once nothing blocks and all that it stood on was seen; a release without a block once all was."""
    hold = placed(config)
    unseen = Finding("pkidbuser-bind", UNKNOWN)
    assert not judging.end_if_gone(config, Verdict(PKI, True, unseen=(unseen,)), hold)
    assert not judging.end_if_gone(config, Verdict(PKI, True, (BIND,)), hold)
    assert judging.end_if_gone(config, Verdict(PKI, True, unseen=(Finding("key", UNKNOWN),)), hold)
    early = holds.release(config, PKI, "alice", "because", "", NOW)
    assert not judging.end_if_gone(config, Verdict(PKI, True, unseen=(unseen,)), early)
    assert judging.end_if_gone(config, Verdict(PKI, True), early)


def test_no_space(config: Config, tmp_path: Path) -> None:
    """A state directory that cannot be written is one line that names it."""
    Path(config.state_directory).write_text("a file in its place")
    with pytest.raises(CertwitnessError, match="the hold cannot be kept"):
        placed(config)
    assert sorted(os.listdir(tmp_path)) == ["state"]


def test_a_fact_that_is_not_read_ends_no_hold(tmp_path: Path) -> None:
    """What made a proof of the finding is not known now: allowed, and told, and the hold with its release stays."""
    config = load(empty_host.configure(tmp_path))
    config.state_directory = f"{tmp_path}/state"
    there, name = host.load(config), "/var/lib/ipa/certs/httpd.crt"
    finding = Finding("key", CRITICAL, name, "/key", found="another key", breaks="httpd will not start")
    results = [Result(BY_NAME["key"], name, (finding,), "", 0.0)]
    known = Facts(there, roles={name: "https"}, asked=True, of_httpd=frozenset([name]), under_way={})
    httpd = gate.SERVICES["httpd"]
    verdict = gate.judge(httpd, results, known, None, NOW)
    assert not verdict.allow
    holds.place(config, "httpd", verdict.reasons, "start-gate", "", NOW)
    hold = holds.release(config, "httpd", "alice", "because", "", NOW)
    unread = replace(known, of_httpd=None, unread=("httpd's configuration",))
    verdict = gate.judge(httpd, results, unread, hold, NOW)
    assert (verdict.allow, [one.check for one in verdict.unseen]) == (True, ["key"])
    assert "httpd's configuration could not be read" in verdict.unseen[0].found
    assert not judging.end_if_gone(config, verdict, hold)
    gone = gate.judge(httpd, results, replace(known, of_httpd=frozenset()), hold, NOW)
    assert judging.end_if_gone(config, gone, hold)

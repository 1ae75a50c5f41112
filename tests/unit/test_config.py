# SPDX-License-Identifier: MIT
"""The configuration file: defaults, and one line for each way in which it can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certwitness import config
from certwitness.errors import ConfigurationError


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file every key has the value that is right on an IPA server."""
    monkeypatch.setattr(config, "DEFAULT_PATH", str(tmp_path / "missing"))
    loaded = config.load()
    assert (loaded.path, loaded.helpers) == ("", {})
    assert loaded.events_file == "/var/log/certwitness/events.jsonl"
    assert loaded.state_directory == "/var/lib/certwitness"


def test_all_keys(tmp_path: Path) -> None:
    """Comments, blank lines and spaces around a key and its value do not matter; a value may hold = and #."""
    text = "# comment\n; another\n\n[events]\nfile = /a=b#c\n[state]\ndirectory=/s\n[helpers]\n  ipa-submit =  /x y\n"
    loaded = config.load(written(tmp_path / "c", text))
    assert (loaded.events_file, loaded.state_directory) == ("/a=b#c", "/s")
    assert loaded.helpers == {"ipa-submit": "/x y"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[events]\nfiles = /x\n", "line 2: unknown key files in [events]; known: file"),
        ("[event]\n", "line 1: unknown section [event]; known: events, state, helpers, certmonger,"),
        ("file = /x\n", "line 1: file stands before the first [section]"),
        ("[events]\nfile\n", "line 2: neither a [section] nor key = value"),
        ("[events]\n= /x\n", "line 2: neither a [section] nor key = value"),
        ("[events]\nfile = /x\nfile = /y\n", "line 3: file is set a second time in [events]"),
        ("[events]\nfile = x\n", "line 2: file must be an absolute path, not 'x'"),
        ("[state]\ndirectory =\n", "line 2: directory must be set to something, not ''"),
        ("[ipa]\nrealms = X\n", "line 2: unknown key realms in [ipa]; known: realm, basedn, host"),
        ("[certmonger]\nbus = sys\n", "line 2: bus must be system, session or a D-Bus address, not 'sys'"),
        ("[directory]\nuri = /run/slapd\n", "line 2: uri must be an LDAP URI, not '/run/slapd'"),
        ("[services]\nhttps = localhost\n", "line 2: https must be host:port, not 'localhost'"),
        ("[services]\npki = h:65536\n", "line 2: pki must be host:port, not 'h:65536'"),
        ("[checks]\nbind = maybe\n", "line 2: bind must be yes or no, not 'maybe'"),
        ("[hooks]\nlook_s = 0\n", "line 2: look_s must be whole seconds, 1 to 3600, not '0'"),
        ("[hooks]\nlook_s = ²\n", "look_s must be whole seconds"),
        (f"[hooks]\nlanding_s = {'9' * 5000}\n", "landing_s must be whole seconds"),
        ("x" * (config.LARGEST + 1), f"larger than {config.LARGEST} bytes"),
    ],
)
def test_malformed(tmp_path: Path, text: str, words: str) -> None:
    """Each fault is one line that names the file, the line and what is wrong."""
    path = written(tmp_path / "c", text)
    with pytest.raises(ConfigurationError) as raised:
        config.load(path)
    assert str(raised.value).startswith(path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_not_utf8(tmp_path: Path) -> None:
    """The first byte that is not UTF-8 is named."""
    path = tmp_path / "c"
    path.write_bytes(b"[events]\n\xff")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="byte 9 is not UTF-8"):
        config.load(str(path))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_writable_by_others(tmp_path: Path, mode: int) -> None:
    """A file that others can write is refused, with the command that mends it."""
    path = written(tmp_path / "c", "", mode)
    with pytest.raises(ConfigurationError, match=f"chmod go-w {path}"):
        config.load(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_owned_by_somebody_else(tmp_path: Path) -> None:
    """A file of another user is refused."""
    path = written(tmp_path / "c", "")
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigurationError, match="owned by uid 12345"):
        config.load(path)


def test_not_a_file(tmp_path: Path) -> None:
    """A directory, a FIFO (which must not hang) and a missing file are named as such."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, words in ((tmp_path, "not a regular file"), (tmp_path / "fifo", "not a regular file"),
                        (tmp_path / "missing", "there is no such file")):  # fmt: skip
        with pytest.raises(ConfigurationError, match=words):
            config.load(str(path))

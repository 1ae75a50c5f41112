# SPDX-License-Identifier: MIT
"""Text, tables and runs as people see them."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.render import runs, tables
from certwitness.render.tables import Cell, Column
from certwitness.render.text import clean, clean_lines, shorten
from tests.unit import events_factory as make


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a terminal 100 columns wide."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字", "plain é 漢字"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202etxt\u2069", "\\u202etxt\\u2069"),
        ("\u2028\ufeff", "\\u2028\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    """Controls, overrides, invisible characters and surrogates are shown, the rest stays."""
    assert clean(text) == shown


@given(st.text())
def test_clean_leaves_nothing_harmful(text: str) -> None:
    """Whatever comes in, what goes out is printable, encodable and one line."""
    shown = clean(text)
    shown.encode()
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "PDI") for c in shown
    )


def test_clean_lines() -> None:
    """Text of several lines is split before it is cleaned; empty lines go."""
    assert clean_lines("a\r\n\n  \nb\x1b\n") == ["a", "b\\x1b"]


def test_shorten() -> None:
    """Text that is cut says so."""
    assert (shorten("12345", 5), shorten("123456", 5)) == ("12345", "1234…")


COLUMNS = [Column("name"), Column("state", True), Column("words")]
ROWS = [
    [Cell("one\x1b[31m"), Cell("unreachable", "warn"), Cell("word " * 30)],
    [Cell("two", below="CA"), Cell("ok", "good"), Cell("short")],
]


def test_plain_table() -> None:
    """Off a terminal a row is one aligned line, cleaned, with nothing cut."""
    lines = tables.plain(COLUMNS, ROWS).splitlines()
    assert lines[0] == "name         state        words"
    assert lines[1] == "one\\x1b[31m  unreachable  " + ("word " * 30).rstrip()
    assert lines[2] == "two  CA      ok           short"


def test_table_off_a_terminal_is_plain() -> None:
    """A pipe or a file gets plain text."""
    stream = io.StringIO()
    tables.print_table(COLUMNS, ROWS, stream)
    assert stream.getvalue() == tables.plain(COLUMNS, ROWS)


@pytest.mark.parametrize("width", [30, 60, 200])
def test_table_on_a_terminal(terminal: pytest.MonkeyPatch, width: int) -> None:
    """On a terminal the table fits its width, the state is never cut, and no escape comes from the data."""
    terminal.setenv("COLUMNS", str(width))
    terminal.setenv("NO_COLOR", "1")
    stream = Terminal()
    tables.print_table(COLUMNS, ROWS, stream)
    lines = stream.getvalue().splitlines()
    assert any("unreachable" in line for line in lines)
    assert stream.getvalue().count("word") == 31
    assert "\x1b[31m" not in stream.getvalue()
    assert max(len(runs_of_text(line)) for line in lines) <= width


def runs_of_text(line: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", line).rstrip()


def test_colour(terminal: pytest.MonkeyPatch) -> None:
    """States are coloured on a terminal, unless NO_COLOR is set."""
    coloured = Terminal()
    tables.print_table(COLUMNS, ROWS, coloured)
    assert "\x1b[33m" in coloured.getvalue()
    assert tables.styled("x", "bad", True) == "\x1b[1;31mx\x1b[0m"
    terminal.setenv("NO_COLOR", "1")
    bare = Terminal()
    tables.print_table(COLUMNS, ROWS, bare)
    assert "\x1b[33m" not in bare.getvalue()
    assert tables.styled("x", "bad", True) == "x"


def test_dumb_terminal_gets_plain_text(terminal: pytest.MonkeyPatch) -> None:
    """TERM=dumb is served like a file."""
    terminal.setenv("TERM", "dumb")
    stream = Terminal()
    tables.print_table(COLUMNS, ROWS, stream)
    assert stream.getvalue() == tables.plain(COLUMNS, ROWS)


WHICH = "subsystemCert cert-pki-ca from dogtag-ipa-ca-renew-agent [7692c3ad #1]"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            make.started(),
            f"2026-11-23 19:26:00 info     SUBMIT {WHICH} started",
        ),
        (
            make.ended(1, stdout="Error 7 connecting to x: no."),
            (
                f"2026-11-23 19:26:01 warning  SUBMIT {WHICH} exit 3 UNREACHABLE after 0.31 seconds: Error 7 "
                "connecting to x: no; certmonger tries again in 7 days (2026-11-30 19:26:01 UTC), "
                "at getcert refresh, and when it starts"
            ),
        ),
        (
            make.data_operation(2),
            "2026-11-23 19:26:02 debug    IDENTIFY from dogtag-ipa-ca-renew-agent exit 0 after 0.02 seconds",
        ),
        (
            make.data_operation(2, "GET-DEFAULT-TEMPLATE"),
            (
                "2026-11-23 19:26:02 debug    GET-DEFAULT-TEMPLATE from dogtag-ipa-ca-renew-agent exit 6 after 0.02 "
                "seconds: not supported by the helper: not asked again until certmonger starts or the CA is refreshed "
                "or modified"
            ),
        ),
        ({**make.started(), "event": "gate.checked"}, "2026-11-23 19:26:00 info     gate.checked"),
        (
            make.verified(astray=False),
            "2026-11-23 19:26:10 info     verified subsystemCert cert-pki-ca [7692c3ad]: landed",
        ),
        (
            make.verified(findings=[{"level": "ERROR", "breaks": "a"}, {"level": "CRITICAL", "breaks": "b"}]),
            "2026-11-23 19:26:10 error    verified subsystemCert cert-pki-ca [7692c3ad]: did not land: users; b",
        ),
        (
            make.hook(),
            f"2026-11-23 19:26:04 info     hook.started {make.NICKNAME} post-save runs renew_ca_cert",
        ),
        (
            make.hook_ended(phase="pre-save"),
            f"2026-11-23 19:26:06 info     hook.ended {make.NICKNAME} pre-save stop_pkicad: exit 0 after 2 seconds",
        ),
        (
            make.hook_ended(exit={"code": None, "signal": 9}, command=[]),
            f"2026-11-23 19:26:06 info     hook.ended {make.NICKNAME} post-save no command: signal 9 after 2 seconds",
        ),
        (
            make.hook_ended(skipped=True),
            f"2026-11-23 19:26:06 info     hook.ended {make.NICKNAME} post-save skipped renew_ca_cert",
        ),
        (
            {**make.hook(), "event": "request.moved", "status": "CA_WORKING"},
            f"2026-11-23 19:26:04 info     request.moved {make.NICKNAME}: CA_WORKING",
        ),
        (
            {**make.hook(), "event": "noticed", "findings": [{"found": "stuck"}, {"found": "old"}]},
            f"2026-11-23 19:26:04 info     noticed {make.NICKNAME}: stuck",
        ),
        (
            {
                **make.started(),
                "event": "registration.changed",
                "what": "ca",
                "name": "IPA",
                "after": "/x/ipa-submit",
                "why": "register",
            },
            "2026-11-23 19:26:00 info     registration.changed ca IPA: /x/ipa-submit (register)",
        ),
        (
            {"timestamp": "", "event": "run.ended", "trace_id": ""},
            " (no operation) (no nickname) from ? [ #?] ended after ? seconds",
        ),
    ],
)
def test_one_line(event: make.Event, line: str) -> None:
    """An event is one line that says what ran, how it ended and what follows."""
    assert runs.one_line(event).text.lstrip() == line.lstrip()


def test_one_line_is_clean() -> None:
    """Escapes in a nickname or a message do not reach the line."""
    words = runs.one_line(make.ended(nickname="\x1b]0;x\x07", stdout="a\nb\u202e")).text
    assert "\x1b" not in words
    assert "\n" not in words
    assert "\u202e" not in words


def lines_of(**fields: Any) -> list[str]:
    return [line.text for line in runs.run_lines(make.ended(**fields))]


def test_run_lines_of_a_failure() -> None:
    """A failed run tells its exit, what it means, the message, each line of stderr, and what follows."""
    lines = lines_of(stdout="Error 7 connecting to x", stderr="one\ntwo\x1b\n")
    assert lines[0] == "exit 3 UNREACHABLE after 0.31 seconds"
    assert "says: Error 7 connecting to x" in lines
    assert lines[-3:-1] == ["stderr: one", "stderr: two\\x1b"]
    assert lines[-1].startswith("next: CA_UNREACHABLE; certmonger tries again in 7 days")


def test_run_lines_of_a_broken_promise() -> None:
    """An exit 0 without a certificate is explained as that, not as issued."""
    problem = {"kind": "text", "problem": "no certificate in the output"}
    lines = lines_of(code=0, kept=False, result=problem)
    assert any("can read no certificate" in line for line in lines)
    assert "promise: no certificate in the output" in lines
    assert lines[-1].startswith("next: NEED_GUIDANCE, stuck; ")


def test_run_lines_of_a_certificate() -> None:
    """A certificate is told by serial number both ways, its end, and its key."""
    result = {"kind": "certificate", "format": "PEM", "certificate": make.certificate(10), "key": "other"}
    words = "\n".join(lines_of(code=0, result=result))
    assert "certificate: serial 10 (0xa), valid until 2026-12-13 19:26:00 UTC, PEM, NOT THE KEY OF THE REQUEST" in words


def test_run_lines_of_cookies() -> None:
    """Dogtag's and FreeIPA's cookies are told in words, others by their text."""
    cookie = {"text": "x", "size": 1, "steps": ["store"], "store_attempts": 3, "certificate": make.certificate(12)}
    words = "\n".join(lines_of(code=5, result={"kind": "delay+cookie", "delay_s": 30, "cookie": cookie}))
    assert "asks to wait: 30 seconds" in words
    assert "storing in LDAP failed 3 times" in words
    assert "holds the issued certificate, serial 12" in words
    cookie = {"text": "state=approve&requestId=7", "size": 25, "state": "approve", "request_id": "7"}
    assert "cookie: next at the CA: approve of request 7" in lines_of(
        code=1, result={"kind": "cookie", "cookie": cookie}
    )
    assert "cookie: abc" in lines_of(code=1, result={"kind": "cookie", "cookie": {"text": "abc", "size": 3}})


def test_run_lines_of_streams() -> None:
    """A stream that was cut says how much is missing; one that is the same again is not repeated."""
    cut = {"size": 99, "text": "head\n", "omitted": 80, "tail": "tail\n"}
    assert [line for line in lines_of(stderr="x") if line == "stderr: x"]
    lines = [line.text for line in runs.run_lines({**make.ended(), "stderr": cut})]
    assert lines[2:5] == ["stderr: head", "stderr: … 80 bytes left out …", "stderr: tail"]
    same = runs.run_lines({**make.ended(), "stderr": {"size": 99, "same_as_previous": True}})
    assert "stderr: the same 99 bytes as in the run before" in [line.text for line in same]


def test_run_lines_of_findings_and_observer() -> None:
    """Findings come with what they break and the remedy; what failed on our side is told too."""
    finding = {"check": "ca-error", "level": "CRITICAL", "expected": "e", "found": "f", "breaks": "b", "remedy": "r"}
    lines = lines_of(findings=[finding], observer=["state directory: no space"])
    assert "CRITICAL ca-error: f" in lines
    assert "  breaks: b" in lines
    assert "  remedy: r" in lines
    assert "certwitness itself: state directory: no space" in lines


def test_run_lines_of_nothing() -> None:
    """An event that has lost its fields still makes a line."""
    assert [line.text for line in runs.run_lines({"event": "run.ended"})] == ["ended after ? seconds"]


def test_certificate_lines() -> None:
    """A certificate is told by subject, serial, validity, issuer, names and fingerprint."""
    assert [line.text[:9].rstrip() for line in runs.certificate_lines(make.certificate())] == [
        "subject",
        "serial",
        "valid",
        "issuer",
        "names",
        "sha256",
    ]
    assert len(runs.certificate_lines({})) == 5


def test_stderr_of_a_run_that_went_well() -> None:
    """Forty lines of -vv do not bury the timeline: of a good run the last few are shown, of a failing run all."""
    noise = "".join(f"* line {number}\n" for number in range(40))
    good = make.ended(code=1, stderr=noise)
    shown = [line.text for line in runs.run_lines(good) if line.text.startswith("stderr")]
    assert shown[0] == "stderr: … 35 earlier lines of a run that went well: see show --json …"
    assert shown[-1] == "stderr: * line 39"
    assert len(shown) == 6
    bad = make.ended(code=3, stderr=noise)
    assert len([line for line in runs.run_lines(bad) if line.text.startswith("stderr")]) == 40

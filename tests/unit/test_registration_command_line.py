# SPDX-License-Identifier: MIT
"""Splitting and quoting as certmonger does."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.registration import command_line
from certwitness.registration.command_line import CommandLineError, quote, shown, split, words

# What certmonger 0.79.17 gave to a helper: tests/integration/test_registration.py asks the real one for the same.
SPLIT = {
    "h a b": ["a", "b"],
    "h  a\tb\n c ": ["a", "b", "c"],
    " h a": ["a"],
    "h 'a b' \"c d\"": ["a b", "c d"],
    'h x"y z"w': ["xy zw"],
    "h \"\" '' a": ["a"],
    'h "a\\b"': ["a\\b"],
    "h a\\\\b": ["a\\b"],
    'h a\\"b c': ['a"b', "c"],
    "h it\\'s ok": ["it's", "ok"],
    "h a\\'b\\\\c\\\\\\\"d": ["a'b\\c\\\"d".replace("\\\\", "\\")],
    "h a\\ b\\ c": ["a b\\", "c"],
    "h $HOME `id` ; | > * ~ #x": ["$HOME", "`id`", ";", "|", ">", "*", "~", "#x"],
    "h ü \u2003x a\x0bb": ["ü", "\u2003x", "a\x0bb"],
}
REFUSED = ["h a\\ b", "h a\\ b\\\\ c d", 'h a\\bc d "e f" g', 'h "a\\"b"', "h a\\", "h 'a", "h a\\ 'b c' d", '"']


@pytest.mark.parametrize(("command", "arguments"), SPLIT.items())
def test_split(command: str, arguments: list[str]) -> None:
    """No shell, no globs, empty arguments dropped, escapes of quotes and of the backslash alone."""
    assert split(command)[1:] == arguments


@pytest.mark.parametrize("command", REFUSED)
def test_refused(command: str) -> None:
    """What certmonger cannot split, it does not run: the message shows the command."""
    with pytest.raises(CommandLineError, match=r"unmatched|escapes nothing") as raised:
        split(command)
    assert repr(command) in str(raised.value)


@given(st.lists(st.text(min_size=1)))
def test_what_is_quoted_arrives(arguments: list[str]) -> None:
    """Whatever a word holds, certmonger gives the program just that."""
    assert split(" ".join(map(quote, arguments))) == arguments


def test_an_empty_argument_cannot_be_passed() -> None:
    """certmonger would drop it."""
    with pytest.raises(CommandLineError, match="empty"):
        quote("")


@given(st.text(alphabet="ab \t\n'\"\\x"))
def test_a_word_stands_where_it_says(command: str) -> None:
    """Replacing each word by itself, quoted anew, changes no argument."""
    try:
        found = words(command)
    except CommandLineError:
        return
    again = command
    for word in reversed(found):
        again = again[: word.start] + quote(word.text) + again[word.end :]
    assert split(again) == [word.text for word in found]


def test_the_same_by_hand() -> None:
    """What is printed can be pasted into a shell."""
    assert shlex.split(command_line.modify_ca("my CA", 'h "a b" ')) == [
        *("getcert", "modify-ca", "-c", "my CA", "-e", 'h "a b" '),
    ]
    assert shlex.split(command_line.modify_hooks("1", None, "h 'x'")) == [
        *("getcert", "start-tracking", "-i", "1", "-C", "h 'x'"),
    ]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/x/ipa-server-guard /x/certwitness/ipa-submit -P host/ipa.example.test -k HTTP/ipa@EXAMPLE.TEST", ""),
        ("/x/dogtag-ipa-ca-renew-agent-submit  -vv --reuse-existing ", ""),
        ("/x/pre-save --config '/a b' --cert 'subsystemCert cert-pki-ca' -- /x/renew_ca_cert \"subsystemCert c\"", ""),
        ("/x/submit -- /opt/ca --password geheim  -x 'y z'", "/x/submit -- /opt/ca --password *** -x 'y z'"),
        ("/opt/ca --pin=geheim 'x", "/opt/ca --pin=*** 'x"),
        ("/opt/ca -W geheim \\", "/opt/ca -W *** \\"),
    ],
)
def test_shown(command: str, expected: str) -> None:
    """Byte for byte, but for secrets; also what certmonger could not split."""
    assert shown(command) == (expected or command)

# SPDX-License-Identifier: MIT
"""What a command becomes with us in it, and that taking us out gives back what was there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwitness import places
from certwitness.config import Config
from certwitness.registration import wrapping
from certwitness.registration.command_line import CommandLineError, quote, split
from certwitness.registration.wrapping import DROP_INS, GUARD, Wrapping, is_ours, is_wrapped
from tests.unit.registration_factory import Place, place, program

__all__ = ["place"]

ODD = st.text(alphabet="ab ~-/\t\n'\"\\$", max_size=12)


@pytest.fixture
def wrap(place: Place) -> Wrapping:
    return Wrapping(Config(place.config))


@pytest.mark.parametrize(
    ("command", "wrapped"),
    [
        ("{real}/dogtag-ipa-ca-renew-agent-submit -vv", "{ours}/dogtag-ipa-ca-renew-agent-submit -vv"),
        ("  {real}/ipa-submit  -k 'host/a b'\t ", "  {ours}/ipa-submit  -k 'host/a b'\t "),
        ('"{real}/ipa-submit" -x', '"{ours}/ipa-submit" -x'),
        ("{real}/ipa-server-guard {real}/ipa-submit", "{real}/ipa-server-guard {ours}/ipa-submit"),
        ("{real}/ipa-server-guard  /bin/cat x", "{real}/ipa-server-guard  {ours}/submit -- /bin/cat x"),
        ("/opt/ca/ipa-submit -x ", "{ours}/submit -- /opt/ca/ipa-submit -x "),
        ("ipa-submit", "{ours}/submit -- ipa-submit"),
        ("{real}/../libexec/ipa-submit", "{ours}/submit -- {real}/../libexec/ipa-submit"),
        ("{real}/ipa-submit --config x", "{ours}/submit -- {real}/ipa-submit --config x"),
        ("/bin/sh -c 'exit 2'", "{ours}/submit -- /bin/sh -c 'exit 2'"),
    ],
)
def test_helpers(place: Place, wrap: Wrapping, command: str, wrapped: str) -> None:
    """A real helper that ours would find is replaced by its name, behind the guard; all else is run by `submit`."""
    given_, wanted = (text.format(real=place.real, ours=place.ours) for text in (command, wrapped))
    assert wrap.helper(given_) == wanted
    assert wrap.original(wanted) == given_
    assert (is_wrapped(given_), is_wrapped(wanted)) == (False, True)


def test_a_configuration_of_its_own_goes_along(place: Place, tmp_path: Path) -> None:
    """Helper and hook read the configuration that they were registered with."""
    wrap = Wrapping(Config(str(tmp_path / "my own.conf")))
    option = f"--config '{tmp_path}/my own.conf'"
    for command, wrapped in (
        (f"{place.real}/ipa-submit -x ", f"{place.ours}/ipa-submit {option} -x "),
        ("/bin/cat", f"{place.ours}/submit {option} -- /bin/cat"),
    ):
        assert wrap.helper(command) == wrapped
        assert wrap.original(wrapped) == command
        assert wrap.fault(wrapped) == ""
    hook = wrap.hook("/bin/cat x", "pre-save", "a b")
    assert hook == f"{place.ours}/pre-save {option} --cert 'a b' -- /bin/cat x"
    assert wrap.original(hook) == "/bin/cat x"


@pytest.mark.parametrize("command", ["", "  ", "''", "/x/ipa-server-guard", "/bin/cat 'a", "/bin/cat a\\ b"])
def test_what_runs_nothing_is_not_wrapped(wrap: Wrapping, command: str) -> None:
    """Wrapping would hide it."""
    with pytest.raises(CommandLineError):
        wrap.helper(command)
    assert wrap.fault(command)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(("", "/bin/cat", "guard", "ipa-submit", "guard ipa-submit")), ODD, ODD)
def test_taking_out_gives_back_every_byte(wrap: Wrapping, place: Place, start: str, before: str, rest: str) -> None:
    """Of any command that certmonger can split, odd blanks, quotes and escapes included; and its arguments arrive."""
    programs = {"guard": f"{place.real}/{GUARD}", "ipa-submit": f"{place.real}/ipa-submit"}
    command = before + " ".join(programs.get(word, word) for word in start.split()) + " " + rest
    try:
        wrapped = wrap.helper(command)
    except CommandLineError:
        return
    assert wrap.original(wrapped) == command
    assert wrap.helper(wrap.original(wrapped)) == wrapped
    programs_ = next(index for index, word in enumerate(split(command)) if not word.endswith(GUARD)) + 1
    arguments = split(command)[programs_:]
    assert split(wrapped)[len(split(wrapped)) - len(arguments) :] == arguments


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, st.text(min_size=1))
def test_taking_a_hook_out_gives_back_every_byte(wrap: Wrapping, command: str, name: str) -> None:
    """Of any hook's command, whatever the certificate is called; its name arrives as it is."""
    try:
        wrapped = wrap.hook(command, "post-save", name)
    except CommandLineError:
        return
    assert wrap.original(wrapped) == command
    assert split(wrapped)[1:4] == ["--cert", name, "--"]
    assert split(wrapped)[4:] == split(command)


def test_wrapped_twice_and_from_elsewhere(place: Place, wrap: Wrapping) -> None:
    """Everything of ours goes, also that of an installation that is not this one."""
    elsewhere = "/usr/libexec/certwitness/submit --config /c -- /opt/certwitness/helpers/ipa-submit -x"
    assert wrap.original(elsewhere) == f"{place.real}/ipa-submit -x"
    assert is_ours("/opt/certwitness/hooks/post-save")
    assert not is_ours("/usr/libexec/certmonger/ipa-submit")
    assert not is_ours("/opt/certwitness/helpers/ipa-submit/x.py/cat")


def test_a_hook_s_options_in_any_order(place: Place, wrap: Wrapping) -> None:
    """As the hook itself takes them."""
    command = f"{place.ipa}/restart_httpd"
    for options in ("--config /c --cert x --", "--cert x --config /c --", "--cert x --config /c"):
        assert wrap.original(f"{place.ours}/post-save {options} {command}") == command


def test_our_own_programs_are_gone(place: Place, wrap: Wrapping) -> None:
    """Of a package that was removed in part: what was there before can be told all the same."""
    shutil.rmtree(place.ours)
    assert wrap.original(f"{place.ours}/ipa-submit -x") == f"{place.real}/ipa-submit -x"
    assert wrap.original(f"{place.ours}/submit -- /opt/ca") == "/opt/ca"


def test_in_front_of_the_guard(place: Place, wrap: Wrapping) -> None:
    """Taken out, and put behind it."""
    first = f"{place.ours}/submit -- {place.real}/{GUARD} {place.real}/ipa-submit"
    assert wrap.helper(wrap.original(first)) == f"{place.real}/{GUARD} {place.ours}/ipa-submit"


def test_the_real_helper_is_what_our_helper_would_run(place: Place, tmp_path: Path) -> None:
    """[helpers] first, then certmonger's directories; never one of ours, never what cannot be executed."""
    mine = program(tmp_path / "mine")
    link = tmp_path / "link"
    link.symlink_to(f"{place.ours}/ipa-submit")
    config = Config(place.config, {"helpers": {"ipa-submit": str(mine)}})
    assert Wrapping(config).real("ipa-submit") == str(mine)
    mine.chmod(0o644)
    assert Wrapping(config).real("ipa-submit") == f"{place.real}/ipa-submit"
    for path in (f"{place.ours}/ipa-submit", link, "/usr/libexec/certwitness/ipa-submit"):
        assert Wrapping(Config(place.config, {"helpers": {"ipa-submit": str(path)}})).real("ipa-submit") == (
            f"{place.real}/ipa-submit"
        )


def test_a_real_helper_that_is_another_certwitness_s(place: Place, tmp_path: Path) -> None:
    """[helpers] names an installation's: it is not put back as an original, nor taken for one for ever."""
    other = program(tmp_path / "opt" / "certwitness" / "ipa-submit")
    wrap = Wrapping(Config(place.config, {"helpers": {"ipa-submit": str(other)}}))
    assert wrap.original(f"{other} -x") == f"{place.real}/ipa-submit -x"


@pytest.mark.parametrize(
    ("gone", "command", "says"),
    [
        ("{ours}/ipa-submit", "{ours}/ipa-submit", "{ours}/ipa-submit: there is no such program"),
        ("{ours}/submit", "{ours}/submit -- /bin/cat", "{ours}/submit: there is no such program"),
        ("{real}/ipa-submit", "{real}/ipa-server-guard {ours}/ipa-submit", "the real ipa-submit is neither in {real}"),
        ("{real}/ipa-server-guard", "{real}/ipa-server-guard {ours}/ipa-submit", "{real}/ipa-server-guard: there is"),
        ("{ipa}/renew_ca_cert", "{ours}/post-save --cert x -- {ipa}/renew_ca_cert x", "{ipa}/renew_ca_cert: there is"),
        ("", "{ours}/post-save --cert x", "nothing to run"),
        ("", "{ours}/submit -- /nowhere/x", "/nowhere/x: there is no such program"),
        ("", "certwitness-no-such-program", "certwitness-no-such-program: there is no such program"),
        ("", "{real}", "{real} cannot be executed"),
        ("", "{ours}/submit -- 'x", "unmatched '"),
    ],
)
def test_what_cannot_be_run_is_seen(place: Place, wrap: Wrapping, gone: str, command: str, says: str) -> None:
    """Every program in the chain, since certmonger looks at none before it runs them, and says nothing of a hook."""
    words = {"ours": place.ours, "real": place.real, "ipa": place.ipa}
    whole = command.format(**words)
    if gone:
        assert wrap.fault(whole) == ""
        os.unlink(gone.format(**words))
    assert says.format(**words) in wrap.fault(whole)


def test_a_program_by_name_is_looked_for_as_certmonger_does(wrap: Wrapping) -> None:
    """In certmonger's own PATH."""
    assert wrap.fault("cat x") == ""
    assert wrap.fault("submit -- x")


def test_nothing_to_give_back(place: Place, wrap: Wrapping) -> None:
    """Where the original cannot be known, that is said and not guessed."""
    with pytest.raises(CommandLineError, match="given nothing to run"):
        wrap.original(f"{place.ours}/submit")
    os.unlink(f"{place.real}/ipa-submit")
    with pytest.raises(CommandLineError, match=r"named in \[helpers\]"):
        wrap.original(f"{place.ours}/ipa-submit -x")


def test_directories_with_blanks(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours are quoted where they must be."""
    monkeypatch.setattr(places, "HELPERS", f"{tmp_path}/our own")
    for name in (*DROP_INS, "submit"):
        program(f"{places.HELPERS}/{name}")
    wrap = Wrapping(Config(place.config))
    for command in (f"{place.real}/ipa-submit -x", '"/bin/cat" x'):
        wrapped = wrap.helper(command)
        assert split(wrapped)[0].startswith(f"{tmp_path}/our own/")
        assert wrap.original(wrapped) == command
        assert wrap.fault(wrapped) == ""
    assert quote(places.HELPERS) == f"'{places.HELPERS}'"


def test_the_places_of_a_checkout_are_there() -> None:
    """Helpers, hooks and the drop-ins beside the package."""
    for path in (f"{places.HELPERS}/submit", f"{places.HOOKS}/start-gate"):
        assert os.access(path, os.X_OK)
    assert list(Path(places.GATE_UNITS).glob("*.d/certwitness-gate.conf"))
    assert wrapping.CAS[-1] == "IPA"

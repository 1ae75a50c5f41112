# SPDX-License-Identifier: MIT
"""What becomes of a registration: noticed, named, and put back where the configuration asks for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from certwitness.cli import run
from certwitness.registration.wrapping import GUARD
from tests.unit.registration_factory import AGENT, SUBSYSTEM, Place, place, program

__all__ = ["place"]

PRE, POST = "cert-presave-command", "cert-postsave-command"
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(place: Place, capsys: pytest.CaptureFixture[str]) -> Say:
    """Exit status and stdout of the command line, on a FreeIPA server with everything registered."""
    place.fill()

    def command(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = run(["--config", place.config, *arguments])
        return status, capsys.readouterr().out

    assert command("register", "--hooks", "--gate", "--ca", "other", "--yes")[0] == 0
    return command


def set_helper(place: Place, name: str, helper: str) -> None:
    """As `getcert modify-ca`."""
    found = next(one for one in place.certmonger.objects.values() if one["nickname"][1] == name)
    found["external-helper"] = ("s", helper)


def standing(say: Say, name: str, field: str = "external-helper") -> dict[str, Any]:
    """One value of `registration --json`."""
    found = json.loads(say("registration", "--json")[1])["registration"]
    return next(one for one in found if one["name"] == name and one["field"] == field)


def test_as_registered(place: Place, say: Say) -> None:
    """Nothing to tell, nothing to put back."""
    status, out = say("registration")
    assert status == 0
    assert out.endswith("everything is as it was registered\n")
    assert out.count("registered      ") == 5 + 2 + 2
    asked = len(place.certmonger.asked)
    assert say("registration", "--reapply")[0] == 0
    assert len(place.certmonger.asked) == asked


@pytest.mark.parametrize(
    ("name", "helper", "why", "status", "mended"),
    [
        (AGENT, "{real}/{agent} -vv", "it is again what it was before", 1, "{ours}/{agent} -vv"),
        (AGENT, "{real}/{agent}", "somebody ran getcert modify-ca", 1, "{ours}/{agent}"),
        (AGENT, "/bin/echo", "somebody ran getcert modify-ca", 1, "{ours}/submit -- /bin/echo"),
        (AGENT, "{ours}/{agent}", "only the first word was kept", 1, "{ours}/{agent} -vv"),
        (AGENT, "{ours}/{agent} -x", "still wrapped, with other words", 1, "{ours}/{agent} -x"),
        ("IPA", "{guard}", "is given nothing to run; only the first word was kept", 2, "{guard} {ours}/ipa-submit"),
        ("IPA", "{ours}/submit -- {guard} {real}/ipa-submit", "stands in front of ipa-server-guard: the next", 1,
         "{guard} {ours}/ipa-submit"),
        ("IPA", "{guard} {ours}/submit -- {guard} {real}/ipa-submit", "the guard stands twice", 1,
         "{guard} {ours}/ipa-submit"),
        ("IPA", "{guard} {guard} {ours}/ipa-submit", "the guard stands twice", 1, "{guard} {ours}/ipa-submit"),
        ("IPA", "{guard} {real}/ipa-submit -k host/x", "somebody ran getcert modify-ca", 1,
         "{guard} {ours}/ipa-submit -k host/x"),
        ("IPA", "/bin/cat 'x", "unmatched '", 2, ""),
    ],
)  # fmt: skip
def test_a_helper_that_somebody_changed(
    place: Place, say: Say, name: str, helper: str, why: str, status: int, mended: str
) -> None:
    """Named with its reason; put back so that what was meant with the change stays, where it can run."""
    words = {"real": place.real, "ours": place.ours, "guard": f"{place.real}/{GUARD}", "agent": f"{AGENT}-submit"}
    helper, mended = (text.format(**words) for text in (helper, mended))
    set_helper(place, name, helper)
    assert why in standing(say, name)["why"]
    told, out = say("registration")
    assert (told, f"    now     {helper}\n" in out) == (status, True)
    assert say("registration", "--reapply")[0] == (0 if mended else status)
    assert place.certmonger.value(name) == (mended or helper)
    if mended:
        assert standing(say, name)["standing"] == "registered"
        events = [json.loads(line) for line in (place.directory / "log" / "events.jsonl").read_text().splitlines()]
        assert events[-1]["why"] == "reapply" or mended == helper


def test_nothing_is_put_back_unless_asked_for(place: Place, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """[registration] reapply is no by default."""
    assert say("registration")[0] == 0
    path = Path(place.config)
    path.write_text(path.read_text().replace("reapply = yes\n", ""))
    before = place.certmonger.value("IPA")
    set_helper(place, "IPA", "/bin/echo x")
    assert run(["--config", place.config, "registration", "--reapply"]) == 1
    assert "reapply is not yes" in capsys.readouterr().err
    assert place.certmonger.value("IPA") == "/bin/echo x" != before


def retrack(place: Place) -> None:
    """As ipa-server-upgrade: every request is new, with FreeIPA's own hooks (freeipa.md 2.4)."""
    objects = place.certmonger.objects
    for path in [path for path in objects if "/requests/" in path]:
        del objects[path]
    place.certmonger.request("20270101000001", SUBSYSTEM, before=f"{place.ipa}/stop_pkicad", after="/bin/echo new")
    place.certmonger.request("20270101000002", "Server-Cert", after=f"{place.ipa}/restart_dirsrv EXAMPLE-COM")


def test_tracking_made_anew(place: Place, say: Say) -> None:
    """By an upgrade: noticed, named with the old id, and mended with what is there now."""
    retrack(place)
    status, out = say("registration")
    assert status == 1
    assert f"request 20270101000001 ({SUBSYSTEM}) pre-save, post-save: tracking was made anew (it was request" in out
    assert "certwitness register --hooks" in out
    assert say("registration", "--reapply")[0] == 0
    wrapped = f"{place.ours}/post-save --cert '{SUBSYSTEM}' -- /bin/echo new"
    assert place.certmonger.value("20270101000001", POST) == wrapped
    assert say("unregister", "--yes")[0] == 0
    assert place.certmonger.value("20270101000001", POST) == "/bin/echo new"
    assert place.certmonger.value("20270101000002", POST) == f"{place.ipa}/restart_dirsrv EXAMPLE-COM"


def test_hooks_that_were_taken_out_stay_out(place: Place, say: Say) -> None:
    """unregister --hooks before an upgrade: the timer does not put them back in the middle of it."""
    assert say("unregister", "--hooks", "--yes")[0] == 0
    retrack(place)
    status, out = say("registration")
    assert (status, "not registered  the hooks of 2 requests" in out) == (0, True)
    set_helper(place, "IPA", "/bin/echo x")
    assert say("registration", "--reapply")[0] == 0
    assert place.certmonger.value("IPA") == f"{place.ours}/submit -- /bin/echo x"
    assert place.ours not in place.certmonger.value("20270101000001", POST)


def test_requests_that_come_and_go(place: Place, say: Say) -> None:
    """A new one belongs to what was registered; one that is not tracked any more is forgotten."""
    objects = place.certmonger.objects
    del objects[next(path for path, one in objects.items() if one["nickname"][1] == "20261123190542")]
    place.certmonger.request("20270101000009", "new", after="/bin/echo x")
    status, out = say("registration")
    assert status == 1
    assert "request 20270101000009 (new) post-save: the request came after the hooks were registered" in out
    assert "certmonger does not track the certificate any more" in out
    assert say("register", "--hooks", "--yes")[0] == 0
    assert place.certmonger.value("20270101000009", POST).startswith(place.ours)
    assert say("registration")[0] == 0


def test_a_hook_that_somebody_changed(place: Place, say: Say) -> None:
    """By getcert, which may also have removed it: that is not undone."""
    found = next(one for one in place.certmonger.objects.values() if one["nickname"][1] == "20261123190541")
    found[PRE], found[POST] = ("s", ""), ("s", "/bin/echo mine")
    assert "getcert start-tracking -i" in standing(say, "20261123190541", POST)["why"]
    assert standing(say, "20261123190541", PRE)["why"] == "the command was removed"
    assert say("registration", "--reapply")[0] == 1
    assert place.certmonger.value("20261123190541", PRE) == ""
    assert place.certmonger.value("20261123190541", POST).endswith("-- /bin/echo mine")


@pytest.mark.parametrize(
    ("gone", "name", "field", "why"),
    [
        ("{ours}/ipa-submit", "IPA", "external-helper", "{ours}/ipa-submit: there is no such program"),
        ("{real}/ipa-submit", "IPA", "external-helper", "the real ipa-submit is neither in"),
        ("{ours}/pre-save", "20261123190541", PRE, "{ours}/pre-save: there is no such program"),
        ("{ipa}/stop_pkicad", "20261123190541", PRE, "{ipa}/stop_pkicad: there is no such program"),
        (
            "{ours}/start-gate",
            "httpd.service",
            "drop-in",
            "start-gate is not there, or cannot be executed: the service starts, and nobody",
        ),
    ],
)
@pytest.mark.parametrize("how", ["gone", "not executable"])
def test_a_program_that_is_gone(place: Place, say: Say, gone: str, name: str, field: str, why: str, how: str) -> None:
    """Ours, or the real one: renewals fail, or starts are not judged; nothing that could not run is put back."""
    words = {"ours": place.ours, "real": place.real, "ipa": place.ipa}
    path = gone.format(**words)
    if how == "gone":
        os.unlink(path)
    else:
        os.chmod(path, 0o644)
        why = why.replace(": there is no such program", " cannot be executed")
    found = standing(say, name, field)
    assert (found["standing"], why.format(**words) in found["why"]) == ("cannot run", True)
    status, out = say("registration")
    assert (status, "cannot run: renewals fail, or starts are not judged" in out) == (2, True)
    assert say("registration", "--reapply")[0] == 2
    if gone.startswith("{ours}"):
        program(path)
        assert say("registration")[0] == 0


def test_the_gate(place: Place, say: Say) -> None:
    """A drop-in that is gone or changed is written again."""
    written = place.units / "httpd.service.d" / "certwitness-gate.conf"
    text = written.read_text()
    written.unlink()
    status, out = say("registration")
    assert (status, f"unit httpd.service: {written} is gone" in out) == (1, True)
    assert "certwitness register --gate" in out
    assert say("registration", "--reapply")[0] == 0
    assert written.read_text() == text
    written.write_text("[Service]\n")
    assert say("registration")[0] == 1
    assert say("registration", "--reapply")[0] == 0
    assert written.read_text() == text


def test_not_registered(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Is no fault: the next step is named."""
    place.fill()
    assert run(["--config", place.config, "registration", "--reapply"]) == 0
    out = capsys.readouterr().out
    assert "not registered  CA IPA\n" in out
    assert "CA other" not in out
    assert out.endswith("nothing is registered; to begin: certwitness register\n")


def test_names_cannot_steer_a_terminal(place: Place, say: Say) -> None:
    """What certmonger holds is shown with its control characters escaped."""
    set_helper(place, "IPA", "/bin/echo \x1b[31m\n")
    out = say("registration")[1] + say("register", "--dry-run")[1] + say("unregister", "--dry-run")[1]
    assert "\x1b" not in out
    assert "\\x1b[31m" in out

# SPDX-License-Identifier: MIT
"""`certwitness register`, `unregister` and `registration` against a certmonger made of dictionaries."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from certwitness import places
from certwitness.bus import Call
from certwitness.cli import registration as registration_command
from certwitness.cli import run
from certwitness.cli.registering import UNITS
from certwitness.errors import StoreError
from certwitness.registration import apply, units
from tests.unit.harness import CHECKOUT
from tests.unit.registration_factory import AGENT, SUBSYSTEM, Place, place, program

__all__ = ["place"]

PRE, POST = "cert-presave-command", "cert-postsave-command"


@pytest.fixture
def host(place: Place) -> Place:
    """A FreeIPA server."""
    place.fill()
    return place


def say(host: Place, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command line."""
    capsys.readouterr()
    status = run(["--config", host.config, *arguments])
    return status, *capsys.readouterr()


def state_of(host: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.directory / "state" / "registration.json").read_text())
    return found


def events_of(host: Place) -> list[dict[str, Any]]:
    path = host.directory / "log" / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    schema = json.loads((CHECKOUT / "src/certwitness/events/schema.json").read_text(encoding="utf-8"))
    for event in events:
        Draft202012Validator(schema).validate(event)
    return events


def values(host: Place) -> dict[tuple[str, str], Any]:
    """Everything that certmonger has."""
    return {
        (path, name): value for path, there in host.certmonger.objects.items() for name, (_, value) in there.items()
    }


def test_register_and_unregister(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Helpers are wrapped, no request is touched; unregister gives back every byte and leaves no state file."""
    before = values(host)
    status, out, err = say(host, capsys, "register", "--yes")
    assert (status, err) == (0, "")
    assert host.certmonger.value("IPA") == f"{host.real}/ipa-server-guard {host.ours}/ipa-submit"
    assert host.certmonger.value(f"{AGENT}-reuse") == f"{host.ours}/{AGENT}-submit -vv --reuse-existing"
    assert host.certmonger.value("other") == "/bin/echo other"
    assert {call.method for call in host.certmonger.asked} == {"Set"}
    assert f"= getcert modify-ca -c {AGENT} -e '{host.ours}/{AGENT}-submit -vv'" in out
    assert "not there: CA dogtag-ipa-renew-agent" in out
    assert "\n4 changed. Next:\n  certwitness registration    " in out
    assert "\n  certwitness unregister    " in out
    assert stat.S_IMODE((host.directory / "state" / "registration.json").stat().st_mode) == 0o600
    assert all(entry["done"] for entry in state_of(host)["entries"])
    status, out, _ = say(host, capsys, "unregister", "--yes")
    assert status == 0
    assert values(host) == before
    assert not (host.directory / "state" / "registration.json").exists()
    assert [event["why"] for event in events_of(host)] == ["register"] * 4 + ["unregister"] * 4
    status, out, _ = say(host, capsys, "unregister", "--yes")
    assert (status, out) == (0, "nothing to do: nothing is registered\n")


def test_a_second_run_changes_nothing_and_says_so(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in certmonger, nor in the state file, nor in the log."""
    arguments = ("register", "--hooks", "--gate", "--yes")
    assert say(host, capsys, *arguments)[0] == 0
    calls, events, kept = len(host.certmonger.asked), len(events_of(host)), state_of(host)
    status, out, _ = say(host, capsys, *arguments)
    assert (status, out.splitlines()[1:]) == (0, ["nothing to do: all is as it is to be"])
    assert (len(host.certmonger.asked), len(events_of(host)), state_of(host)) == (calls, events, kept)
    assert say(host, capsys, "register", "--yes")[0] == 0
    assert (len(host.certmonger.asked), state_of(host)) == (calls, kept)


def test_hooks(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are there are wrapped, both of a request by one call; the price is told where they are chosen."""
    before = values(host)
    _, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert host.certmonger.value("20261123190541", PRE) == (
        f"{host.ours}/pre-save --cert '{SUBSYSTEM}' -- {host.ipa}/stop_pkicad"
    )
    assert host.certmonger.value("20261123190541", POST) == (
        f"{host.ours}/post-save --cert '{SUBSYSTEM}' -- {host.ipa}/renew_ca_cert \"{SUBSYSTEM}\""
    )
    assert host.certmonger.value("20261123190542", PRE) == host.certmonger.value("20261123190543", POST) == ""
    assert [call.method for call in host.certmonger.asked].count("modify") == 2
    for told in ("IPACertTracking", "[excludes]\n    check=IPACertTracking", "certwitness unregister --hooks"):
        assert told in out
    assert say(host, capsys, "unregister", "--hooks", "--yes")[0] == 0
    assert host.certmonger.value("20261123190541", PRE) == f"{host.ipa}/stop_pkicad"
    assert is_registered(host)
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before


def is_registered(host: Place) -> bool:
    return host.ours in host.certmonger.value(AGENT)


def test_no_price_without_hooks(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Then nothing of it is said."""
    assert "IPACertTracking" not in say(host, capsys, "register", "--dry-run")[1]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            "CA_UNREACHABLE",
            "request 20261123190541 is waiting (CA_UNREACHABLE): certmonger sends it to its helper at once",
        ),
        ("CA_WORKING", "request 20261123190541 is waiting (CA_WORKING)"),
        ("SUBMITTING", "certmonger is working on request 20261123190541 (SUBMITTING): that is waited for"),
        ("MONITORING", ""),
    ],
)
def test_the_plan_says_whom_a_hook_wakes(
    host: Place, capsys: pytest.CaptureFixture[str], status: str, told: str
) -> None:
    """Once a request, and only where a hook is changed."""
    path = next(path for path, one in host.certmonger.objects.items() if one["nickname"][1] == "20261123190541")
    host.certmonger.objects[path]["status"] = ("s", status)
    out = say(host, capsys, "register", "--hooks", "--dry-run")[1]
    assert out.count(told) == 1 if told else "is waiting" not in out
    assert host.certmonger.asked == []
    assert "20261123190541" not in say(host, capsys, "register", "--dry-run")[1]


def test_a_hook_of_another_user_is_left(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """modify would have certmonger run it as us."""
    host.certmonger.request("theirs", "theirs", before="/bin/true", after="/bin/true", uid="65534")
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 1
    assert f"request theirs: its pre-save command runs as uid 65534, and would run as {os.geteuid()}" in out
    assert host.certmonger.value("theirs", PRE) == "/bin/true"
    assert say(host, capsys, "register", "--hooks", "--yes")[0] == 1


def test_gate(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The drop-ins name this certwitness's start-gate; unregister --gate removes them and nothing else."""
    before = os.umask(0o077)  # as the timer's unit has it
    mine = host.units / "httpd.service.d" / "mine.conf"
    mine.parent.mkdir()
    mine.write_text("")
    assert say(host, capsys, "register", "--gate", "--yes")[0] == 0
    written = host.units / "dirsrv@.service.d" / "certwitness-gate.conf"
    assert written.read_text() == f"# why\n[Service]\nExecStartPre=+/bin/sh {host.ours}/start-gate dirsrv@.service\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (written, written.parent)] == [0o644, 0o755]
    assert say(host, capsys, "unregister", "--gate", "--yes")[0] == 0
    assert not written.parent.exists()
    assert [path.name for path in mine.parent.iterdir()] == ["mine.conf"]
    os.umask(before)
    assert is_registered(host)


def test_the_gate_needs_no_certmonger_to_go(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The drop-ins are systemd's."""
    assert say(host, capsys, "register", "--gate", "--yes")[0] == 0
    host.certmonger.down = True
    assert say(host, capsys, "unregister", "--gate", "--yes")[0] == 0
    assert list(host.units.iterdir()) == []


def test_the_gate_is_not_set_where_it_could_not_be_asked(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """start-gate is not there."""
    os.unlink(f"{host.ours}/start-gate")
    status, out, _ = say(host, capsys, "register", "--gate", "--yes")
    assert (status, list(host.units.iterdir())) == (1, [])
    assert "unit httpd.service: not set, it could not be run" in out


def test_a_drop_in_is_not_written_through_a_link(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor where others can write."""
    (host.units / "httpd.service.d").symlink_to(host.directory)
    status, out, _ = say(host, capsys, "register", "--gate", "--yes")
    assert status == 2
    assert "a link" in out
    assert not (host.directory / "certwitness-gate.conf").exists()


def test_dry_run(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Changes nothing, writes nothing."""
    before = values(host)
    status, out, _ = say(host, capsys, "register", "--hooks", "--gate", "--dry-run")
    assert status == 0
    assert "9 to be changed; nothing was" in out
    assert values(host) == before
    assert not (host.directory / "state").exists()
    assert not (host.directory / "log").exists()


def test_another_ca(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name, and from then on like the others."""
    assert say(host, capsys, "register", "--ca", "other", "--yes")[0] == 0
    assert host.certmonger.value("other") == f"{host.ours}/submit -- /bin/echo other"
    host.certmonger.objects[f"{host_path(host, 'other')}"]["external-helper"] = ("s", "/bin/echo else")
    assert say(host, capsys, "register", "--yes")[0] == 0
    assert host.certmonger.value("other") == f"{host.ours}/submit -- /bin/echo else"
    status, out, _ = say(host, capsys, "register", "--ca", "SelfSign", "--yes")
    assert (status, "CA SelfSign: certmonger itself is this CA" in out) == (1, True)
    status, _, err = say(host, capsys, "register", "--ca", "gone", "--yes")
    assert status == 3
    assert err.startswith("certwitness: --ca gone: certmonger has no such CA; it has SelfSign, IPA,")


def host_path(host: Place, name: str) -> str:
    return next(path for path, one in host.certmonger.objects.items() if one["nickname"][1] == name)


@pytest.mark.parametrize(
    "arguments", [("register",), ("unregister",), ("registration",), ("registration", "--reapply")]
)
def test_certmonger_down(host: Place, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """One line, and nothing was changed."""
    host.certmonger.down = True
    status, out, err = say(host, capsys, *arguments)
    assert (status, out) == (3, "")
    assert err == "certwitness: certmonger: is not running: systemctl start certmonger\n"


@pytest.mark.parametrize("option", ["register", "unregister"])
def test_usage(host: Place, capsys: pytest.CaptureFixture[str], option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--json asks nothing; nobody is asked where nobody is."""
    say(host, capsys, "register", "--ca", "other", "--yes")
    host.certmonger.objects[host_path(host, AGENT)]["external-helper"] = ("s", f"{host.real}/{AGENT}-submit")
    before = values(host)
    assert "--yes or --dry-run" in say(host, capsys, option, "--json")[2]
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    status, _, err = say(host, capsys, option)
    assert (status, "add --yes" in err) == (3, True)
    assert values(host) == before


@pytest.mark.parametrize("answer", [False, None])
def test_the_answer_no(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: bool | None
) -> None:
    """Or Ctrl-C: nothing is changed, nothing written."""

    def confirm(text: str) -> bool:
        assert text == "Make these 4 changes?"
        if answer is None:
            raise click.Abort
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    before = values(host)
    status, out, _ = say(host, capsys, "register")
    assert (status, out.endswith("nothing was changed\n"), values(host)) == (3, True, before)
    assert not (host.directory / "state").exists()


def test_json(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One document, whatever happens."""
    status, out, _ = say(host, capsys, "register", "--hooks", "--json", "--dry-run")
    there = json.loads(out)
    assert (status, there["status"], "done" in there) == (0, 0, False)
    helper, hook = there["plan"]["changes"][0], there["plan"]["changes"][-1]
    assert helper["command"].startswith("getcert modify-ca -c ")
    assert (helper["before"], helper["what"]) == (host.certmonger.value(helper["name"]), "ca")
    assert (hook["certificate"], hook["status"], hook["field"]) == ("Server-Cert", "MONITORING", POST)
    assert there["plan"]["absent"] == ["dogtag-ipa-renew-agent"]
    done = json.loads(say(host, capsys, "register", "--hooks", "--json", "--yes")[1])
    assert done["done"] == there["plan"]["changes"]
    assert (done["not_done"], done["left"], done["stopped"], done["problems"]) == ([], [], None, [])
    found = json.loads(say(host, capsys, "registration", "--json")[1])
    assert {one["standing"] for one in found["registration"] if one["what"] != "unit"} == {"registered"}


def test_dying_between_two_changes(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What was done is recorded; it can be completed, and it can be undone."""
    before = values(host)

    def die(_: Call) -> None:
        host.certmonger.down = len(host.certmonger.asked) == 2

    host.certmonger.after = die
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 2
    assert [line for line in out.splitlines() if line.startswith("done: ")] == [f"done: CA {AGENT}"]
    assert "stopped: certmonger: is not running" in out
    assert "not done: CA IPA" in out
    assert [(entry["name"], entry["done"]) for entry in state_of(host)["entries"]] == [
        (AGENT, True),
        (f"{AGENT}-reuse", False),
    ]
    host.certmonger.down, host.certmonger.after = False, lambda _: None
    assert say(host, capsys, "registration")[0] == 0  # the second was made, though nobody could see it
    middle = values(host)
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before
    for (path, name), value in middle.items():
        host.certmonger.objects[path][name] = ("s", value)
    assert say(host, capsys, "register", "--yes")[0] == 0
    assert all(entry["done"] for entry in state_of(host)["entries"])
    assert len(state_of(host)["entries"]) == 4
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before


def test_the_state_is_written_before_the_change(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is replaced, and what replaces it."""
    seen: list[dict[str, Any]] = []

    def look(call: Call) -> None:
        name = host.certmonger.objects[call.path]["nickname"][1]
        seen.extend(entry for entry in state_of(host)["entries"] if entry["name"] == name)

    host.certmonger.after = look
    say(host, capsys, "register", "--yes")
    assert [entry["done"] for entry in seen] == [False] * 4
    assert seen[0]["before"] == f"{host.real}/{AGENT}-submit -vv"
    assert seen[0]["after"] == f"{host.ours}/{AGENT}-submit -vv"


@pytest.mark.parametrize("what", ["file", "link", "writable"])
def test_no_write_access(host: Place, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """A state directory that cannot be used: nothing is changed."""
    directory = host.directory / "state"
    if what == "file":
        directory.write_text("")
    elif what == "link":
        directory.symlink_to(host.directory)
    else:
        directory.mkdir(mode=0o700)
        directory.chmod(0o777)
    before = values(host)
    status, _, err = say(host, capsys, "register", "--yes")
    assert (status, values(host)) == (3, before)
    assert "nothing was changed" in err
    assert err.count("\n") in (1, 2)


@pytest.mark.parametrize("installed", [True, False])
def test_the_end_names_the_services(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """That are to be switched on apart from that, where they are installed."""
    monkeypatch.setattr(places, "is_installed", installed)
    out = say(host, capsys, "register", "--yes")[1]
    there = [unit for unit in UNITS if (CHECKOUT / "install" / "systemd" / unit).exists()]
    assert len(there) == 3
    assert (f"\n  systemctl enable --now {' '.join(there)}\n" in out) == installed


def test_two_at_once(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is told to wait; nothing is changed."""
    (host.directory / "state").mkdir(mode=0o700)
    before = values(host)
    with open(host.directory / "state" / "registration.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = say(host, capsys, "register", "--yes")
    assert (status, values(host)) == (3, before)
    assert "another certwitness is changing the registration" in err
    assert say(host, capsys, "register", "--yes")[0] == 0


def test_the_other_was_faster(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What it set since the plan was made is taken as done; what somebody else set is left alone."""

    def between(_: Call) -> None:
        host.certmonger.after = lambda _: None
        host.certmonger.objects[host_path(host, f"{AGENT}-reuse")]["external-helper"] = (
            "s", f"{host.ours}/{AGENT}-submit -vv --reuse-existing")  # fmt: skip
        host.certmonger.objects[host_path(host, "IPA")]["external-helper"] = ("s", "/bin/false")

    host.certmonger.after = between
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 1
    assert "CA IPA: somebody changed its external-helper meanwhile" in out
    assert host.certmonger.value("IPA") == "/bin/false"
    assert len(host.certmonger.asked) == 2


def test_a_ca_that_vanishes_or_changes_its_number(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """An object is asked for its name before it is changed."""

    def between(_: Call) -> None:
        host.certmonger.after = lambda _: None
        objects = host.certmonger.objects
        one, two = host_path(host, f"{AGENT}-reuse"), host_path(host, "other")
        objects[one], objects[two] = objects[two], objects[one]
        del objects[host_path(host, "IPA")]

    host.certmonger.after = between
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 1
    for name in ("IPA", f"{AGENT}-reuse"):
        assert f"CA {name}: it is not there any more, or certmonger was restarted" in out
    assert host.certmonger.value("other") == "/bin/echo other"
    assert say(host, capsys, "registration")[0] == 0
    del host.certmonger.objects[host_path(host, AGENT)]
    status, out, _ = say(host, capsys, "registration")
    assert (status, "certmonger has no such CA any more" in out) == (1, True)
    assert say(host, capsys, "unregister", "--yes")[0] == 0


def test_a_request_in_the_middle_of_a_save(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waited for; then left, and the others are done."""
    path = host_path(host, "20261123190541")
    host.certmonger.objects[path]["status"] = ("s", "SAVING_CERT")
    monkeypatch.setattr(apply, "SETTLE_S", 0.3)
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 1
    assert "request 20261123190541: certmonger works on it, SAVING_CERT for 0.3 s: run the command again later" in out
    assert host.certmonger.value("20261123190541", PRE) == f"{host.ipa}/stop_pkicad"
    assert host.ours in host.certmonger.value("20261123190542", POST)

    def rest(_: float) -> None:
        host.certmonger.objects[path]["status"] = ("s", "MONITORING")

    host.certmonger.objects[path]["status"] = ("s", "SAVING_CERT")
    monkeypatch.setattr("certwitness.registration.apply.time.sleep", rest)
    assert say(host, capsys, "register", "--hooks", "--yes")[0] == 0
    assert host.ours in host.certmonger.value("20261123190541", PRE)


def test_what_does_not_settle_stops_the_rest(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is sent to a helper that hangs: the change is recorded, the others are not begun."""
    monkeypatch.setattr(apply, "SETTLE_S", 0.3)

    def wake(call: Call) -> None:
        if call.method == "modify":
            host.certmonger.objects[call.path]["status"] = ("s", "SUBMITTING")

    host.certmonger.after = wake
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 2
    assert "20261123190541: set, and SUBMITTING for 0.3 s since: the helper may hang" in out
    assert "done: request 20261123190541 post-save" in out
    assert "not done: request 20261123190542 post-save" in out
    assert host.certmonger.value("20261123190542", POST) == f"{host.ipa}/restart_dirsrv EXAMPLE-COM"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_during_the_changes(host: Place, capsys: pytest.CaptureFixture[str], number: signal.Signals) -> None:
    """The change that is being made is finished and recorded; the rest is not begun."""
    before = signal.getsignal(number)
    host.certmonger.after = lambda _: os.kill(os.getpid(), number)
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 2
    assert f"stopped: asked to end ({number.name})" in out
    assert len(host.certmonger.asked) == 1
    assert [entry["done"] for entry in state_of(host)["entries"]] == [True]
    assert signal.getsignal(number) is before


def test_what_certmonger_does_not_take(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It says success and has something else: told, recorded as not done."""
    host.certmonger.after = lambda call: host.certmonger.objects[call.path].update({"external-helper": ("s", "x")})
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 2
    assert "external-helper is not what was set" in out
    assert not state_of(host)["entries"][0]["done"]


def test_what_could_not_run_is_not_set(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The real helper is gone, or the string cannot be split: left as it is."""
    os.unlink(f"{host.real}/ipa-server-guard")
    host.certmonger.objects[host_path(host, AGENT)]["external-helper"] = ("s", "/bin/cat 'x")
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 1
    assert f"CA IPA: not set, it could not be run: {host.real}/ipa-server-guard: there is no such program" in out
    assert f"CA {AGENT}:" in out
    assert "unmatched '" in out
    assert len(host.certmonger.asked) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, 0), ("", 1), ("[]", 0), ("{", 1), ('{"entries": [{"what": "ca"}, 3], "hooks": 1}', 0), ("\xff", 1)],
)
def test_a_lost_state_file(host: Place, capsys: pytest.CaptureFixture[str], content: str | None, told: int) -> None:
    """The original is read from the wrapped command; register makes the file anew, and tells one that is no JSON."""
    before = values(host)
    file = host.directory / "state" / "registration.json"
    assert say(host, capsys, "register", "--hooks", "--gate", "--yes")[0] == 0
    kept = state_of(host)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode("latin-1"))
    status, out, _ = say(host, capsys, "registration")
    assert (status, "the state file does not know it" in out) == (told, True)
    assert say(host, capsys, "register", "--hooks", "--gate", "--yes")[0] == told
    assert state_of(host)["entries"] == kept["entries"]
    file.unlink()
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before
    assert list(host.units.iterdir()) == []


def test_the_original_is_what_was_there_not_what_would_be_run_today(
    host: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration may name another real helper since: a second run keeps the first's original."""
    before = values(host)
    assert say(host, capsys, "register", "--yes")[0] == 0
    kept = state_of(host)
    with open(host.config, "a") as config:
        config.write(f"[helpers]\nipa-submit = {program(host.directory / 'another' / 'ipa-submit')}\n")
    assert say(host, capsys, "registration")[0] == 0
    assert say(host, capsys, "register", "--ca", "other", "--yes")[0] == 0
    assert [entry for entry in state_of(host)["entries"] if entry["name"] != "other"] == [
        {**entry, "after": host.certmonger.value(entry["name"])} for entry in kept["entries"]
    ]
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before


def test_what_somebody_changed_since_is_not_overwritten(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Named, with both values; where our part is still in it, only that goes."""
    say(host, capsys, "register", "--gate", "--yes")
    host.certmonger.objects[host_path(host, "IPA")]["external-helper"] = ("s", "/bin/echo mine")
    host.certmonger.objects[host_path(host, AGENT)]["external-helper"] = ("s", f"{host.ours}/{AGENT}-submit -x")
    drop_in = host.units / "httpd.service.d" / "certwitness-gate.conf"
    drop_in.write_text("[Service]\n")
    status, out, _ = say(host, capsys, "unregister", "--yes")
    assert status == 1
    assert "CA IPA: somebody changed its external-helper since" in out
    assert f"was '{host.real}/ipa-server-guard {host.real}/ipa-submit' before us, and is '/bin/echo mine' now" in out
    assert host.certmonger.value("IPA") == "/bin/echo mine"
    assert host.certmonger.value(AGENT) == f"{host.real}/{AGENT}-submit -x"
    assert f"somebody changed {drop_in}" in out
    assert drop_in.read_text() == "[Service]\n"


@pytest.mark.parametrize("then", ["unregister", "registration", "register"])
def test_a_state_file_that_lacks_the_original(host: Place, capsys: pytest.CaptureFixture[str], then: str) -> None:
    """It is read from the wrapped command, as where there is no file; no helper is ever set to nothing."""
    before = values(host)
    say(host, capsys, "register", "--hooks", "--gate", "--yes")
    path, state = host.directory / "state" / "registration.json", state_of(host)
    for entry in state["entries"]:
        entry["before"] = None
    path.write_text(json.dumps(state))
    assert say(host, capsys, then, *(() if then == "registration" else ("--yes",)))[0] == 0
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before


@pytest.mark.parametrize("damage", ["others can write it", "no JSON"])
def test_a_state_file_that_cannot_be_used_is_kept(host: Place, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    """What it says may be known to nobody else: it is set aside and told, also by `registration`."""
    before = values(host)
    say(host, capsys, "register", "--hooks", "--gate", "--yes")
    path = host.directory / "state" / "registration.json"
    if damage == "no JSON":
        path.write_text("{")
    else:
        path.chmod(0o664)
    text = path.read_text()
    assert say(host, capsys, "registration")[0] == 1
    status, out, err = say(host, capsys, "register", "--hooks", "--gate", "--yes")
    assert (status, f"{path}.unusable" in out, str(path) in err) == (1, True, True)
    assert path.with_suffix(".json.unusable").read_text() == text
    assert say(host, capsys, "registration")[0] == 0
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert values(host) == before


def test_what_is_unregistered_meanwhile_is_not_put_back(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer has made its plan when an administrator unregisters; what was drifted before stays as it is now."""
    say(host, capsys, "register", "--gate", "--hooks", "--yes")
    for there in host.certmonger.objects.values():
        if there["nickname"][1] == AGENT:
            there["external-helper"] = ("s", f"{host.real}/{AGENT}-submit -vv")
    plan, unregistered = registration_command._mending, list[object]()

    def late(*arguments: Any) -> Any:
        made = plan(*arguments)
        unregistered.append(say(host, capsys, "unregister", "--yes")[0])
        unregistered.append(values(host))
        return made

    monkeypatch.setattr(registration_command, "_mending", late)
    status, out, _ = say(host, capsys, "registration", "--reapply")
    assert unregistered == [0, values(host)]
    assert (status, "it was unregistered meanwhile" in out) == (0, True)


def test_a_wrapped_hook_with_more_words_under_another_id(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that was tracked anew, and whose wrapped command somebody changed: our part goes, the rest stays."""
    say(host, capsys, "register", "--hooks", "--yes")
    there = next(one for one in host.certmonger.objects.values() if one["nickname"][1] == "20261123190542")
    there.update({"nickname": ("s", "20270101000000"), POST: ("s", f"{there[POST][1]} more")})
    assert say(host, capsys, "unregister", "--yes")[0] == 0
    assert there[POST][1] == f"{host.ipa}/restart_dirsrv EXAMPLE-COM more"


def test_a_ca_that_is_gone_is_forgotten_by_register(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Not by the timer: what is made anew meanwhile is to be registered again."""
    assert say(host, capsys, "register", "--ca", "other", "--yes")[0] == 0
    gone = host_path(host, "other")
    there = host.certmonger.objects.pop(gone)
    assert say(host, capsys, "registration", "--reapply")[0] == 1
    host.certmonger.objects[gone] = {**there, "external-helper": ("s", "/bin/echo other")}
    assert say(host, capsys, "registration", "--reapply")[0] == 0
    assert host.ours in host.certmonger.value("other")
    del host.certmonger.objects[gone]
    status, out, _ = say(host, capsys, "register", "--yes")
    assert (status, "not there: CA " in out) == (0, True)
    assert say(host, capsys, "registration")[0] == 0


def test_certmonger_dies_before_the_first_change(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was changed, and the state file does not say that anything was asked for."""

    def die(_bus: str, _timeout_s: float) -> Any:
        raise StoreError("certmonger", "is not running")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "Connection", die)
        assert say(host, capsys, "register", "--hooks", "--yes")[0] == 3
    assert not (host.directory / "state" / "registration.json").exists()


def test_each_change_is_told_once_where_one_of_two_is_left(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A request whose post-save command somebody changes meanwhile, and certmonger does not take the other."""
    path = host_path(host, "20261123190541")

    def between(call: Call) -> None:
        if call.method == "Set":
            host.certmonger.objects[path][POST] = ("s", "/bin/true")
        else:
            host.certmonger.down = True

    host.certmonger.after = between
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 2
    assert "request 20261123190541: somebody changed its cert-postsave-command meanwhile" in out
    assert "not done: request 20261123190541 pre-save" in out
    assert "not done: request 20261123190541 post-save" not in out


def test_asked_to_end_while_a_request_is_waited_for(
    host: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for any longer, and nothing more is changed."""
    host.certmonger.objects[host_path(host, "20261123190541")]["status"] = ("s", "SUBMITTING")
    monkeypatch.setattr("certwitness.registration.apply.time.sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(apply, "SETTLE_S", 5.0)
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 2
    assert "stopped: asked to end (SIGTERM)" in out
    assert "not done: request 20261123190541 post-save" in out
    assert host.certmonger.value("20261123190541", PRE) == f"{host.ipa}/stop_pkicad"


def test_asked_to_end_while_a_change_settles(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The change was made, and is recorded; that its request is not at rest yet is no fault of the helper's."""

    def wake(call: Call) -> None:
        if call.method == "modify":
            host.certmonger.objects[call.path]["status"] = ("s", "SUBMITTING")
            os.kill(os.getpid(), signal.SIGTERM)

    host.certmonger.after = wake
    status, out, _ = say(host, capsys, "register", "--hooks", "--yes")
    assert status == 2
    assert "done: request 20261123190541 post-save" in out
    assert "stopped: asked to end (SIGTERM)" in out
    assert "not done: request 20261123190542 post-save" in out


def test_a_log_that_cannot_be_written(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Told once; the changes are made all the same."""
    (host.directory / "log").write_text("")
    status, out, _ = say(host, capsys, "register", "--yes")
    assert status == 1
    assert out.count("the change is not in the event log") == 1
    assert is_registered(host)


def test_no_secret_is_told(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in a plan nor in what drifted (the timer's output is in the journal), for people and for programs; what
    certmonger has and gets back is whole."""
    before = values(host)

    def change(command: str) -> None:
        host.certmonger.objects[host_path(host, "other")]["external-helper"] = ("s", command)

    change("/bin/echo --password geheim -x")
    said = [say(host, capsys, "register", "--ca", "other", how) for how in ("--dry-run", "--yes")]
    assert "*** stands for what looks like a secret" in said[0][1]
    assert "  - /bin/echo --password *** -x\n" in said[0][1]
    said.append(say(host, capsys, "registration", "--json"))
    assert "--password geheim" in host.certmonger.value("other")
    change(f"{host.ours}/submit -- /bin/echo --pin geheim2 -x")
    said += [say(host, capsys, "registration", *how) for how in ((), ("--json",), ("--reapply",))]
    change("/bin/echo --pin geheim3")
    said += [say(host, capsys, "registration"), say(host, capsys, "unregister", "--dry-run", "--json")]
    change("/bin/echo --pin geheim4 'x")
    said += [say(host, capsys, "registration"), say(host, capsys, "register", "--ca", "other", "--yes")]
    assert "unmatched '" in said[-1][1]
    change("/bin/echo --password geheim -x")
    said += [say(host, capsys, "register", "--yes", "--json"), say(host, capsys, "unregister", "--yes")]
    assert "geheim" not in "".join(out + err for _, out, err in said)
    assert host.certmonger.value("other") == "/bin/echo --password geheim -x"
    change("/bin/echo other")
    assert values(host) == before


def test_events_hold_no_secret(host: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Of options that name one."""
    host.certmonger.objects[host_path(host, "other")]["external-helper"] = ("s", "/bin/echo --password geheim -x 'y z'")
    say(host, capsys, "register", "--ca", "other", "--yes")
    event = next(event for event in events_of(host) if event["name"] == "other")
    assert "geheim" not in json.dumps(event)
    assert event["after"].endswith(" -x 'y z'")
    assert (event["field"], event["by"], event["what"]) == ("external-helper", str(os.getuid()), "ca")


@pytest.mark.parametrize(
    ("script", "limit_s", "told"),
    [
        ('[ "$*" = daemon-reload ]', 60, ""),
        ("echo no bus >&2; exit 1", 60, "systemctl daemon-reload: no bus; systemd reads the drop-ins at the next one"),
        ("exit 4", 60, "systemctl daemon-reload: exit status 4;"),
        ("exec sleep 60", 0.2, "timed out after 0.2 s"),
    ],
)
def test_reload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, limit_s: float, told: str) -> None:
    """systemd is told where it runs; what goes wrong with it is told and no more."""
    program(tmp_path / "bin" / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(units, "_RELOAD_S", limit_s)
    monkeypatch.setattr(units, "_BOOTED", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    said = units.reload()
    assert told in said
    assert bool(said) == bool(told)
    monkeypatch.setattr(units, "_BOOTED", "/nonexistent")
    assert units.reload() == ""

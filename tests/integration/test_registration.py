# SPDX-License-Identifier: MIT
"""The registration with the real certmonger: in, out, still there after an upgrade, and what can go wrong."""

from __future__ import annotations

import difflib
import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from certwitness import certmonger as client
from certwitness import places
from certwitness.cli import run
from certwitness.config import Config, load
from certwitness.registration import apply
from certwitness.registration.wrapping import CAS, Wrapping
from certwitness.render import registration as render
from certwitness.save import POST_SAVE, PRE_SAVE
from tests.integration.conftest import DATA_OPERATIONS, HELPERS, PATIENCE_S, Witnessed
from tests.lab.certmonger import Certmonger
from tests.lab.issuing import PIN
from tests.lab.tracked import ALL, RA, request_id, tracking
from tests.lab.world import SUBSYSTEM, World
from tests.unit.test_registration_command_line import REFUSED, SPLIT

# Of a request that was renewed.
DATES = re.compile(r"^\t(issued|expires|serial): ")
# Stands in for a hook of ours where the checkout has none: runs what follows the "--".
STUB = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
# A CA's helper: keeps its arguments and operation, and answers with what is in `answer`.
HELPER = """\
#!{python} -I
import json, os, sys
operation = os.environ["CERTMONGER_OPERATION"]
with open({directory!r} + "/" + os.environ["CERTMONGER_CA_NICKNAME"] + "." + operation, "a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
if operation not in ("SUBMIT", "POLL"):
    sys.exit(6)
with open({directory!r} + "/answer") as file:
    sys.exit(int(file.read()))
"""


class Said(NamedTuple):
    """What a command ended with."""

    status: int
    out: str
    err: str


Say = Callable[..., Said]


class Desk:
    """A certmonger, a configuration for it, and CAs whose helper writes down how it was called."""

    def __init__(self, certmonger: Certmonger) -> None:
        self.certmonger = certmonger
        self.directory = certmonger.place.directory / "desk"
        self.directory.mkdir()
        self.helper = self.directory / "my helper"
        self.helper.write_text(HELPER.format(python=sys.executable, directory=str(self.directory)))
        self.helper.chmod(0o755)
        (self.directory / "answer").write_text("3")
        self.config = self.directory / "certwitness.conf"
        self.config.touch(mode=0o600)
        self.config.write_text(
            f"[events]\nfile = {self.directory}/log/events.jsonl\n[state]\ndirectory = {self.directory}/state\n"
            f"[certmonger]\nbus = {certmonger.bus_address}\n"
            f"[registration]\nunits = {self.directory}/units\nreapply = yes\n"
        )
        (self.directory / "units").mkdir()

    @property
    def quoted(self) -> str:
        """The helper as certmonger takes it."""
        return f"'{self.helper}'"

    def calls(self, ca: str, operation: str = "IDENTIFY") -> list[list[str]]:
        """Arguments of the helper, one list a run."""
        path = self.directory / f"{ca}.{operation}"
        return [json.loads(line)[1:] for line in path.read_text().splitlines()] if path.exists() else []

    def helpers(self) -> dict[str, str]:
        """Every CA's command, byte for byte."""
        return {ca.name: ca.helper for ca in client.read(self.certmonger.bus_address, timeout_s=PATIENCE_S).cas}

    def hooks(self, identifier: str) -> tuple[str, str]:
        """A request's commands, byte for byte."""
        found = client.read(self.certmonger.bus_address, timeout_s=PATIENCE_S).requests
        return next((one.pre_save, one.post_save) for one in found if one.id == identifier)

    def state(self) -> list[dict[str, Any]]:
        """The entries of the state file."""
        path = self.directory / "state" / "registration.json"
        entries: list[dict[str, Any]] = json.loads(path.read_text())["entries"] if path.exists() else []
        return entries

    def ask_for(self, identifier: str, ca: str, *more: str | Path) -> None:
        """A request for a certificate in a file."""
        key, certificate = self.directory / f"{identifier}.key", self.directory / f"{identifier}.pem"
        self.certmonger.request(identifier, ca, key, certificate, "-G", "EC", "-N", f"CN={identifier}", *more)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A certmonger with nothing but its own CAs."""
    with Certmonger() as certmonger:
        yield Desk(certmonger)


@pytest.fixture
def say(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Say:
    """The command line, in this process."""

    def command(*arguments: str) -> Said:
        capsys.readouterr()
        status = run(["--config", str(desk.config), *arguments])
        return Said(status, *capsys.readouterr())

    return command


@pytest.fixture(scope="module", autouse=True)
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where our hooks are: the checkout's, or stand-ins for those that it has not."""
    names = (PRE_SAVE, POST_SAVE, "start-gate")
    if all(os.access(f"{places.HOOKS}/{name}", os.X_OK) for name in names):
        yield places.HOOKS
        return
    directory = tmp_path_factory.mktemp("certwitness")
    for name in names:
        (directory / name).write_text(STUB)
        (directory / name).chmod(0o755)
    before, places.HOOKS = places.HOOKS, str(directory)
    yield places.HOOKS
    places.HOOKS = before


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


# --- a whole server


@pytest.fixture(scope="module")
def server() -> Iterator[Witnessed]:
    """A full world."""
    with World(full=True) as world:
        text = world.certwitness_config.read_text()
        world.certwitness_config.write_text(text.replace("[registration]\n", "[registration]\nreapply = yes\n"))
        units_of(world).mkdir(exist_ok=True)
        yield Witnessed(world)


@pytest.fixture
def witnessed(server: Witnessed, hooks: str) -> Iterator[Witnessed]:
    """The server as it was at its beginning."""
    server.forget()
    yield server
    program = f"from certwitness import places; places.HOOKS = {hooks!r}; from certwitness.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, *_config(server), "unregister", "--yes"], check=False)
    server.world.reset()


def units_of(world: World) -> Path:
    """Where its drop-ins for systemd are."""
    return Path(load(str(world.certwitness_config)).units)


def _config(witnessed: Witnessed) -> list[str]:
    return ["--config", str(witnessed.world.certwitness_config)]


def lists(world: World) -> list[str]:
    """`getcert list` and `getcert list-cas`, without dates."""
    text = world.certmonger.getcert("list").stdout + world.certmonger.getcert("list-cas", "-v").stdout
    return [line for line in text.splitlines() if not DATES.match(line)]


@pytest.mark.parametrize("options", [(), ("--hooks", "--gate")])
def test_register_renew_everything_unregister(witnessed: Witnessed, options: tuple[str, ...]) -> None:
    """Every CA's helper is ours then, every renewal goes through us and is recorded, and at the end nothing is left."""
    world = witnessed.world
    before = lists(world)
    config = _config(witnessed)
    assert run([*config, "register", "--yes", *options]) == 0
    there = client.read(world.settings.bus_address, timeout_s=PATIENCE_S)
    registered = {ca.name: ca.helper for ca in there.cas if ca.name in CAS}
    assert len(registered) == 5
    assert all(f"{HELPERS}/" in helper for helper in registered.values())
    assert ("post-save --config" in "".join(request.post_save for request in there.requests)) == bool(options)
    assert run([*config, "registration"]) == 0
    renewed = (SUBSYSTEM, RA) if options else ALL
    serials = {request.name: request.certificate for request in there.requests}
    for name in renewed:
        assert world.renew(name, timeout=120)["status"] == "MONITORING"
    issued = {event["nickname"] for event in witnessed.ended() if event["exit"]["code"] == 0}
    assert issued == set(renewed)
    there = client.read(world.settings.bus_address, timeout_s=PATIENCE_S)
    changed = [name for name in serials if {one.name: one.certificate for one in there.requests}[name] != serials[name]]
    assert len(changed) == len(renewed)
    assert run([*config, "unregister", "--yes"]) == 0
    assert list(difflib.unified_diff(before, lists(world), lineterm="", n=0)) == []
    changes = [event for event in witnessed.events() if event["event"] == "registration.changed"]
    assert len(changes) == 2 * (5 if not options else 5 + 23 + 4)
    assert list(units_of(world).iterdir()) == []
    assert not world.settings.path("certwitness", "registration.json").exists()


def test_an_upgrade_makes_tracking_anew(witnessed: Witnessed, capsys: pytest.CaptureFixture[str]) -> None:
    """All requests are new, with FreeIPA's own hooks: noticed, and mended by --reapply, at which nothing else is
    touched."""
    world, config = witnessed.world, _config(witnessed)
    before = lists(world)
    assert run([*config, "register", "--hooks", "--yes"]) == 0
    for name in (SUBSYSTEM, RA):
        retrack(world, name)
    capsys.readouterr()
    assert run([*config, "registration"]) == 1
    out = capsys.readouterr().out
    assert f"({SUBSYSTEM}) pre-save, post-save: tracking was made anew (it was request {request_id(SUBSYSTEM)})" in out
    assert out.count("tracking was made anew") == 2
    assert run([*config, "registration", "--reapply"]) == 0
    assert run([*config, "registration"]) == 0
    again = [event for event in witnessed.events() if event.get("why") == "reapply"]
    assert sorted({event["name"] for event in again}) == [f"new-{request_id(name)}" for name in sorted((RA, SUBSYSTEM))]
    assert run([*config, "unregister", "--yes"]) == 0
    after = [line.replace("'new-", "'") for line in lists(world)]
    assert sorted(after) == sorted(before)


def retrack(world: World, name: str) -> None:
    """As ipa-server-upgrade does (freeipa.md 2.4): stop, and start with the defaults under a new ID."""
    how = tracking(world.settings, name, pin=PIN)
    world.certmonger.getcert("stop-tracking", "-i", request_id(name))
    world.certmonger.track(f"new-{request_id(name)}", how.ca, *how.options())
    world.certmonger.wait_for(f"new-{request_id(name)}", lambda one: not one["status"].startswith("NEWLY_ADDED"))


def test_the_upgrade_itself_leaves_helpers_alone(witnessed: Witnessed) -> None:
    """With --hooks it re-creates all tracking; without, it finds nothing to do (the lab's ipa-server-upgrade)."""
    world, config = witnessed.world, _config(witnessed)
    upgrade = [str(world.settings.path("bin", "ipa-server-upgrade"))]
    assert run([*config, "register", "--yes"]) == 0
    helpers = {name: world.certmonger.helper_of(name) for name in CAS if name != "IPA"}
    said = subprocess.run(upgrade, capture_output=True, text=True, check=True).stdout
    assert "Missing or incorrect tracking request" not in said
    assert {name: world.certmonger.helper_of(name) for name in helpers} == helpers
    assert run([*config, "register", "--hooks", "--yes"]) == 0
    said = subprocess.run(upgrade, capture_output=True, text=True, check=True).stdout
    assert "Missing or incorrect tracking request" in said
    assert run([*config, "registration"]) == 1
    assert run([*config, "registration", "--reapply"]) == 0


# --- one certmonger, and what can go wrong


def test_certmonger_splits_as_we_do(desk: Desk) -> None:
    """A table of odd strings: what the helper gets is what our splitter says; what that refuses is never run."""
    commands = {f"c{number}": command for number, command in enumerate((*SPLIT, *REFUSED))}
    for name, command in commands.items():
        desk.certmonger.add_ca(name, command.replace("h", desk.quoted, 1) if "h" in command else command)
    run_ = [name for name, command in commands.items() if command in SPLIT]
    wait_until(lambda: all(desk.calls(name) for name in run_))
    for name in run_:
        assert desk.calls(name)[0] == SPLIT[commands[name]], commands[name]
    wait_until(lambda: desk.certmonger.log.count("Error parsing") >= 8 * len(REFUSED))
    assert [name for name in commands if desk.calls(name)] == run_


@pytest.mark.parametrize(
    "rest",
    [
        ' "a b"  c\\\\d\t\'e"f\' ',
        ' it\\\'s \'\' "" x"y z"w  ',
        " -- --config x",
        " ü \u2003 $HOME `id`; * ",
    ],
)
def test_an_odd_command(desk: Desk, say: Say, rest: str) -> None:
    """Quotes, backslashes, blanks, also at the end: the helper gets the same arguments through us, and unregister gives
    back every byte."""
    command = f"  {desk.quoted}{rest}"
    desk.certmonger.add_ca("odd", command)
    wait_until(lambda: len(desk.calls("odd")) == 1)
    before = desk.helpers()
    assert say("register", "--ca", "odd", "--yes").status == 0
    assert desk.helpers()["odd"] == f"  {HELPERS}/submit --config {desk.config} -- {desk.quoted}{rest}"
    wait_until(lambda: len(desk.calls("odd")) == 2)
    assert desk.calls("odd")[0] == desk.calls("odd")[1]
    os.unlink(desk.directory / "state" / "registration.json")
    assert say("unregister", "--yes").status == 0
    assert desk.helpers() == before


def test_ipa_alone_then_the_guard(desk: Desk, say: Say) -> None:
    """ipa-submit is replaced in place; an upgrade then prepends the guard, and all is as it should be."""
    helpers = desk.helpers()
    assert say("register", "--yes").status == 0
    wrapped = desk.helpers()["IPA"]
    assert wrapped.startswith(f"{HELPERS}/ipa-submit --config ")
    guard = desk.directory / "ipa-server-guard"
    guard.write_text('#!/bin/sh\nexec "$@"\n')
    guard.chmod(0o755)
    desk.certmonger.modify_ca("IPA", f"{guard} {wrapped}")
    assert say("registration").status == 1
    assert say("registration", "--reapply").status == 0
    assert say("unregister", "--yes").status == 0
    assert desk.helpers() == {**helpers, "IPA": f"{guard} {helpers['IPA']}"}


def test_certmonger_down(desk: Desk, say: Say) -> None:
    """One line, status 3; and once it is up again, all is as it was."""
    assert say("register", "--yes").status == 0
    desk.certmonger.stop()
    for command in (("register",), ("unregister", "--yes"), ("registration",), ("registration", "--reapply")):
        said = say(*command)
        assert said[:2] == (3, "")
        assert said.err == "certwitness: certmonger: is not running: systemctl start certmonger\n"
    desk.certmonger.start()
    assert say("registration").status == 0


@pytest.mark.parametrize("then", ["register", "unregister"])
def test_certmonger_dies_between_two_changes(desk: Desk, say: Say, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """What was done is recorded, what was not is told; it can be completed, and undone."""
    before, made = desk.helpers(), render.made

    def die(change: Any) -> Any:
        if desk.certmonger.running:
            desk.certmonger.kill()
        return made(change)

    monkeypatch.setattr(render, "made", die)
    said = say("register", "--yes")
    assert said.status == 2
    assert said.out.count("\ndone: ") == said.out.count("\nnot done: ") == 1
    assert "stopped: certmonger: " in said.out
    monkeypatch.setattr(render, "made", made)
    assert [entry["done"] for entry in desk.state()][:1] == [True]
    desk.certmonger.start()
    if then == "register":
        assert say("register", "--yes").status == 0
        assert say("registration").status == 0
        assert all(entry["done"] for entry in desk.state())
    assert say("unregister", "--yes").status == 0
    assert desk.helpers() == before


def test_two_at_once(desk: Desk, say: Say) -> None:
    """One does it; the other does nothing and says so, or finds it done. No change is made twice."""
    program = "from certwitness.cli import main; main()"
    command = [sys.executable, "-c", program, "--config", str(desk.config), "register", "--yes"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(*one.communicate(timeout=60), one.returncode) for one in both]
    assert min(status for _, _, status in ends) == 0
    assert all(status == 0 or "another certwitness" in err for _, err, status in ends)
    assert say("registration").status == 0
    assert [entry["done"] for entry in desk.state()] == [True, True]
    assert say("register", "--yes").out.endswith("nothing to do: all is as it is to be\n")


def test_a_ca_that_vanished(desk: Desk, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the changes are made, and after."""
    made = render.made
    desk.certmonger.add_ca("going", f"{desk.quoted} x")

    def remove(change: Any) -> Any:
        desk.certmonger.getcert("remove-ca", "-c", "going")
        return made(change)

    monkeypatch.setattr(render, "made", remove)
    said = say("register", "--ca", "going", "--yes")
    assert (said.status, "CA going: it is not there any more" in said.out) == (1, True)
    assert "going" not in desk.helpers()
    monkeypatch.setattr(render, "made", made)
    desk.certmonger.add_ca("gone", f"{desk.quoted} x")
    assert say("register", "--ca", "gone", "--yes").status == 0
    desk.certmonger.getcert("remove-ca", "-c", "gone")
    assert "certmonger has no such CA any more" in say("registration").out
    assert say("unregister", "--yes").status == 0
    assert desk.state() == []


def test_no_write_access(desk: Desk, say: Say) -> None:
    """To the state directory: nothing is changed, as nothing could be undone."""
    (desk.directory / "state").mkdir(mode=0o700)
    (desk.directory / "state").chmod(0o722)
    before = desk.helpers()
    said = say("register", "--yes")
    assert (said.status, desk.helpers()) == (3, before)
    assert "others than root can write it; nothing was changed" in said.err


def test_a_waiting_request_is_woken_by_its_hook(desk: Desk, say: Say) -> None:
    """The plan says so; a helper's change does not wake it, a hook's change sends it to the helper once, and that is
    waited for."""
    desk.certmonger.add_ca("down", desk.quoted)
    desk.ask_for("waiting", "down", "-C", "/bin/true")
    desk.certmonger.wait_for("waiting", lambda request: request["status"] == "CA_UNREACHABLE")
    assert "is waiting" not in say("register", "--ca", "down", "--yes").out
    wait_until(lambda: len(desk.calls("down")) == 2)
    assert len(desk.calls("down", "SUBMIT")) == 1
    said = say("register", "--hooks", "--yes")
    assert "request waiting is waiting (CA_UNREACHABLE): certmonger sends it to its helper at once." in said.out
    assert said.status == 0
    assert len(desk.calls("down", "SUBMIT")) == 2
    assert desk.certmonger.read("waiting")["status"] == "CA_UNREACHABLE"


def test_a_request_in_the_middle_of_a_save(desk: Desk, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, then left with a message; nothing of the save is disturbed, and a later run wraps it."""
    go_on = desk.directory / "go"
    hook = desk.directory / "slow"
    hook.write_text(f"#!/bin/sh\nwhile ! [ -e {shlex.quote(str(go_on))} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    desk.ask_for("busy", "SelfSign", "-B", str(hook), "-C", "/bin/true")
    desk.certmonger.wait_for("busy", lambda request: request["status"] == "PRE_SAVE_CERT")
    monkeypatch.setattr(apply, "SETTLE_S", 0.3)
    said = say("register", "--hooks", "--yes")
    assert said.status == 1
    assert "certmonger is working on request busy (PRE_SAVE_CERT): that is waited for" in said.out
    assert "request busy: certmonger works on it, PRE_SAVE_CERT for 0.3 s: run the command again later" in said.out
    assert desk.hooks("busy") == (str(hook), "/bin/true")
    go_on.touch()
    desk.certmonger.wait_for("busy", lambda request: request["status"] == "MONITORING")
    monkeypatch.undo()
    assert say("register", "--hooks", "--yes").status == 0
    assert desk.hooks("busy")[0].endswith(f"-- {hook}")


def test_helpers_of_one_ca_end_before_those_of_the_next_begin(desk: Desk, say: Say) -> None:
    """certmonger runs a changed helper eight times at once: not all CAs' together."""
    log = desk.directory / "runs"
    helper = desk.directory / "slow"
    helper.write_text(
        f'#!/bin/sh\necho "$CERTMONGER_CA_NICKNAME +1" >>{log}\nsleep 0.3\n'
        f'echo "$CERTMONGER_CA_NICKNAME -1" >>{log}\nexit 6\n'
    )
    helper.chmod(0o755)

    def runs() -> list[list[str]]:
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    names = ("a", "b", "c")
    for name in names:
        desk.certmonger.add_ca(name, str(helper))
    wait_until(lambda: len(runs()) == 2 * DATA_OPERATIONS * len(names))
    log.unlink()
    assert say("register", *(word for name in names for word in ("--ca", name)), "--yes").status == 0
    wait_until(lambda: len(runs()) == 2 * DATA_OPERATIONS * len(names))
    running: dict[str, int] = {}
    for name, step in runs():
        running[name] = running.get(name, 0) + int(step)
        assert sum(1 for number in running.values() if number) <= 1, runs()


def test_ctrl_c_at_the_prompt(desk: Desk) -> None:
    """Nothing is changed, and that is said."""
    before = desk.helpers()
    # Whoever starts the tests in the background has SIGINT ignored, which children inherit.
    program = "import signal; signal.signal(2, signal.default_int_handler); from certwitness.cli import main; main()"
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-c", program, "--config", str(desk.config), "register"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(terminal, 4096)
    # One that comes between the prompt and the read(2) behind it is Python's to handle after that: hence again.
    deadline = time.monotonic() + PATIENCE_S
    with suppress(OSError):  # EIO: nobody has the other end any more
        while time.monotonic() < deadline:
            child.send_signal(signal.SIGINT)
            while select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 4096)
    os.close(terminal)
    assert child.wait(timeout=30) == 3
    assert b"nothing was changed" in shown
    assert desk.helpers() == before
    assert not (desk.directory / "state").exists()


def test_ctrl_c_during_the_change(desk: Desk, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is being made is finished and recorded, then it ends and says what was done."""
    before, made = desk.helpers(), render.made

    def interrupt(change: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return made(change)

    monkeypatch.setattr(render, "made", interrupt)
    said = say("register", "--yes")
    assert said.status == 2
    assert said.out.count("\ndone: ") == said.out.count("\nnot done: ") == 1
    assert [entry["done"] for entry in desk.state()] == [True]
    monkeypatch.setattr(render, "made", made)
    assert say("unregister", "--yes").status == 0
    assert desk.helpers() == before


def test_a_frozen_certmonger(desk: Desk, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers nobody is waited for with a limit, then it ends and says what was not done."""
    made, restart = render.made, []

    def freeze(change: Any) -> Any:
        os.kill(desk.certmonger.pid, signal.SIGSTOP)
        restart.append(desk.certmonger.pid)
        return made(change)

    monkeypatch.setattr(render, "made", freeze)
    monkeypatch.setattr(apply, "ANSWER_S", 1.0)
    said = say("register", "--yes")
    os.kill(restart[0], signal.SIGCONT)
    assert said.status == 2
    assert "stopped: certmonger: no answer in 1 s" in said.out
    monkeypatch.undo()
    assert say("register", "--yes").status == 0
    assert say("registration").status == 0


def test_what_is_written_is_root_s_alone(desk: Desk, say: Say) -> None:
    """It holds commands, and commands may hold secrets."""
    assert say("register", "--yes").status == 0
    for path, mode in (("state", 0o700), ("state/registration.json", 0o600), ("state/registration.lock", 0o600)):
        assert stat.S_IMODE((desk.directory / path).stat().st_mode) == mode
    assert Wrapping(Config(str(desk.config))).fault(desk.helpers()["IPA"]) == ""

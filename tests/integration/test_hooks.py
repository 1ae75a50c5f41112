# SPDX-License-Identifier: MIT
"""Renewals through the real certmonger with our hooks around FreeIPA's: what they see, what they run, what is told."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.conftest import HELPERS, PATIENCE_S, REPOSITORY, Event, Witnessed
from tests.lab.ca import certificate_pem, key_of
from tests.lab.freeipa.server import CA_NICKNAME
from tests.lab.full import HTTPD_PIN, encrypted_pem
from tests.lab.tracked import ALL, HTTP, IPA, KDC, RA
from tests.lab.world import SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

HOOKS = REPOSITORY / "hooks"
PHASES = ("pre-save", "post-save")
OPTION = {"pre-save": "-B", "post-save": "-C"}
AUDIT = "auditSigningCert cert-pki-ca"


class Hooked(Witnessed):
    """A full world whose CAs have our helpers; `hook` puts our hooks around those of a request."""

    def name(self, nickname: str) -> str:
        """As certmonger has it: the nickname, or the PEM file."""
        settings = self.world.settings
        files = {RA: settings.ra_certificate, HTTP: settings.httpd_certificate, KDC: settings.kdc_certificate}
        return str(files.get(nickname, nickname))

    def hook(self, nickname: str, *, before: str | None = None, after: str | None = None) -> None:
        """Wrap the request's commands, or `before` and `after` in their place."""
        request = self.world.request(nickname)
        arguments: list[str] = []
        for phase, command in zip(PHASES, (before, after)):
            original = request.get(f"{phase} command", "") if command is None else command
            config = self.world.certwitness_config
            words = [str(HOOKS / phase), "--config", str(config), "--cert", f"'{self.name(nickname)}'", "--", original]
            arguments += [OPTION[phase], " ".join(words).strip()]
        self.world.certmonger.getcert("start-tracking", "-i", request_id(nickname), *arguments)
        self.world.certmonger.wait_for(request_id(nickname))

    def configure(self, **seconds: int) -> None:
        """Set keys of [hooks], with which the world's configuration ends."""
        head, _, _ = self.world.certwitness_config.read_text().partition("[hooks]")
        self.rewrite("\n".join((head + "[hooks]", *(f"{key} = {value}" for key, value in seconds.items()))) + "\n")

    def rewrite(self, text: str) -> None:
        """Replace the configuration as a whole: an empty one would have a helper write this machine's own log."""
        path = self.world.certwitness_config
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        fresh.rename(path)

    def of(self, kind: str, phase: str = "") -> list[Event]:
        """The events of a kind (and a phase)."""
        return [one for one in self.events() if one["event"] == kind and phase in ("", one.get("phase"))]

    def one(self, kind: str, phase: str = "") -> Event:
        """The only event of a kind."""
        (event,) = self.of(kind, phase)
        return event


@pytest.fixture(scope="module")
def shared_hooked() -> Iterator[Hooked]:
    """One full world for the module."""
    with World(full=True) as world:
        yield Hooked(world)


@pytest.fixture
def hooked(shared_hooked: Hooked) -> Iterator[Hooked]:
    """The module's world, healthy, with our helpers and an empty log."""
    world, settings = shared_hooked.world, shared_hooked.world.settings
    config = world.certwitness_config
    text = config.read_text()
    shared_hooked.register()
    submit = f"{HELPERS}/submit --config {config} -- {settings.helpers}/ipa-submit"
    world.register(IPA, f"{settings.helpers}/ipa-server-guard {submit}")
    time.sleep(0.3)  # its data operations
    shared_hooked.forget()
    shutil.rmtree(settings.path("certwitness", "holds"), ignore_errors=True)
    settings.journal.write_text("")
    yield shared_hooked
    world.reset()
    shared_hooked.rewrite(text)


def checks(findings: list[Event]) -> list[tuple[str, str]]:
    return [(finding["check"], finding["level"]) for finding in findings]


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def wait_until(path: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)
    return path.read_text()


# --- good renewals


def test_every_certificate_of_a_ca_server_lands(hooked: Hooked) -> None:
    """All thirteen, with all hooks wrapped: one trace from SUBMIT to landed, no false alarm, nothing skipped."""
    world = hooked.world
    hooked.configure(landing_s=1)
    wrong = {}
    for nickname in ALL:
        hooked.hook(nickname)
        hooked.forget()
        status = world.renew(nickname)["status"]
        issued = [run for run in hooked.ended() if run["renewal"] == "issued"]
        started, ended, verified = hooked.of("hook.started"), hooked.of("hook.ended"), hooked.of("verified")
        events = [*started, *ended, *verified]
        found = {
            "status": status,
            "traces": len({event["trace_id"] for event in (*events, *issued)}),
            "phases": [event["phase"] for event in started],
            "found": [event["trace_found"] for event in started],
            "findings": [checks(event["findings"]) for event in started],
            "unseen": [event["unseen"] for event in started],
            "ends": [event.get("exit") for event in ended],
            "outcome": [(event["outcome"], event.get("by")) for event in verified],
            "observer": [event["observer"] for event in events if "observer" in event],
        }
        expected = {
            "status": "MONITORING",
            "traces": 1,
            "phases": [*PHASES],
            "found": [True, True],
            "findings": [[], []],
            "unseen": [[], []],
            "ends": [{"code": 0, "signal": None}] * 2,
            "outcome": [("landed", "post-save")],
            "observer": [],
        }
        if nickname == CA_NICKNAME:  # ipa-certupdate is the administrator's to run, on every host
            expected["outcome"] = [("did not land", "post-save")]
            astray = [place["where"] for place in verified[0]["stores"] if place["mark"] != "landed"]
            assert astray == [str(world.settings.ca_certificate)]
        wrong.update({(nickname, key): value for key, value in found.items() if value != expected[key]})
    assert not wrong


def test_a_first_certificate(hooked: Hooked) -> None:
    """That there is none before it is saved is no fault of the stores."""
    world, path = hooked.world, hooked.world.settings.path("first.pem")
    key = path.with_suffix(".key")
    options = ["-K", "HTTP/first@X", "-D", "first.example.test"]
    for phase in PHASES:
        hook = f"{HOOKS / phase} --config {world.certwitness_config} --cert {path} -- /bin/true"
        options += [OPTION[phase], hook]
    try:
        world.certmonger.request("first", IPA, key, path, *options)
        assert world.certmonger.wait_for("first")["status"] == "MONITORING"
        assert [checks(event["findings"]) for event in hooked.of("hook.started")] == [[], []]
        assert hooked.one("hook.started", "pre-save")["replaced"] is None
        assert hooked.one("verified")["outcome"] == "landed"
    finally:
        world.certmonger.getcert("stop-tracking", "-i", "first")
        for file in (path, key):
            file.unlink(missing_ok=True)


def test_a_certificate_that_ends_soon(hooked: Hooked) -> None:
    """That is why it is renewed, and no fault of the stores either."""
    world = hooked.world
    assert world.full is not None
    old = world.full.issue(KDC, timedelta(days=3))
    world.settings.kdc_certificate.write_text(certificate_pem(old))
    hooked.hook(KDC)
    world.renew(KDC)
    started = hooked.of("hook.started", "pre-save")[0]  # certmonger may have renewed it before it was told to
    assert started["replaced"]["serial"] == str(old.serial_number)
    assert [check for check, _ in checks(started["findings"]) if check == "expiry"] == []


def test_two_requests_saved_at_once(hooked: Hooked) -> None:
    """certmonger has one lock for all saves: one whole save after the other, each in its own trace, and both land."""
    world = hooked.world
    slow = script(world.settings.path("slow"), "sleep 0.3")
    for nickname in (HTTP, KDC):
        hooked.hook(nickname, before=slow)
    for nickname in (HTTP, KDC):
        world.renew(nickname, wait=False)
    for nickname in (HTTP, KDC):
        hooked.wait_for(lambda event, name=nickname: event["event"] == "verified" and event["nickname"] == name)  # type: ignore[misc]
        assert world.certmonger.wait_for(request_id(nickname))["status"] == "MONITORING"
    steps = [(one["certificate"], one["phase"], one["event"]) for one in hooked.events() if "phase" in one]
    first, second = list(dict.fromkeys(name for name, _, _ in steps))
    kinds = [(phase, kind) for phase in PHASES for kind in ("hook.started", "hook.ended")]
    assert steps == [(name, *kind) for name in (first, second) for kind in kinds]
    assert [event["outcome"] for event in hooked.of("verified")] == ["landed", "landed"]
    traces = {event["certificate"]: event["trace_id"] for event in hooked.of("hook.started")}
    assert len(set(traces.values())) == 2
    for event in hooked.of("hook.ended"):
        assert event["trace_id"] == traces[event["certificate"]]


def test_what_is_replaced_is_kept(hooked: Hooked) -> None:
    """pre-save has the old certificate itself, both have the request and the new key."""
    old = hooked.world.nss_certificate(SUBSYSTEM)
    hooked.hook(SUBSYSTEM)
    hooked.world.renew(SUBSYSTEM)
    started = hooked.one("hook.started", "pre-save")
    assert started["replaced"]["serial"] == str(old.serial_number)
    assert x509.load_pem_x509_certificate(started["replaced"]["pem"].encode()) == old
    (issued,) = [run for run in hooked.ended() if run["renewal"] == "issued"]
    for event in hooked.of("hook.started"):
        assert event["request"] == request_id(SUBSYSTEM)
        assert (event["nickname"], event["key"], event["ca"]) == (issued["nickname"], issued["key"], issued["ca"])


# --- what is seen before the command


def test_what_was_wrong_before_is_flagged_as_such(hooked: Hooked) -> None:
    """A lost trust flag shows in pre-save, not as this renewal's fault."""
    hooked.hook(AUDIT)
    hooked.world.nss.set_trust(AUDIT, "u,u,u")
    hooked.world.renew(AUDIT)
    assert ("trust-flags", "ERROR") in checks(hooked.one("hook.started", "pre-save")["findings"])
    assert hooked.one("hook.started", "post-save")["findings"] == []


def test_a_save_that_no_run_explains(hooked: Hooked) -> None:
    """The CA's helper is not ours: both hooks say so, and still share a trace."""
    world = hooked.world
    world.register(IPA, f"{world.settings.helpers}/ipa-server-guard {world.settings.helpers}/ipa-submit")
    hooked.hook(HTTP)
    hooked.forget()
    world.renew(HTTP)
    first, second = hooked.of("hook.started")
    assert first["trace_id"] == second["trace_id"]
    for event in (first, second):
        assert event["trace_found"] is False
        assert ("unexplained-save", "WARNING") in checks(event["findings"])


def test_ldap_is_down_before_the_command(hooked: Hooked) -> None:
    """renew_ra_cert cannot update anything: it is run all the same, and what it will not do is told before."""
    world = hooked.world
    assert world.directory_server is not None
    hooked.configure(landing_s=1)
    stop = script(world.settings.path("stop"), f"kill -9 {world.directory_server.pid}")
    hooked.hook(RA, before=stop)
    world.renew(RA)
    findings = hooked.one("hook.started", "post-save")["findings"]
    assert ("store-update", "ERROR") in checks(findings)
    assert "renew_ra_cert" in next(one for one in findings if one["check"] == "store-update")["remedy"]
    assert hooked.one("hook.ended", "post-save")["exit"] == {"code": 0, "signal": None}


@pytest.mark.parametrize("kind", ["other subject", "no entry"])
def test_the_search_that_will_find_nothing(hooked: Hooked, kind: str) -> None:
    """FreeIPA takes no hit for success: it is CRITICAL before, and the renewal did not land."""
    world = hooked.world
    assert world.directory_server is not None
    hooked.configure(landing_s=1)
    hooked.hook(SUBSYSTEM)
    dn = "uid=pkidbuser,ou=people,o=ipaca"
    if kind == "no entry":
        world.directory_server.ldapi.delete(dn)
    else:
        world.directory_server.ldapi.modify(dn, ("replace", "description", ["2;1;CN=Old CA;CN=Other"]))
    world.renew(SUBSYSTEM)
    findings = hooked.one("hook.started", "post-save")["findings"]
    assert ("store-update", "CRITICAL") in checks(findings)
    assert hooked.one("verified")["outcome"] == "did not land"


# --- blocks


def test_a_key_that_does_not_fit_keeps_httpd_running(hooked: Hooked) -> None:
    """The restart would end httpd: it is skipped and held; mended and renewed once more, httpd restarts."""
    world, settings = hooked.world, hooked.world.settings
    hooked.configure(landing_s=1)
    key = settings.httpd_key.read_bytes()
    other = settings.path("other.key")
    other.write_text(encrypted_pem(key_of(SUBSYSTEM), HTTPD_PIN))
    hooked.hook(HTTP, before=f"/bin/cp {other} {settings.httpd_key}")
    settings.path("httpd", "ssl.conf").write_text(f"SSLCertificateFile {settings.httpd_certificate}\n")
    starts, loaded = world.httpd.starts, world.httpd.loaded
    assert world.renew(HTTP)["status"] == "MONITORING"
    assert (world.httpd.running, world.httpd.starts, world.httpd.loaded) == (True, starts, loaded)
    ended = hooked.one("hook.ended", "post-save")
    assert (ended["skipped"], ended["level"], checks(ended["findings"])) == (True, "critical", [("key", "CRITICAL")])
    placed = hooked.one("hold.placed")
    assert (placed["service"], placed["by"], placed["trace_id"]) == ("httpd", "post-save", ended["trace_id"])
    assert json.loads(settings.path("certwitness", "holds", "httpd.json").read_text())["by"] == "post-save"
    settings.httpd_key.write_bytes(key)
    hooked.hook(HTTP, before="")
    assert world.renew(HTTP)["status"] == "MONITORING"
    assert world.httpd.starts == starts + 1
    assert world.httpd.loaded != loaded
    assert not settings.path("certwitness", "holds", "httpd.json").exists()


def test_what_updates_stores_is_never_skipped(hooked: Hooked) -> None:
    """pki-tomcatd cannot start with what is there: renew_ca_cert is what mends it, and runs."""
    world = hooked.world
    hooked.configure(landing_s=1)
    world.faults.on("people-update-fails")
    hooked.hook(SUBSYSTEM)
    world.renew(SUBSYSTEM)
    assert hooked.one("hook.ended", "post-save")["exit"]["code"] == 0
    assert "skipped" not in hooked.one("hook.ended", "post-save")
    assert hooked.one("verified")["outcome"] == "did not land"
    assert "pki-tomcatd" in {event["service"] for event in hooked.of("hold.placed")}


# --- what goes wrong with hooks


@pytest.mark.parametrize("damage", ["missing", "not executable"])
def test_a_command_that_certmonger_could_not_run(hooked: Hooked, damage: str) -> None:
    """certmonger is silent, and MONITORING; the log is not silent."""
    command = hooked.world.settings.path("command")
    if damage == "not executable":
        script(command, "exit 0")
        command.chmod(0o644)
    hooked.hook(HTTP, after=str(command))
    assert hooked.world.renew(HTTP)["status"] == "MONITORING"
    ended = hooked.one("hook.ended", "post-save")
    assert checks(ended["findings"]) == [("command", "CRITICAL")]
    command.unlink(missing_ok=True)


def test_a_directory_server_that_hangs(hooked: Hooked) -> None:
    """Stopped like a machine that swaps: after look_s the command runs, and it is told what was not seen."""
    world = hooked.world
    assert world.directory_server is not None
    hooked.configure(look_s=1, landing_s=1)
    marker = world.settings.path("marker")
    go_on = script(
        world.settings.path("go-on"), f"kill -CONT {world.directory_server.pid}; echo ran >{shlex.quote(str(marker))}"
    )
    hooked.hook(RA, before=f"/bin/kill -STOP {world.directory_server.pid}", after=go_on)
    try:
        assert world.renew(RA)["status"] == "MONITORING"
    finally:
        os.kill(world.directory_server.pid, signal.SIGCONT)
    assert marker.read_text() == "ran\n"
    marker.unlink()
    started = hooked.one("hook.started", "post-save")
    assert started["trace_found"] is True, "which renewal it is was known before the time was over"
    (told,) = started["observer"]
    assert "took longer than 1 seconds" in told


def test_ldap_dies_between_the_checks(hooked: Hooked) -> None:
    """While the command runs: what cannot be looked at any more accuses nobody and holds nothing."""
    world = hooked.world
    assert world.directory_server is not None
    hooked.configure(landing_s=2)
    restart = world.settings.hooks / "restart_httpd"
    kill = script(world.settings.path("kill"), f"kill -9 {world.directory_server.pid}; exec {restart}")
    hooked.hook(HTTP, after=kill)
    assert world.renew(HTTP)["status"] == "MONITORING"
    assert hooked.one("hook.started", "post-save")["unseen"] == []
    assert hooked.one("hook.ended", "post-save")["exit"] == {"code": 0, "signal": None}
    assert [event["event"] for event in hooked.events() if event["event"] in ("verified", "hold.placed")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_the_disk_of_the_log_is_full(hooked: Hooked) -> None:
    """Both hooks run their commands once, and leave no torn line."""
    world, log = hooked.world, hooked.log
    runs = world.settings.path("runs")
    runs.unlink(missing_ok=True)
    command = script(world.settings.path("command"), f"echo run >>{runs}")
    private = script(
        world.settings.path("full"),
        f"mount -t tmpfs -o size=4k,mode=700 none {log.parent} && touch {log} && chmod 600 {log} || exit 99\n"
        f'head -c 4096 /dev/zero >{log.parent}/filler; "$@"; code=$?; cat {log} >>{runs}; exit $code',
    )
    request = request_id(HTTP)
    for phase in PHASES:
        words = f"{HOOKS / phase} --config {world.certwitness_config} --cert {hooked.name(HTTP)} -- {command}"
        mounted = f"/usr/bin/unshare -m --propagation private {private} {words}"
        world.certmonger.getcert("start-tracking", "-i", request, OPTION[phase], mounted)
    world.certmonger.wait_for(request)
    assert world.renew(HTTP)["status"] == "MONITORING"
    assert runs.read_text() == "run\nrun\n"
    runs.unlink()


def test_a_command_that_hangs(hooked: Hooked) -> None:
    """It is waited for as certmonger waits for it, and `status` says what is being waited for, and since when."""
    world = hooked.world
    ready, go = world.settings.path("ready"), world.settings.path("go")
    for path in (ready, go):
        path.unlink(missing_ok=True)
    hangs = script(world.settings.path("hangs"), f"echo $PPID >{ready}; until [ -e {go} ]; do sleep 0.05; done; exit 5")
    hooked.hook(HTTP, after=hangs)
    hooked.hook(KDC)
    world.renew(HTTP, wait=False)
    try:
        pid = int(wait_until(ready))
        ready.unlink()
        hooked.wait_for(lambda event: event["event"] == "hook.started" and event["phase"] == "post-save")
        world.renew(KDC, wait=False)  # its save waits, too
        told = hooked.certwitness("status").stdout
        since = hooked.one("hook.started", "post-save")["timestamp"][:19].replace("T", " ")
        name = hooked.name(HTTP)
        words = f"certmonger waits for the post-save command hangs (pid {pid}), which runs since {since} UTC"
        assert f"{name}: {words}; all other saves wait for it, too" in told
        rows = {
            row["certificate"]: row for row in json.loads(hooked.certwitness("status", "--json").stdout)["certificates"]
        }
        assert words in rows[name]["next_try"]["text"]
        assert world.request(HTTP)["status"] == "POST_SAVED_CERT"
    finally:
        go.write_text("")
    assert world.certmonger.wait_for(request_id(HTTP))["status"] == "MONITORING"
    ended = hooked.wait_for(lambda event: event["event"] == "hook.ended" and event["phase"] == "post-save")
    assert ended["exit"] == {"code": 5, "signal": None}
    hooked.wait_for(lambda event: event["event"] == "verified" and event["nickname"] == request_id(KDC))
    assert "certmonger waits for" not in hooked.certwitness("status").stdout


def test_the_service_is_stopped_while_a_command_hangs(hooked: Hooked) -> None:
    """SIGTERM to certmonger's cgroup: the command gets it, and what it does then is recorded."""
    world = hooked.world
    ready = world.settings.path("ready")
    body = f"trap 'exit 7' TERM; echo $PPID >{shlex.quote(str(ready))}; while :; do sleep 0.05; done"
    hooked.hook(HTTP, after=script(world.settings.path("hangs"), body))
    world.renew(HTTP, wait=False)
    pid = int(wait_until(ready))
    ready.unlink()
    assert world.request(HTTP)["status"] == "POST_SAVED_CERT"
    os.kill(pid, signal.SIGTERM)
    ended = hooked.wait_for(lambda event: event["event"] == "hook.ended" and event["phase"] == "post-save")
    assert ended["exit"] == {"code": 7, "signal": None}
    assert world.certmonger.wait_for(request_id(HTTP))["status"] == "MONITORING"


@pytest.mark.parametrize("phase", PHASES)
def test_certmonger_is_restarted_in_the_middle_of_a_hook(hooked: Hooked, phase: str) -> None:
    """The hook runs on, once each time that certmonger starts it: a pre-save again, a post-save never again."""
    world = hooked.world
    runs, ready = world.settings.path("runs"), world.settings.path("ready")
    runs.unlink(missing_ok=True)
    ready.unlink(missing_ok=True)
    slow = script(world.settings.path("slow"), f"echo run >>{runs}; echo x >{ready}; sleep 1.5")
    hooked.hook(HTTP, **{"before" if phase == "pre-save" else "after": slow})
    world.renew(HTTP, wait=False)
    wait_until(ready)
    world.certmonger.restart()
    hooked.wait_for(lambda event: event["event"] == "hook.ended" and event["phase"] == phase)
    assert world.certmonger.wait_for(request_id(HTTP))["status"] == "MONITORING"
    expected = 2 if phase == "pre-save" else 1
    deadline = time.monotonic() + PATIENCE_S
    while len(hooked.of("hook.ended", phase)) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert runs.read_text() == "run\n" * expected
    ended = hooked.of("hook.ended", phase)
    assert len(ended) == expected
    if phase == "post-save":
        assert hooked.wait_for(lambda event: event["event"] == "verified")["by"] == "post-save"

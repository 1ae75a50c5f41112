# SPDX-License-Identifier: MIT
"""Renewals through the real certmonger with our helper registered: what certmonger gets, and what is recorded."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import HELPERS, PATIENCE_S, Event, Witnessed
from tests.lab import entries
from tests.lab.ca import key_of, subject
from tests.lab.freeipa.handlers import INNER_HELPER, REAL_HELPERS
from tests.lab.world import SUBSYSTEM, World, request_id

pytestmark = pytest.mark.lab

REQUEST = request_id(SUBSYSTEM)
GUARD_LETS_THROUGH = 3  # of the eight data operations: FETCH-ROOTS, IDENTIFY, GET-NEW-REQUEST-REQUIREMENTS
OK, WARNING, CRITICAL, UNKNOWN = range(4)


def serials(world: World) -> tuple[int, int, int]:
    """The serial number in NSS, in cn=ca_renewal and with pkidbuser."""
    return (
        world.nss_certificate(SUBSYSTEM).serial_number,
        world.ca_renewal_certificate(SUBSYSTEM).serial_number,
        world.people_certificates("pkidbuser")[-1].serial_number,
    )


def assert_one_trace(runs: list[Event]) -> None:
    """All belong to one renewal, with attempts counted from 1."""
    assert len({run["trace_id"] for run in runs}) == 1
    assert [run["attempt"] for run in runs] == list(range(1, len(runs) + 1))


def gone(pid: int) -> bool:
    """Whether the process ends in time, or has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- good renewals


def test_a_renewal_lands_and_is_recorded(witnessed: Witnessed) -> None:
    """Every store gets the certificate, certmonger is content, and the log tells each run of it in one trace."""
    world = witnessed.world
    before = serials(world)
    request = world.renew(SUBSYSTEM)
    after = serials(world)
    assert (request["status"], request["stuck"], request.get("ca-error")) == ("MONITORING", "no", None)
    assert (after[0] > before[0], len(set(after))) == (True, 1)
    runs = witnessed.ended()
    assert [(run["operation"], run["exit"]["code"], run["renewal"]) for run in runs] == [
        ("SUBMIT", 5, "waiting"),
        ("POLL", 5, "waiting"),
        ("POLL", 0, "issued"),
    ]
    assert_one_trace(runs)
    started = [event for event in witnessed.events() if event["event"] == "run.started"]
    assert [event["span_id"] for event in started] == [run["span_id"] for run in runs]
    assert runs[0]["nickname"] == SUBSYSTEM
    assert runs[0]["request"]["profile"] == "caSubsystemCert"
    assert runs[0]["request"]["previous"]["serial"] == str(before[0])
    assert runs[-1]["result"]["certificate"]["serial"] == str(after[0])
    assert (runs[-1]["result"]["key"], runs[-1]["next"]["state"]) == ("same", "MONITORING")
    assert [run["result"]["cookie"]["state"] for run in runs[:2]] == ["approve", "retrieve"]
    assert not [event for event in witnessed.events() if "observer" in event]


def test_data_operations_are_recorded_at_level_debug(witnessed: Witnessed) -> None:
    """What certmonger asks a CA that it gets to know is in the log, but not as a renewal."""
    witnessed.register()
    events = witnessed.events()
    assert len({event["operation"] for event in events}) == 8
    assert {(event["event"], event["level"], event["exit"]["code"]) for event in events} == {("run.ended", "debug", 6)}
    assert "No renewal yet" in witnessed.certwitness("renewals").stdout


@pytest.mark.parametrize("position", ["before the guard", "behind the guard"])
def test_any_command_can_be_wrapped(witnessed: Witnessed, position: str) -> None:
    """helpers/submit around ipa-server-guard, and within it as installed for the CA IPA: the real helper renews."""
    settings = witnessed.world.settings
    real = next(path for path in (f"{directory}/{INNER_HELPER}" for directory in REAL_HELPERS) if os.path.exists(path))
    inner = (
        f"{real} -vv --cafile {settings.ca_certificate} --certfile {settings.ra_certificate} --keyfile "
        f"{settings.ra_key} --ee-url {settings.ee_url} --agent-url {settings.agent_url} --force-new"
    )
    guard = f"{settings.helpers}/ipa-server-guard"
    submit = f"{HELPERS}/submit --config {witnessed.world.certwitness_config} --"
    before = serials(witnessed.world)
    try:
        if position == "before the guard":
            witnessed.register(f"{submit} {guard} {inner}")
        else:
            witnessed.register(f"{guard} {submit} {inner}", operations=GUARD_LETS_THROUGH)
        assert witnessed.world.renew(SUBSYSTEM)["status"] == "MONITORING"
        runs = witnessed.ended()
    finally:
        witnessed.register()
    assert_one_trace(runs)
    assert [run["renewal"] for run in runs] == ["waiting", "waiting", "issued"]
    assert runs[0]["command"][0] == (guard if position == "before the guard" else real)
    assert serials(witnessed.world)[0] > before[0]


# --- failures


@pytest.mark.parametrize(
    ("fault", "code", "renewal", "message"),
    [
        ("dogtag-down", 3, "unreachable", "Error 7 connecting to "),
        ("ra-refused", 2, "rejected", "replied: 1: Invalid Credential."),
        ("dogtag-html-503", 2, "rejected", ""),
    ],
)
def test_a_failure_is_recorded_as_certmonger_shows_it(
    witnessed: Witnessed, fault: str, code: int, renewal: str, message: str
) -> None:
    """State and ca-error of the request, and those that the event foretells; nothing is renewed."""
    before = serials(witnessed.world)
    witnessed.world.faults.on(fault)
    request = witnessed.world.renew(SUBSYSTEM)
    assert serials(witnessed.world) == before
    runs = witnessed.ended()
    assert_one_trace(runs)
    last = runs[-1]
    assert (last["exit"]["code"], last["renewal"], last["level"]) == (code, renewal, "warning")
    assert (last["next"]["state"], last["next"]["stuck"]) == (request["status"], False)
    assert last["result"].get("message", "") == request.get("ca-error", "")
    assert message in last["result"].get("message", "")
    assert bool(last["result"].get("message")) == bool(message) == last["next"]["shows_ca_error"]


def test_the_silent_loss_leaves_its_trace(witnessed: Witnessed) -> None:
    """Issued and MONITORING although cn=ca_renewal never got it: nine failures are counted, and the commands warn."""
    world = witnessed.world
    before = serials(world)
    world.faults.on("ldap-store-lost")
    request = world.renew(SUBSYSTEM)
    after = serials(world)
    assert (request["status"], request.get("ca-error")) == ("MONITORING", None)
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)
    runs = witnessed.ended()
    assert_one_trace(runs)
    failures = [run["result"].get("cookie", {}).get("store_attempts") for run in runs]
    assert failures == [None, None, *range(1, 10), None]
    assert runs[-1]["renewal"] == "issued"
    assert runs[-2]["result"]["cookie"]["certificate"]["serial"] == str(after[0])
    told = witnessed.certwitness("renewals", "--json")
    (row,) = json.loads(told.stdout)["renewals"]
    assert (told.returncode, row["status"], row["store_failures"]) == (WARNING, "WARNING", 9)
    shown = witnessed.certwitness("show", SUBSYSTEM)
    assert (shown.returncode, "storing in LDAP failed 9 times" in shown.stdout) == (WARNING, True)


def test_a_killed_wrapper_takes_the_helper_with_it(witnessed: Witnessed) -> None:
    """SIGKILL while Dogtag hangs: the helper is gone, certmonger parks the request, and the log says who was killed."""
    witnessed.world.faults.on("dogtag-hangs")
    witnessed.world.renew(SUBSYSTEM, wait=False)
    helper = witnessed.wait_for(lambda event: event["event"] == "run.started")["pid"]
    wrapper = int((Path("/proc") / str(helper) / "stat").read_text().rpartition(")")[2].split()[1])
    witnessed.world.certmonger.wait_for(REQUEST, lambda request: request["status"] == "SUBMITTING")
    os.kill(wrapper, signal.SIGKILL)
    assert gone(helper)
    request = witnessed.world.certmonger.wait_for(REQUEST)
    assert (request["status"], request["stuck"]) == ("NEED_GUIDANCE", "yes")
    event = witnessed.wait_for(lambda event: event["event"] == "run.ended" and "renewal" in event)
    assert (event["killed"], event["renewal"], event["level"]) == (True, "stuck", "error")
    assert (event["next"]["state"], event["next"]["stuck"]) == ("NEED_GUIDANCE", True)
    assert (event["exit"]["signal"], event["pid"]) == (signal.SIGKILL, helper)
    assert witnessed.certwitness("renewals").returncode == CRITICAL


# --- a renewal goes on


def test_a_renewal_goes_on_when_the_ca_is_back(witnessed: Witnessed) -> None:
    """Unreachable, again after a restart of certmonger, asked anew: one trace, until it is issued."""
    world = witnessed.world
    before = serials(world)
    world.faults.on("dogtag-down")
    assert world.renew(SUBSYSTEM)["status"] == "CA_UNREACHABLE"
    failed = witnessed.certwitness("renewals")
    world.certmonger.restart()
    # At its start certmonger tries at once what was unreachable.
    witnessed.wait_for(lambda event: event["event"] == "run.ended" and event.get("attempt") == 2)
    world.certmonger.wait_for(REQUEST, lambda request: request["status"] == "CA_UNREACHABLE")
    world.faults.clear()
    assert world.renew(SUBSYSTEM)["status"] == "MONITORING"
    assert serials(world)[0] > before[0]
    runs = witnessed.ended()
    assert_one_trace(runs)
    assert [run["renewal"] for run in runs[:2]] == ["unreachable"] * 2
    assert runs[-1]["renewal"] == "issued"
    assert (failed.returncode, witnessed.certwitness("renewals").returncode) == (WARNING, OK)


def test_a_waiting_renewal_outlives_a_restart_of_certmonger(witnessed: Witnessed) -> None:
    """A server that is not the renewal master waits; after a restart it polls in the same trace."""
    world = witnessed.world
    world.faults.on("not-renewal-master")
    world.renew(SUBSYSTEM, wait=False)
    world.certmonger.wait_for(REQUEST, lambda request: request["status"] == "CA_WORKING")
    world.certmonger.restart()
    new = world.ca.issue(subject("CA Subsystem"), key_of(SUBSYSTEM).public_key())
    assert world.directory_server is not None
    entries.put(world.directory_server.ldapi, SUBSYSTEM, new)
    world.certmonger.getcert("refresh", "-i", REQUEST)
    world.certmonger.wait_for(REQUEST)
    assert world.nss_certificate(SUBSYSTEM) == new
    runs = witnessed.ended()
    assert_one_trace(runs)
    assert (runs[0]["result"]["delay_s"], runs[0]["next"]["state"]) == (28800, "CA_WORKING")
    assert (runs[-1]["operation"], runs[-1]["renewal"]) == ("POLL", "issued")
    assert runs[-1]["result"]["certificate"]["serial"] == str(new.serial_number)


# --- reading it


def test_the_commands_tell_of_it(witnessed: Witnessed) -> None:
    """`renewals` and `show`, for people and for programs, with the exit statuses that they document."""
    empty = witnessed.certwitness("renewals")
    witnessed.world.renew(SUBSYSTEM)
    serial = str(serials(witnessed.world)[0])
    rows = witnessed.certwitness("renewals", "--json")
    (row,) = json.loads(rows.stdout)["renewals"]
    shown = witnessed.certwitness("show", row["trace_id"][:8], "--json")
    story = json.loads(shown.stdout)
    text = witnessed.certwitness("show")
    assert [done.returncode for done in (empty, rows, shown, text)] == [UNKNOWN, OK, OK, OK]
    assert (row["state"], row["attempts"], row["certificate"]["serial"]) == ("issued", 3, serial)
    assert len(story["events"]) == 6
    assert story["renewal"] == row
    assert f"serial {serial} " in text.stdout
    assert [done.stderr for done in (rows, shown, text)] == ["", "", ""]
    assert witnessed.certwitness("show", "nothing-like-it").returncode == UNKNOWN

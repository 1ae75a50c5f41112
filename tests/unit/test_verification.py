# SPDX-License-Identifier: MIT
"""What programs read, and when the log hears of an outcome."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certwitness import landing, verification
from certwitness.errors import StoreError
from certwitness.findings import Finding
from certwitness.landing import Holding
from tests.unit import findings_factory as make

OLD, NEW = "2024-11-23T00:00:00Z", "2026-11-23T00:00:00Z"


def healthcheck_result(
    plugin: None, result: str, source: str = "", check: str = "", start: None = None, duration: str = "",
    when: str = "", **kw: Any,
) -> str:  # fmt: skip
    """As ipa-healthcheck takes an entry in (core/plugin.py) and shows it (core/output.py)."""
    assert plugin is start
    return f"{result}: {source}.{check}.{kw['key']}: {kw['msg'].format(**kw)} {duration} {when}"


def test_ipa_healthcheck_reads_it() -> None:
    """ipa-healthcheck --input-file takes each entry, and shows the words as they are, braces and all."""
    finding = replace(make.USER_CERTIFICATE, found="description is '{0} {x} {'")
    both = replace(make.result(finding), findings=(finding, finding)).as_healthcheck()
    assert len({entry.pop("uuid") for entry in both}) == 2
    entry = both[0]
    shown = healthcheck_result(
        None, entry["result"], entry["source"], entry["check"], duration=entry["duration"], when=entry["when"],
        **entry["kw"],
    )  # fmt: skip
    assert shown == (
        f"CRITICAL: certwitness.user-certificate.{make.SUBSYSTEM}: description is '{{0}} {{x}} {{' "
        "0.500000 20261123200000Z"
    )


class Certificate(SimpleNamespace):
    def as_event(self) -> dict[str, str]:
        return {"sha256": self.sha256, "not_before": self.not_before}


ISSUED = Certificate(sha256="b", not_before=NEW)
BEFORE = Certificate(sha256="a", not_before=OLD)


def evidence(path: Path, **fields: Any) -> Any:
    """What `record` asks of Evidence: the newest renewal of each certificate issued ISSUED, and that is saved."""
    renewal = SimpleNamespace(
        state="issued", new=ISSUED.as_event(), outcome="", trace_id="1" * 32, nickname=make.SUBSYSTEM, key="2" * 64,
        ca="CA",
    )  # fmt: skip
    host = SimpleNamespace(config=SimpleNamespace(events_file=str(path)), kra_cs_cfg="/kra")
    values = {
        "log": (renewal,), "renewal": lambda _: renewal, "wanted": lambda _: ISSUED, "in_flight": lambda _: "",
        "host": host,
    }  # fmt: skip
    return make.evidence(make.tracked(), **{**values, **fields})


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log; all that is looked at has landed."""
    monkeypatch.setattr(landing, "holdings", lambda *_: (Holding("saved", "x", landing.LANDED),))
    return tmp_path / "log" / "events.jsonl"


def outcomes(log: Path) -> list[str]:
    return [json.loads(line)["outcome"] for line in log.read_text().splitlines()] if log.exists() else []


def test_landed(log: Path) -> None:
    """A renewal whose certificate is everywhere has landed."""
    verification.record(evidence(log), [make.result()])
    assert outcomes(log) == ["landed"]


def test_never_saved(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an older one than the one issued is saved, it did not land."""
    monkeypatch.setattr(landing, "holdings", lambda *_: (Holding("saved", "x", landing.OLDER),))
    verification.record(evidence(log, wanted=lambda _: BEFORE), [make.result()])
    assert outcomes(log) == ["did not land"]


@pytest.mark.parametrize(
    ("fields", "findings"),
    [
        pytest.param({"wanted": lambda _: BEFORE, "expect": BEFORE}, (), id="another is expected"),
        pytest.param({"in_flight": lambda _: "under way"}, (), id="between its steps"),
        pytest.param({"tracked": (replace(make.tracked(), request=None),)}, (), id="certmonger is silent"),
        pytest.param({}, (make.pending("saved"),), id="too early"),
        pytest.param({"log": (), "renewal": lambda _: None}, (), id="no log"),
    ],
)
def test_nothing_is_said(
    log: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], findings: tuple[Finding, ...]
) -> None:
    """What is not known yet, and what is compared with another certificate than the log's, is not written."""
    monkeypatch.setattr(landing, "holdings", lambda *_: (Holding("saved", "x", landing.OLDER),))
    assert verification.record(evidence(log, **fields), [replace(make.result(), findings=findings)]) == []
    assert outcomes(log) == []


def test_store_that_cannot_be_read_is_its_own_trouble(log: Path) -> None:
    """The outcome of a certificate is written though another's store cannot be read."""
    blind = make.tracked("", location="/etc/blind.pem")
    seen = evidence(log)

    def renewal(tracked: Any) -> Any:
        if tracked is blind:
            raise StoreError("/etc/blind.pem", "is a FIFO, not a file")
        return seen.log[0]

    seen.tracked, seen.renewal = (blind, make.tracked()), renewal
    verification.record(seen, [make.result()])
    assert outcomes(log) == ["landed"]

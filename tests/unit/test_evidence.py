# SPDX-License-Identifier: MIT
"""Evidence: many stores at once, and certmonger that cannot be asked."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from certwitness import certmonger, config, host
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from tests.unit import empty_host
from tests.unit import findings_factory as make

PATIENCE_S = 30


@pytest.fixture
def there(tmp_path: Path) -> host.Host:
    """An IPA server on which nothing can be reached."""
    return host.load(config.load(empty_host.configure(tmp_path)))


def test_many_files(there: host.Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many certificates are tracked, their readers do not wait for one another's turn."""
    requests = tuple(
        make.request(id=str(number), storage="FILE", location=str(tmp_path / f"{number}.pem"), nickname="")
        for number in range(500)
    )
    monkeypatch.setattr(certmonger, "read", lambda _: certmonger.Certmonger(requests, ()))
    seen: list[object] = []

    def look() -> None:
        with Evidence(there) as evidence:
            seen.extend(evidence.held(tracked) for tracked in evidence.tracked)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    looker.join(PATIENCE_S)
    assert seen == [None] * 500


def test_reads_once(there: host.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is not tried again, and everybody hears the same."""
    calls: list[str] = []

    def fail(bus: str) -> None:
        calls.append(bus)
        raise StoreError("certmonger", "silent")

    monkeypatch.setattr(certmonger, "read", fail)
    with Evidence(there) as evidence:
        for _ in range(3):
            with pytest.raises(StoreError, match="silent"):
                evidence.requests  # noqa: B018
    assert len(calls) == 1


def test_agent_that_cannot_be_read(there: host.Host, tmp_path: Path) -> None:
    """Without certmonger, a file of the agent's that cannot be read is one certificate's trouble, not that of all."""
    os.mkfifo(tmp_path / "ra.pem")
    with Evidence(there) as evidence:
        assert [tracked.name for tracked in evidence.tracked] == [str(tmp_path / "ra.pem")]


def test_nothing_is_left(there: host.Host) -> None:
    """A look that is over leaves neither threads nor descriptors, however many there were."""
    with Evidence(there) as evidence:
        evidence.tracked  # noqa: B018

    def settled() -> tuple[int, int]:
        deadline = time.monotonic() + PATIENCE_S
        while any(one.name.startswith("evidence") for one in threading.enumerate()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = settled()
    for _ in range(20):
        with Evidence(there) as evidence:
            evidence.tracked  # noqa: B018
    assert settled() == before

# SPDX-License-Identifier: MIT
"""A certmonger made of dictionaries, and a place with helpers, hooks and drop-ins, for the registration's tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

from certwitness import bus, certmonger, places, submit
from certwitness.bus import Call
from certwitness.errors import StoreError
from certwitness.registration import apply, wrapping
from certwitness.registration.wrapping import DROP_INS, GUARD
from certwitness.save import POST_SAVE, PRE_SAVE

ROOT = "/org/fedorahosted/certmonger"
AGENT = "dogtag-ipa-ca-renew-agent"
SUBSYSTEM = "subsystemCert cert-pki-ca"
Properties = dict[str, tuple[str, Any]]


@dataclass
class FakeCertmonger:
    """Answers what certwitness asks. `objects`: D-Bus path -> properties. `after` is called with each change that was
    made, before it is answered; `asked` are all calls but those that read."""

    objects: dict[str, Properties] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    after: Callable[[Call], None] = lambda _call: None
    asked: list[Call] = field(default_factory=list)
    down: bool = False

    def ca(self, name: str, helper: str, kind: str = "EXTERNAL") -> str:
        """Add a CA; returns its path."""
        path = f"{ROOT}/cas/CA{len(self.objects)}"
        self.objects[path] = {"nickname": ("s", name), "external-helper": ("s", helper)}
        self.kinds[path] = kind
        return path

    def request(self, identifier: str, nickname: str, *, before: str = "", after: str = "", uid: str = "") -> str:
        """Add a request of a certificate in a database; returns its path."""
        path = f"{ROOT}/requests/Request{len(self.objects)}"
        uid = uid or str(os.geteuid())
        self.objects[path] = {
            "nickname": ("s", identifier),
            "status": ("s", "MONITORING"),
            "stuck": ("b", False),
            "cert-storage": ("s", "NSSDB"),
            "cert-database": ("s", "sql:/etc/pki/pki-tomcat/alias"),
            "cert-nickname": ("s", nickname),
            "cert-presave-command": ("s", before),
            "cert-presave-uid": ("s", uid),
            "cert-postsave-command": ("s", after),
            "cert-postsave-uid": ("s", uid),
        }
        return path

    def value(self, name: str, what: str = "external-helper") -> str:
        """A property of the object of this nickname."""
        found = next(one for one in self.objects.values() if one["nickname"][1] == name)
        return str(found[what][1])

    def connection(self, _bus: str, _timeout_s: float) -> FakeConnection:
        """Stands in for bus.Connection."""
        if self.down:
            raise StoreError("certmonger", "is not running: systemctl start certmonger")
        return FakeConnection(self)

    def answer(self, call: Call) -> Sequence[Any] | None:
        """What certmonger returns."""
        if self.down:
            raise StoreError("certmonger", "is not running: systemctl start certmonger")
        if call.method in ("get_requests", "get_known_cas"):
            kind = "/requests/" if call.method == "get_requests" else "/cas/"
            return ([path for path in self.objects if kind in path],)
        there = self.objects.get(call.path)
        if there is None:
            return None
        if call.method == "get_type":
            return (self.kinds[call.path],)
        if call.method == "GetAll":
            return (dict(there),)
        self.asked.append(call)
        if call.method == "Set":
            there[call.arguments[1]] = call.arguments[2]
            self.after(call)
            return ()
        assert call.method == "modify"
        there.update(call.arguments[0])
        self.after(call)
        return (True, call.path)


class FakeConnection:
    """Stands in for a bus.Connection."""

    def __init__(self, there: FakeCertmonger) -> None:
        self._there = there

    def ask(self, calls: Sequence[Call]) -> list[Sequence[Any] | None]:
        return [self._there.answer(call) for call in calls]

    def allow(self, timeout_s: float) -> None:
        assert timeout_s > 0

    def process(self) -> int:
        """That of nobody."""
        return 0

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


@dataclass
class Place:
    """A host: `ours` has our helpers and hooks, `real` the real helpers, `ipa` FreeIPA's hooks."""

    directory: Path
    certmonger: FakeCertmonger = field(default_factory=FakeCertmonger)

    @property
    def ours(self) -> str:
        return str(self.directory / "certwitness")

    @property
    def real(self) -> str:
        return str(self.directory / "libexec")

    @property
    def ipa(self) -> str:
        return str(self.directory / "ipa")

    @property
    def units(self) -> Path:
        return self.directory / "units"

    @property
    def config(self) -> str:
        return str(self.directory / "certwitness.conf")

    def fill(self) -> None:
        """The CAs and two requests of a FreeIPA server."""
        helper = f"{self.real}/{AGENT}-submit"
        self.certmonger.ca("SelfSign", "", "INTERNAL:SELF")
        self.certmonger.ca("IPA", f"{self.real}/{GUARD} {self.real}/ipa-submit")
        for variant, option in (("", ""), ("-reuse", " --reuse-existing"), ("-selfsigned", " --force-self-signed")):
            self.certmonger.ca(f"{AGENT}{variant}", f"{helper} -vv{option}")
        self.certmonger.ca("other", "/bin/echo other")
        hooks = {"before": f"{self.ipa}/stop_pkicad", "after": f'{self.ipa}/renew_ca_cert "{SUBSYSTEM}"'}
        self.certmonger.request("20261123190541", SUBSYSTEM, **hooks)
        self.certmonger.request("20261123190542", "Server-Cert", after=f"{self.ipa}/restart_dirsrv EXAMPLE-COM")
        self.certmonger.request("20261123190543", "no hooks")


def program(path: Path | str) -> Path:
    """A program that does nothing."""
    path = Path(path)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A host with certwitness installed in it, and certmonger."""
    there = Place(tmp_path)
    for name in (*DROP_INS, "submit", PRE_SAVE, POST_SAVE, "start-gate"):
        program(f"{there.ours}/{name}")
    for name in (*DROP_INS, GUARD):
        program(f"{there.real}/{name}")
    for name in ("stop_pkicad", "renew_ca_cert", "restart_dirsrv"):
        program(f"{there.ipa}/{name}")
    for unit in ("httpd.service", "dirsrv@.service"):
        source = tmp_path / "install" / f"{unit}.d" / "certwitness-gate.conf"
        source.parent.mkdir(parents=True)
        source.write_text(f"# why\n[Service]\nExecStartPre=+/bin/sh /usr/libexec/certwitness/start-gate {unit}\n")
    there.units.mkdir()
    sections = {"events": f"file = {tmp_path}/log/events.jsonl", "state": f"directory = {tmp_path}/state"}
    sections["registration"] = f"units = {there.units}\nreapply = yes"
    Path(there.config).write_text("".join(f"[{name}]\n{text}\n" for name, text in sections.items()))
    monkeypatch.setattr(places, "HELPERS", there.ours)
    monkeypatch.setattr(places, "HOOKS", there.ours)
    monkeypatch.setattr(places, "GATE_UNITS", str(tmp_path / "install"))
    for module in (wrapping, submit):
        monkeypatch.setattr(module, "HELPER_DIRECTORIES", (there.real,))
    monkeypatch.setattr(wrapping, "DEFAULT_PATH", there.config)
    monkeypatch.setattr("certwitness.registration.units.DEFAULT_PATH", there.config)
    for module in (bus, certmonger, apply):
        monkeypatch.setattr(module, "Connection", there.certmonger.connection)
    return there

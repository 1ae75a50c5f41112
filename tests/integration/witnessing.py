# SPDX-License-Identifier: MIT
"""A full CA server under our eyes: all helpers ours, and its saves witnessed by hooks, or by `certwitness watch`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from certwitness.events import outcomes
from tests.integration.conftest import HELPERS, PATIENCE_S, REPOSITORY, Event, Witnessed
from tests.lab.tracked import ALL, IPA, VARIANTS, request_id, tracking
from tests.lab.world import HELPER, World

HOOKS = REPOSITORY / "hooks"
BY_HOOKS, BY_WATCH = "hooks", "watch"


class Saves(Witnessed):
    """A full world with our helper for every CA."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.register_all()

    def register_all(self) -> None:
        """Our helpers in front of FreeIPA's, and behind the guard."""
        settings, config = self.world.settings, f"--config {self.world.certwitness_config}"
        for name, options in VARIANTS.items():
            self.world.register(name, f"{HELPERS / HELPER} {config} -vv{options}")
        self.world.register(IPA, f"{settings.helpers / 'ipa-server-guard'} {HELPERS / 'ipa-submit'} {config}")

    def name(self, certificate: str) -> str:
        """How certwitness calls one of tracked.ALL: the nickname, or the file."""
        request = self.world.request(certificate)
        return certificate if "nickname=" in request["certificate"] else request["certificate"].split("'")[1]

    @contextlib.contextmanager
    def by(self, mode: str) -> Iterator[None]:
        """Witness the saves until the end of the with statement; then the world is as it was, and its log empty."""
        try:
            if mode == BY_HOOKS:
                self._wrap()
                yield
            else:
                with self._watching():
                    yield
        finally:
            self.world.reset()
            self.register_all()
            self.forget()
            self.world.settings.journal.write_text("")

    def outcome(self, certificate: str) -> str:
        """Renew, and wait until it is said whether it landed: in our words."""
        nickname = certificate if certificate == self.name(certificate) else request_id(certificate)
        before = len(self._verified(nickname))
        assert self.world.renew(certificate)["status"] == "MONITORING"
        deadline = time.monotonic() + PATIENCE_S
        while len(self._verified(nickname)) == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody said whether {certificate} landed: {self.events()}")
            time.sleep(0.05)
        return outcomes.of_event(self._verified(nickname)[-1]).words()

    def admin(self, *command: str) -> None:
        """Run a command as an administrator of this world. Raises CalledProcessError."""
        path = f"{self.world.settings.path('bin')}:{os.environ['PATH']}"
        subprocess.run(command, env={**os.environ, "PATH": path}, check=True, capture_output=True, timeout=120)

    def _verified(self, nickname: str) -> list[Event]:
        return [one for one in self.events() if one["event"] == "verified" and one["nickname"] == nickname]

    def _wrap(self) -> None:
        settings, config = self.world.settings, self.world.certwitness_config
        # journalctl is the world's.
        env = f"/usr/bin/env PATH={settings.path('bin')}:/usr/bin:/bin"
        for certificate in ALL:
            how = tracking(settings, certificate)
            ours = f'--config {config} --cert "{self.name(certificate)}" --'
            hooks = ["-C", f"{env} {HOOKS}/post-save {ours} {how.after}"]
            if how.before:
                hooks += ["-B", f"{env} {HOOKS}/pre-save {ours} {how.before}"]
            self.world.certmonger.getcert("start-tracking", "-i", request_id(certificate), *hooks)
        for certificate in ALL:
            self.world.certmonger.wait_for(request_id(certificate))

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        program = "import sys; from certwitness.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--config", str(self.world.certwitness_config), "watch"]
        said = self.world.settings.path("watch.log")
        path = f"{self.world.settings.path('bin')}:{os.environ['PATH']}"  # journalctl is the world's
        with (
            open(said, "wb") as output,
            subprocess.Popen(command, cwd="/", stdout=output, stderr=output, env={**os.environ, "PATH": path}) as watch,
        ):
            try:
                # It listens once it has asked the bus for certmonger's signals, and read all requests.
                deadline = time.monotonic() + PATIENCE_S
                while b"watching" not in said.read_bytes():
                    if time.monotonic() > deadline or watch.poll() is not None:
                        raise TimeoutError(f"certwitness watch does not come up: {said.read_text()}")
                    time.sleep(0.05)
                yield
            finally:
                watch.terminate()
                watch.wait(PATIENCE_S)

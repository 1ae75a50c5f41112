# SPDX-License-Identifier: MIT
"""What FreeIPA compares of a request (freeipa.md 2.4 and 2.5), and what of that the registration changes.

The rules stand here as facts; tests/integration/test_healthcheck.py asks the real ipa-healthcheck.
"""

from __future__ import annotations

import pytest

from certwitness.cli import run
from tests.unit.registration_factory import SUBSYSTEM, Place, Properties, place

__all__ = ["place"]

PRE, POST = "cert-presave-command", "cert-postsave-command"
# ipa-server-upgrade and IPACertTracking look for a request in which all of these are as FreeIPA set them.
OF_DOGTAG = ("cert-database", "cert-nickname", PRE, POST)
OF_DIRSRV = ("cert-database", "cert-nickname", POST)


def tracked(place: Place, nickname: str) -> Properties:
    return next(one for one in place.certmonger.objects.values() if one.get("cert-nickname", ("", ""))[1] == nickname)


@pytest.mark.parametrize(
    ("options", "same"), [((), True), (("--gate",), True), (("--hooks",), False), (("--hooks", "--gate"), False)]
)
def test_only_hooks_are_compared(place: Place, options: tuple[str, ...], same: bool) -> None:
    """A CA's helper is compared by neither, so without --hooks both find what they look for."""
    place.fill()
    expected = {
        name: {key: tracked(place, name)[key] for key in keys}
        for name, keys in ((SUBSYSTEM, OF_DOGTAG), ("Server-Cert", OF_DIRSRV))
    }

    def found() -> list[bool]:
        return [
            all(tracked(place, name)[key] == value for key, value in keys.items()) for name, keys in expected.items()
        ]

    assert run(["--config", place.config, "register", "--yes", *options]) == 0
    assert found() == [same, same]
    assert run(["--config", place.config, "unregister", "--hooks", "--yes"]) == 0
    assert found() == [True, True]

# SPDX-License-Identifier: MIT
"""certmonger's real ipa-submit, told where the world's IPA API is and that there is no Kerberos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from tests.lab.freeipa.handlers import REAL_HELPERS
from tests.lab.freeipa.server import Server

# With a user and a password it asks for no ticket; it sends neither (certmonger 0.79.17, reference: lab.md).
NO_KERBEROS = ("-u", "nobody", "-W", "nothing")


def main(server: Server, arguments: Sequence[str]) -> NoReturn:
    """Becomes it."""
    real = next(path for path in (f"{directory}/ipa-submit" for directory in REAL_HELPERS) if os.path.exists(path))
    url = f"https://localhost:{server.settings.https_port}/ipa/json"
    os.execv(real, [real, "-J", url, "-c", str(server.settings.ca_certificate), *NO_KERBEROS, *arguments])

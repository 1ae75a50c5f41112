# SPDX-License-Identifier: MIT
"""Starts a stand-in: ``python -I run.py WORLD PROGRAM [ARG...]``, called by the shell wrapper that bears its name.

certmonger starts helpers with descriptor 0 closed and hooks with 0, 1 and 2 closed; they are opened on /dev/null
before anything else, or a socket would become somebody's stdout.
"""

import importlib
import os
import sys
from pathlib import Path

PROGRAMS = {
    "dogtag-ipa-ca-renew-agent-submit": "renew_agent_submit",
    "ipa-server-guard": "server_guard",
    "stop_pkicad": "stop_pkicad",
    "renew_ca_cert": "renew_ca_cert",
    "renew_ra_cert_pre": "renew_ra_cert_pre",
    "renew_ra_cert": "renew_ra_cert",
    "restart_httpd": "restart_httpd",
    "restart_dirsrv": "restart_dirsrv",
    "renew_kdc_cert": "renew_kdc_cert",
    "ipa-submit": "ipa_submit",
    "systemctl": "systemctl",
    "ipa": "ipa",
    "ipa-certupdate": "ipa_certupdate",
    "journalctl": "journalctl",
    "ipa-server-upgrade": "ipa_server_upgrade",
}


def main() -> int:
    """Import the program's module and call its main(server, arguments)."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tests.lab.freeipa.server import Server

    directory, program, *arguments = sys.argv[1:]
    module = importlib.import_module(f"tests.lab.freeipa.{PROGRAMS[program]}")
    return int(module.main(Server(directory, program), arguments))


if __name__ == "__main__":
    while os.open(os.devnull, os.O_RDWR) < 3:
        pass
    if sys.stdout is None:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open to the end)
    sys.exit(main())

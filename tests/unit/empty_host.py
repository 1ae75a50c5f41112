# SPDX-License-Identifier: MIT
"""An IPA server on which nothing can be reached: no certmonger, no 389-ds, no Dogtag, and no file but what a test puts
there. All of it is below one directory."""

from __future__ import annotations

from pathlib import Path

REALM = "EXAMPLE.TEST"
NAME = "ipa.example.test"
# Port 1 on the loopback: refused at once.
NOWHERE = "127.0.0.1:1"


def configure(directory: Path) -> str:
    """The configuration of such a host: its log is log/events.jsonl, its RA certificate ra.pem, below `directory`."""
    paths = {
        "ca_certificate": "ca.crt",
        "pki_nssdb": "alias",
        "pki_password_file": "password.conf",
        "ra_certificate": "ra.pem",
        "ra_key": "ra.key",
        "cs_cfg": "ca/CS.cfg",
        "certmap": "dirsrv/certmap.conf",
        "renewal_lock": "renewal.lock",
        "server_xml": "server.xml",
        "proxy_conf": "proxy.conf",
    }
    lines = [
        f"[events]\nfile = {directory}/log/events.jsonl",
        f"[certmonger]\nbus = unix:path={directory}/no-bus\nrequests_directory = {directory}/requests",
        f"[directory]\nuri = ldapi://{str(directory).replace('/', '%2F')}%2Fsocket\nldaps_uri = ldaps://{NOWHERE}",
        f"[services]\nhttps = {NOWHERE}\nldaps = {NOWHERE}\npki = {NOWHERE}",
        f"[ipa]\nrealm = {REALM}\nhost = {NAME}",
        *(f"{key} = {directory}/{path}" for key, path in paths.items()),
    ]
    path = directory / "certwitness.conf"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return str(path)

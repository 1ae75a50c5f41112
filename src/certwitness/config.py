# SPDX-License-Identifier: MIT
"""The configuration file: a strict INI, every key with a default that is right on an IPA server.

It stands on the helper's hot path, so it is read without `configparser` (7 ms with what that imports).
What the file may hold is the same: `[section]`, `key = value`, comments that start a line with `#` or `;`.
"""

from __future__ import annotations

import os

from certwitness.errors import ConfigurationError

DEFAULT_PATH = "/etc/certwitness/certwitness.conf"
# What a value must be. `host.py` has the defaults of all that the helpers do not need.
PATH, TEXT, URI, HOST_PORT, YES_NO, BUS, SECONDS = "path", "text", "uri", "host:port", "yes or no", "bus", "seconds"
# section: {key: kind}; "*": any key (in [helpers] the keys are names of helpers).
KNOWN: dict[str, dict[str, str]] = {
    "events": {"file": PATH},
    "state": {"directory": PATH},
    "helpers": {"*": PATH},
    "certmonger": {"bus": BUS, "requests_directory": PATH},
    "ipa": {
        "realm": TEXT,
        "basedn": TEXT,
        "host": TEXT,
        "ca_certificate": PATH,
        "pki_nssdb": PATH,
        "pki_password_file": PATH,
        "ra_certificate": PATH,
        "ra_key": PATH,
        "cs_cfg": PATH,
        "certmap": PATH,
        "renewal_lock": PATH,
        "server_xml": PATH,
        "proxy_conf": PATH,
    },
    "directory": {"uri": URI, "ldaps_uri": URI},
    "services": {"https": HOST_PORT, "ldaps": HOST_PORT, "pki": HOST_PORT},
    "checks": {"bind": YES_NO},
    "hooks": {"look_s": SECONDS, "landing_s": SECONDS},
    "registration": {"reapply": YES_NO, "units": PATH},
}
LARGEST = 1 << 20
LONGEST_S = 3600


class Config:
    """What the configuration says.

    `path` is the file that was read, or "" where there was none; `events_file` and `state_directory` are
    absolute paths; `helpers` maps a helper's name to the path of the real one; `look_s` and `landing_s` are how many
    seconds a hook looks at the stores at the most, before and after its command; `reapply` whether lost registrations
    are put back, and `units` where systemd's drop-ins go; `values` is all that the file sets, by section and key.
    """

    def __init__(self, path: str = "", values: dict[str, dict[str, str]] | None = None) -> None:
        values = values or {}
        self.path = path
        self.events_file = values.get("events", {}).get("file", "/var/log/certwitness/events.jsonl")
        self.state_directory = values.get("state", {}).get("directory", "/var/lib/certwitness")
        self.helpers = values.get("helpers", {})
        hooks = values.get("hooks", {})
        self.look_s, self.landing_s = int(hooks.get("look_s", "20")), int(hooks.get("landing_s", "30"))
        registration = values.get("registration", {})
        self.reapply = registration.get("reapply", "no") == "yes"
        self.units = registration.get("units", "/etc/systemd/system")
        self.values = values


def load(path: str | None = None) -> Config:
    """Read `path`, or the default file if there is one; without either, the defaults.

    Raises ConfigurationError, whose line names the file, the line number and what is wrong: unreadable, not a
    regular file, writable by others than its owner, owned by somebody else than root and the caller,
    malformed, an unknown section or key, a value of the wrong kind (a path that is not absolute, no port, …).
    """
    try:
        text = _read(path or DEFAULT_PATH)
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigurationError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigurationError(f"{path or DEFAULT_PATH}: {error.strerror}") from None
    return Config(path or DEFAULT_PATH, _parse(path or DEFAULT_PATH, text))


def usable(path: str | None, problems: list[str]) -> Config:
    """The configuration for what certmonger runs: one that cannot be used is ignored, and `problems` says so."""
    try:
        return load(path)
    except ConfigurationError as error:
        problems.append(f"configuration ignored: {error}")
        return Config()


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000:
            raise ConfigurationError(f"{path}: not a regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(f"{path}: owned by uid {status.st_uid}; chown root {path}")
        if status.st_mode & 0o022:
            raise ConfigurationError(f"{path}: others than its owner can write it; chmod go-w {path}")
        data = os.read(descriptor, LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise ConfigurationError(f"{path}: larger than {LARGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8") from None


def _parse(path: str, text: str) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        where = f"{path}, line {number}"
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
            if section not in KNOWN:
                raise ConfigurationError(f"{where}: unknown section [{section}]; known: {', '.join(KNOWN)}")
            values.setdefault(section, {})
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key:
            raise ConfigurationError(f"{where}: neither a [section] nor key = value")
        if not section:
            raise ConfigurationError(f"{where}: {key} stands before the first [section]")
        known = KNOWN[section]
        kind = known.get(key) or known.get("*")
        if kind is None:
            raise ConfigurationError(f"{where}: unknown key {key} in [{section}]; known: {', '.join(known)}")
        if key in values[section]:
            raise ConfigurationError(f"{where}: {key} is set a second time in [{section}]")
        wanted = _fault(kind, value)
        if wanted:
            raise ConfigurationError(f"{where}: {key} must be {wanted}, not {value!r}")
        values[section][key] = value
    return values


def _fault(kind: str, value: str) -> str:
    """What a value of this kind must be, where it is not; "" where it is."""
    if not value:
        return "set to something"
    if kind == PATH:
        return "" if value[0] == "/" else "an absolute path"
    if kind == URI:
        return "" if value.partition("://")[0] in ("ldapi", "ldap", "ldaps") and "://" in value else "an LDAP URI"
    if kind == HOST_PORT:
        host, _, port = value.rpartition(":")
        return "" if host and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536 else "host:port"
    if kind == YES_NO:
        return "" if value in ("yes", "no") else "yes or no"
    if kind == SECONDS:
        fits = value.isdecimal() and value.isascii() and len(value) <= 4 and 0 < int(value) <= LONGEST_S
        return "" if fits else f"whole seconds, 1 to {LONGEST_S}"
    if kind == BUS:
        return "" if value in ("system", "session") or ":" in value else "system, session or a D-Bus address"
    return ""

# SPDX-License-Identifier: MIT
"""The error tree: every message is one line that names what is wrong and where.

CertwitnessError
├── ConfigurationError   a configuration file that cannot be used
├── LogError             an event log that cannot be read or written
├── CertificateError     bytes that are no certificate, or no signing request
└── StoreError           a store that could not be read: nothing is known of what it holds
"""

from __future__ import annotations


class CertwitnessError(Exception):
    """Anything of ours that an administrator should read as one line, without a traceback."""


class ConfigurationError(CertwitnessError):
    """The configuration file cannot be used: unreadable, malformed, an unknown key, or writable by others."""


class LogError(CertwitnessError):
    """The event log cannot be read or written: missing, not a regular file, not permitted, another schema."""


class CertificateError(CertwitnessError):
    """Bytes that should be a certificate or a certificate signing request are not."""


class StoreError(CertwitnessError):
    """A store could not be read. It says nothing of what the store holds: UNKNOWN, never "missing".

    `store` is its short name ("directory", "certmonger", "/etc/pki/pki-tomcat/alias"), `reason` one line.
    """

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store}: {reason}")
        self.store = store
        self.reason = reason

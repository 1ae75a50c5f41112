# SPDX-License-Identifier: MIT
"""The error tree: every message is one line that names what is wrong and where.

CertwitnessError
├── ConfigurationError   a configuration file that cannot be used
├── LogError             an event log that cannot be read or written
└── CertificateError     bytes that are no certificate, or no signing request
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

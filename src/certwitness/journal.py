# SPDX-License-Identifier: MIT
"""One line to the system journal, for what the event log cannot show. On the helper's hot path: `syslog` is loaded
only when there is something to say."""

from __future__ import annotations


def report(line: str) -> None:
    """Write `line` to syslog: ident certwitness, facility daemon, level error. Never raises."""
    try:
        import syslog

        syslog.openlog("certwitness", syslog.LOG_PID, syslog.LOG_DAEMON)
        safe = "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in line)
        syslog.syslog(syslog.LOG_ERR, safe)
    except Exception:  # nothing is left to tell it to
        return

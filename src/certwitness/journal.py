# SPDX-License-Identifier: MIT
"""One line to the system journal, for what the event log cannot show. On the helper's hot path: `_socket` is loaded
only when there is something to say.

Not by syslog(3): that waits, without a limit, for a journal that takes nothing, and certmonger would wait with us.
"""

from __future__ import annotations

import os
import time

DEV_LOG = "/dev/log"
DAEMON = 3 << 3  # facility, RFC 3164 section 4.1.1
LEVELS = {"crit": 2, "err": 3, "warning": 4, "notice": 5, "info": 6}
LONGEST = 8000  # bytes: what rsyslog and journald take whole


def report(line: str, path: str = DEV_LOG, *, level: str = "err") -> None:
    """Send `line` to the syslog socket at `path` as syslog(3) would: ident certwitness, facility daemon, a level of
    LEVELS.

    Never waits and never raises: where nobody takes it, it is lost.
    """
    try:
        import _socket

        safe = "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in line)
        stamp = time.strftime("%b %e %H:%M:%S")
        message = f"<{DAEMON | LEVELS[level]}>{stamp} certwitness[{os.getpid()}]: {safe}"[:LONGEST].encode()
        log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        log.sendto(message, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL, path)
        log.close()
    except Exception:  # nothing is left to tell it to
        return

# SPDX-License-Identifier: MIT
"""The test lab: a FreeIPA CA server's certificate renewal in a temporary directory, real where it can be.

Real: certmonger, D-Bus, dogtag-ipa-renew-agent-submit, NSS databases, 389-ds. Stand-ins: Dogtag (dogtag.py),
FreeIPA's helpers and hooks (freeipa/), systemd (services.py), syslog (<world>/log/journal).

    from tests.lab.world import World              # all of it
    from tests.lab.certmonger import Certmonger    # certmonger alone, in 0.05 s
"""

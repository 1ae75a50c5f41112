# SPDX-License-Identifier: MIT
"""Stand-ins for FreeIPA's certmonger helpers and hooks, from the facts in freeipa.md; none of FreeIPA's code is here.

They read their world's settings, talk to the real 389-ds, and run certmonger's real dogtag-ipa-renew-agent-submit.
What FreeIPA sends to syslog they append to <world>/log/journal, as ``ident[pid]: LEVEL message``.
"""

# SPDX-License-Identifier: MIT
"""Every inconsistency of freeipa.md section 6 that one host can have, made one at a time in a full world.

    with World(full=True) as world:
        BREAKS["pkidbuser-old-certificate"].apply(world)
        ...
        world.reset()  # healthy again

`python -m tests.lab breaks` lists them, `python -m tests.lab break NAME...` gives a shell in a world with them.
Each is made by what it is in life: a renewal that landed in every store but one, a flag that was lost, a restart that
did not happen. Several may be applied one after the other.
"""

from tests.lab.breaks import generic, people, renewal, server, stores, tracking
from tests.lab.breaks.registry import BREAKS, GENERIC, Break

__all__ = ["BREAKS", "GENERIC", "Break", "generic", "people", "renewal", "server", "stores", "tracking"]

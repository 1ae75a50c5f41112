# SPDX-License-Identifier: MIT
"""Putting certwitness in front of certmonger's helpers and hooks, taking it out again, and seeing what drifted."""

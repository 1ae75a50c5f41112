# SPDX-License-Identifier: MIT
"""Events, renewals and findings for people and for machines."""

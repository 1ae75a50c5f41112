# SPDX-License-Identifier: MIT
"""Readers of the places where a renewed certificate must land. Each only looks; each raises StoreError if it cannot."""

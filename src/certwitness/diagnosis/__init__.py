# SPDX-License-Identifier: MIT
"""From what a helper said to what it means and what to do."""

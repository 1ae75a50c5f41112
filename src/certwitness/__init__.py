# SPDX-License-Identifier: MIT
"""certwitness: witness every certmonger renewal on a FreeIPA server."""

__version__ = "0.1.0"

# SPDX-License-Identifier: MIT
"""Fields of events as they are taken out of the log: it is read, not trusted, so any of them may be of any type."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any


def text(value: object) -> str:
    """A field that should be text, "" if it is something else."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> dict[str, Any]:
    """A field that should be an object, {} if it is something else."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict[str, Any]]:
    """A field that should be a list of objects, [] if it is something else; what is no object there counts as {}."""
    return [mapping(one) for one in value] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """A field that should be a list of texts, [] if it is something else; what is no text there is left out."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def shared(value: object) -> dict[str, Any]:
    """An object whose keys and texts are kept once for all renewals: halves what a renewal takes."""
    return {
        sys.intern(key): sys.intern(field) if isinstance(field, str) else field for key, field in mapping(value).items()
    }


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one timestamp of the log to another; 0 where one cannot be read."""
    try:
        return (datetime.fromisoformat(later[:19]) - datetime.fromisoformat(earlier[:19])).total_seconds()
    except ValueError:
        return 0

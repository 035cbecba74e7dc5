"""Counts and sizes as texts show them."""

from __future__ import annotations

from collections.abc import Sequence

NAMES_SHOWN = 10
"""Names of a long list that a message holds."""


def counted(count: int, noun: str) -> str:
    """Return `1 archive`, `2 archives`, `1,234 archives`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_of(names: Sequence[object], most: int = 5, between: str = ", ") -> str:
    """Return the first names, with ` ...` after them where there are more."""
    return between.join(map(str, names[:most])) + (" ..." if len(names) > most else "")


def bytes_text(count: float) -> str:
    """Return a size such as `1.5 GB`, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"

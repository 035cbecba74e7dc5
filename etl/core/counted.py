"""Counts with their nouns, as texts show them."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return `1 archive`, `2 archives`, `1,234 archives`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

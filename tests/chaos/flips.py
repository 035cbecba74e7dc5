"""Bits that flip, at places from a seed."""

from __future__ import annotations

import random

from tests.chaos.arena import LONG

FLIPS = 1000 if LONG else 6
SEED = 20261129


def flipped(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return the bytes with one bit flipped, and which one."""
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed), f"bit {bit} of byte {place}"

"""Layouts and indices of the shards that were read, held within a bound of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.store.shard_layout import ShardLayout

HELD_BYTES = 200_000_000
_KEPT_SHARE = 0.9

# Objects around an index: its key and layout, their tuples, the array's head, entries of the table.
_OBJECT_BYTES = 1200

Key = tuple[str, int]
"""A volume's path in the store, and the level."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldIndex:
    """The layout of a level and the index of its shard: first byte and length of each chunk, (z, y, x, 2).

    `layout` is None for an array that only zarr-python reads; its index is empty.
    """

    layout: ShardLayout | None
    index: NDArray[np.unsignedinteger[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return self.index.nbytes + _OBJECT_BYTES


class HeldIndices:
    """The indices of one store that were used last.

    Volumes never change, so a held index stays right. There is no lock, which a forked process could find
    closed: an index that two threads load at once is loaded twice.

    Args:
        most_bytes: memory that they may take together.
    """

    def __init__(self, most_bytes: float = HELD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: dict[Key, HeldIndex] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all take."""
        return sum(held.nbytes for held in list(self._held.values()))

    def get(self, key: Key, load: Callable[[], HeldIndex]) -> HeldIndex:
        """Return an index, loaded if it is not held; the one used least recently makes room for it."""
        held = self._held.pop(key, None)
        if held is None:
            held = load()
            self._bytes += held.nbytes
        self._held[key] = held
        if self._bytes > self._most_bytes:
            self._make_room()
        return held

    def drop(self, key: Key) -> None:
        """Forget an index."""
        self._held.pop(key, None)

    def _make_room(self) -> None:
        """Forget the oldest until some room is left, so that the next index need not count all again."""
        total = self.nbytes
        for key, held in list(self._held.items()):
            if total <= math.floor(_KEPT_SHARE * self._most_bytes):
                break
            self.drop(key)
            total -= held.nbytes
        self._bytes = total

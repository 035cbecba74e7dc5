"""Indices of shards and decoded chunks that were read last, held within a bound of bytes."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from etl.store.shard_layout import ShardLayout

INDEX_BYTES = 200_000_000
CACHE_MB = 64.0
"""Decoded chunks that a store holds: enough for one layer of the default chunks across most volumes."""

# Objects around an index: its key and layout, their tuples, the array's head, entries of the table.
_OBJECT_BYTES = 1200

Level = tuple[str, int]
"""A volume's path in the store, and the level."""
Chunk = tuple[str, int, int, int]
"""A shard's name, and the number of a chunk along (z, y, x)."""


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Key = TypeVar("Key")
Value = TypeVar("Value", bound=_Sized)


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


class LastUsed(Generic[Key, Value]):
    """Values that were used last.

    Volumes never change, so what is held stays right. There is no lock, which a forked process could find
    closed: a value that two threads load at once is loaded twice. Threads that put at once may lose a sum, so
    all are counted again once as many were put as are held.

    Args:
        most_bytes: memory that they may take together; a value that takes more alone is not held.
    """

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes = most_bytes
        self._held: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = self._puts = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all take."""
        return sum(held.nbytes for held in list(self._held.values()))

    def find(self, key: Key) -> Value | None:
        """Return a value; None where it is not held."""
        held = self._held.pop(key, None)
        if held is not None:
            self._held[key] = held
        return held

    def get(self, key: Key, load: Callable[[], Value]) -> Value:
        """Return a value, loaded if it is not held."""
        held = self.find(key)
        if held is None:
            held = load()
            self.put(key, held)
        return held

    def put(self, key: Key, value: Value) -> None:
        """Hold a value; those used least recently make room for it."""
        if value.nbytes > self.most_bytes:
            return
        self.drop(key)
        self._held[key] = value
        self._bytes += value.nbytes
        self._puts += 1
        if self._puts > len(self._held):
            self._bytes, self._puts = self.nbytes, 0
        while self._bytes > self.most_bytes and self._held:
            with contextlib.suppress(KeyError):  # another thread was first
                self._bytes -= self._held.popitem(last=False)[1].nbytes

    def drop(self, key: Key) -> None:
        """Forget a value."""
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.nbytes


@dataclass(frozen=True, eq=False)
class Held:
    """Indices and chunks that are held of one store.

    Attributes:
        indices: of shards.
        chunks: decoded, none of which may be changed.
    """

    indices: LastUsed[Level, HeldIndex] = field(default_factory=lambda: LastUsed(INDEX_BYTES))
    chunks: LastUsed[Chunk, NDArray[Any]] = field(default_factory=lambda: LastUsed(0))

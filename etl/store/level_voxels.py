"""One level of a stored volume as an array that is read lazily; its errors name the shard and the chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.group_metadata import REMEDY, read_metadata
from etl.store.held import Held, HeldIndex
from etl.store.layout import SHARD, Shape
from etl.store.shard_layout import UnknownLayoutError, parse_layout
from etl.store.shard_reader import DamagedShardError, Selector, read_index, read_voxels

if TYPE_CHECKING:
    import zarr

# Most requests to a remote place for a crop, and for one whose index had to be read before.
_REQUESTS, _REQUESTS_COLD = 2, 1


class LevelVoxels:
    """The voxels of one level, axes (z, y, x), read lazily, as `store.array` returns them.

    Indexing by whole numbers, slices and `...` gives a NumPy array, as does one list with slices; `oindex`
    takes lists and arrays of numbers for each axis. `zarr_array()` is the same as a zarr.Array, for all else.

    It holds no open file or connection: it may be pickled, and used in forked and spawned processes.

    Attributes:
        shape: voxels along (z, y, x).
        dtype: int16 in volumes.
        chunks: voxels (z, y, x) that are decoded together.
        fill_value: of voxels that are not stored, and outside the volume: air.
    """

    def __init__(self, objects: Objects, path: str, level: int, held: Held, threads: int = 1) -> None:
        self._objects, self._path, self._level = objects, path, level
        self._held, self.threads = held, threads
        self._is_cold = (path, level) not in held.indices
        layout = self._index().layout
        known: Any = layout or self.zarr_array()
        self.shape: Shape = known.shape
        self.chunks: Shape = known.chunk if layout else known.chunks
        self.dtype: np.dtype[Any] = np.dtype(known.dtype).newbyteorder("=")
        self.fill_value = self.dtype.type(known.fill_value)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_level, (self._objects, self._path, self._level, None, self.threads)

    def __repr__(self) -> str:
        return f"LevelVoxels({self._path!r}, level {self._level}: {self.dtype} {self.shape})"

    ndim = 3

    @property
    def size(self) -> int:
        """Voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        lists = [part for part in parts if not isinstance(part, slice) and np.ndim(part)]
        numbers = [part for part in parts if isinstance(part, int | np.integer)]
        # NumPy pairs them, or moves the list's axis to the front.
        if len(lists) > 1 or (lists and numbers and len(parts) > 2):
            raise IndexError(
                f"{str(key)[:80]} has lists that NumPy pairs; allowed: one list with slices, or "
                "voxels.oindex[...], which reads where they meet; for points, index the array voxels[...]"
            )
        return self.oindex[key]

    @property
    def oindex(self) -> OuterIndexing:
        """Reads by numbers along each axis: `voxels.oindex[[3, 5], :, 10:20]`."""
        return OuterIndexing(self)

    def zarr_array(self) -> zarr.Array[Any]:
        """Return the same voxels as zarr-python reads them.

        On S3 it holds connections: open it in the process that reads it, after a fork.
        """
        import zarr

        return zarr.open_array(f"{self._objects.root}/{self._path}/{self._level}", mode="r", zarr_format=3)

    def read(self, selectors: Sequence[Selector]) -> NDArray[Any]:
        """Return the voxels where numbers along z, y and x meet; all of them inside the volume.

        Raises:
            StoreError: the shard is missing or damaged.
            OSError: it can't be read.
        """
        held = self._index()
        if held.layout is None:
            return np.asarray(self.zarr_array().oindex[tuple(selectors)])
        try:
            return self._read(held, selectors)
        except DamagedShardError as error:
            # A shard that was repaired meanwhile has another index.
            self._held.indices.drop((self._path, self._level))
            now = self._index()
            if now.layout == held.layout and np.array_equal(now.index, held.index):
                raise self._damaged(error) from error
            try:
                return self._read(now, selectors)
            except DamagedShardError as again:
                raise self._damaged(again) from again

    def _read(self, held: HeldIndex, selectors: Sequence[Selector]) -> NDArray[Any]:
        assert held.layout is not None
        lengths = [s.stop - s.start if isinstance(s, slice) else len(s) for s in selectors]
        out = np.empty(lengths, self.dtype)
        requests = _REQUESTS_COLD if self._is_cold else _REQUESTS
        self._is_cold = False
        try:
            read_voxels(
                self._objects,
                self._shard,
                held.layout,
                held.index,
                selectors,
                out,
                self.threads,
                requests,
                self._held.chunks,
            )
        except FileNotFoundError as error:
            raise self._missing("no such object") from error
        return out

    @property
    def _shard(self) -> str:
        return f"{self._path}/{self._level}/{SHARD}"

    def _index(self) -> HeldIndex:
        return self._held.indices.get((self._path, self._level), self._load)

    def _load(self) -> HeldIndex:
        try:
            layout = parse_layout(read_metadata(self._objects, self._path, self._level))
        except UnknownLayoutError:
            self._check_size()
            return HeldIndex(None, np.empty(0, np.uint32))
        try:
            return HeldIndex(layout, read_index(self._objects, self._shard, layout))
        except OSError:
            self._check_size()
            raise
        except DamagedShardError as error:
            self._check_size()
            raise self._damaged(error) from error

    def _check_size(self) -> None:
        size = self._objects.size(self._shard)
        if not size:
            raise self._missing("no such object" if size is None else "0 bytes")

    def _missing(self, value: str) -> StoreError:
        return StoreError(
            "a volume's voxels are missing",
            where=f"{self._objects.root}/{self._shard}",
            value=value,
            allowed="the shard that the volume's receipt lists",
            remedy=REMEDY,
        )

    def _damaged(self, error: DamagedShardError) -> StoreError:
        return StoreError(
            "a volume's voxels are damaged",
            where=f"{self._objects.root}/{self._shard}",
            value=str(error),
            allowed="the shard that the volume's receipt lists",
            remedy=REMEDY,
        )


class OuterIndexing:
    """Indexing of each axis on its own."""

    def __init__(self, voxels: LevelVoxels) -> None:
        self._voxels = voxels

    def __getitem__(self, key: Any) -> Any:
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(part is Ellipsis for part in keys):
            at = next(n for n, part in enumerate(keys) if part is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (4 - len(keys))
        keys += [slice(None)] * (3 - len(keys))
        if len(keys) != 3:
            raise IndexError(f"{key!r} has {len(keys)} parts; allowed: one for each of z, y and x")
        shape = self._voxels.shape
        found = self._voxels.read([as_selector(part, n) for part, n in zip(keys, shape, strict=True)])
        # A number takes its axis away.
        is_one = (not isinstance(part, slice) and np.ndim(part) == 0 for part in keys)
        return found[tuple(0 if one else slice(None) for one in is_one)]


def as_selector(key: Any, length: int) -> Selector:
    """Return the numbers that a slice, a number or an array of them stands for along an axis.

    Raises:
        IndexError: a number lies outside, or it is another kind of key.
    """
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        return slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)
    numbers = np.asarray(key)
    if numbers.dtype == bool and numbers.shape == (length,):
        return np.flatnonzero(numbers)
    if numbers.size == 0 and numbers.ndim == 1:
        return np.empty(0, np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1:
        raise IndexError(f"{key!r}; allowed: a number, a slice, a list of numbers or of {length} bools")
    if ((numbers < -length) | (numbers >= length)).any():
        raise IndexError(f"{key!r} reaches past the {length} along its axis")
    numbers = np.where(numbers < 0, numbers + length, numbers).astype(np.int64)
    return numbers if numbers.ndim else slice(int(numbers), int(numbers) + 1)


def open_level(
    objects: Objects, path: str, level: int = 0, held: Held | None = None, threads: int = 1
) -> LevelVoxels:
    """Open one level of a stored volume.

    Args:
        path: of the volume, relative to the store.
        held: what was read before of this store.
        threads: that decode at once where voxels are read.

    Raises:
        StoreError: there is no such array, or its shard is missing, empty or damaged.
        OSError: the store can't be read.
    """
    return LevelVoxels(objects, path, level, Held() if held is None else held, threads)

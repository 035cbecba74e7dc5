"""Boxes of voxels from a level's shard: its index once, then one ranged read for a run of chunks.

zarr-python passes every chunk through an event loop and a thread, which costs more than decoding it.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from etl.io.places import Objects
from etl.store.held import Chunk, LastUsed
from etl.store.shard_layout import ShardLayout

BATCH_BYTES = 16 << 20
"""Encoded chunks that are held at once."""
_BLOSC_HEADER_BYTES = 16
_BLOSC_SIZES = struct.Struct("<III")
"""Bytes decoded, of a block, and encoded, from byte 4 on."""
_ABSENT = np.uint64(2**64 - 1)

Selector = slice | NDArray[np.int64]
"""Indices along one axis: a slice with step 1 inside it, or numbers of voxels in any order."""
Part = tuple[int, Selector, Selector]
"""A chunk along one axis: its number, where its voxels go in the result, and which of it those are."""


class DamagedShardError(ValueError):
    """The shard is not what its index and metadata promise. The message names the chunk."""


def parse_index(data: bytes, layout: ShardLayout) -> NDArray[np.unsignedinteger[Any]]:
    """Return first byte and length of each chunk, (z, y, x, 2); length 0 for a chunk that the shard lacks.

    Args:
        data: the index as it lies in the shard.

    Raises:
        DamagedShardError: its checksum or its entries are wrong.
    """
    if len(data) != layout.index_bytes:
        raise DamagedShardError(f"the shard ends in its index: {len(data)} of {layout.index_bytes} bytes")
    entries = np.frombuffer(data, "<u8", layout.index_bytes // 8).reshape(*layout.counts, 2)
    if layout.has_index_crc:
        found, expected = google_crc32c.value(entries.tobytes()), int.from_bytes(data[-4:], "little")
        if found != expected:
            raise DamagedShardError(
                f"the CRC-32C of the shard's index is {found:08x}; expected {expected:08x}"
            )
    absent = (entries == _ABSENT).all(axis=-1)
    index = np.where(absent[..., None], np.uint64(0), entries)
    ends = index.sum(axis=-1)
    if (~absent & (index[..., 1] == 0)).any() or (ends < index[..., 0]).any() or int(ends.max()) >= 2**63:
        raise DamagedShardError("the shard's index has an entry that can't be")
    # Half the memory, for shards below 4 GiB.
    return index.astype(np.uint32) if int(ends.max()) < 2**32 else index


def read_index(objects: Objects, name: str, layout: ShardLayout) -> NDArray[np.unsignedinteger[Any]]:
    """Read a shard's index by one request; see `parse_index`.

    Raises:
        DamagedShardError: the shard is short, or its index is damaged.
        OSError: it can't be read.
    """
    size = layout.index_bytes
    data = objects.read_end(name, size) if layout.index_is_last else objects.read_range(name, 0, size)
    return parse_index(data, layout)


def split_axis(selector: Selector, chunk: int) -> list[Part]:
    """Return the chunks along an axis that some indices are in."""
    if isinstance(selector, slice):
        start, stop = selector.start, selector.stop
        return [
            (
                number,
                slice(max(number * chunk, start) - start, min((number + 1) * chunk, stop) - start),
                slice(max(start - number * chunk, 0), min(stop - number * chunk, chunk)),
            )
            for number in (range(start // chunk, -(-stop // chunk)) if start < stop else ())
        ]
    numbers = selector // chunk
    parts: list[Part] = []
    for number in np.unique(numbers).tolist():
        (into,) = np.nonzero(numbers == number)
        parts.append((number, _as_slice(into), _as_slice(selector[into] - number * chunk)))
    return parts


def _as_slice(numbers: NDArray[np.int64]) -> Selector:
    """Return numbers that ascend by equal steps as a slice, which copies several times faster."""
    step = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    if step < 1 or (np.diff(numbers) != step).any():
        return numbers
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)


def read_voxels(
    objects: Objects,
    name: str,
    layout: ShardLayout,
    index: NDArray[np.unsignedinteger[Any]],
    selectors: Sequence[Selector],
    out: NDArray[Any],
    threads: int = 1,
    requests: int = 2,
    held: LastUsed[Chunk, NDArray[Any]] | None = None,
) -> None:
    """Read some voxels of a level into an array.

    Args:
        name: of the shard.
        index: result of `parse_index`.
        selectors: along z, y and x; their combination is read.
        out: of the shape that they select; its values are overwritten.
        threads: that decode at once.
        requests: most requests to a remote place for `BATCH_BYTES` of chunks.
        held: decoded chunks, which are not read; others are added, unless the read wants more than it holds.

    Raises:
        DamagedShardError: the shard is short, or a chunk can't be decoded.
        OSError: the shard can't be read.
    """
    axes = [split_axis(selector, chunk) for selector, chunk in zip(selectors, layout.chunk, strict=True)]
    wanted = list(itertools.product(*axes))
    if held is not None and len(wanted) * layout.chunk_bytes > held.most_bytes:
        held = None
    if held is not None:
        wanted = [parts for parts in wanted if not _copy_held(held, name, parts, out)]
    numbers = np.array([[z[0], y[0], x[0]] for z, y, x in wanted], np.intp).reshape(-1, 3)
    places = index[numbers[:, 0], numbers[:, 1], numbers[:, 2]]
    starts, lengths = places[:, 0].tolist(), places[:, 1].tolist()
    for batch in _batches(lengths):
        encoded = _read_batch(objects, name, [(starts[n], lengths[n]) for n in batch], requests)
        jobs = [(wanted[n], data) for n, data in zip(batch, encoded, strict=True)]
        if threads == 1 or len(jobs) < 2:
            _decode_all(name, layout, jobs, out, held)
        else:
            # A pool for each batch: no thread outlives the call, so that the process may be forked.
            with ThreadPoolExecutor(threads) as pool:
                shares = [jobs[n::threads] for n in range(threads)]
                for done in [pool.submit(_decode_all, name, layout, share, out, held) for share in shares]:
                    done.result()


def _batches(lengths: Sequence[int]) -> Iterator[range]:
    start = size = 0
    for number, length in enumerate(lengths):
        if size + length > BATCH_BYTES and number > start:
            yield range(start, number)
            start, size = number, 0
        size += length
    yield range(start, len(lengths))


def _read_batch(
    objects: Objects, name: str, places: Sequence[tuple[int, int]], requests: int
) -> list[NDArray[np.uint8] | None]:
    """Return the bytes of each chunk; None for one that the shard lacks. One range for neighbours."""
    order = sorted((start, start + length, n) for n, (start, length) in enumerate(places) if length)
    runs: list[tuple[int, int]] = []
    members: list[tuple[int, int, int]] = []
    for start, stop, n in order:
        if runs and start == runs[-1][1]:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
        members.append((len(runs) - 1, n, start - runs[-1][0]))
    read = [np.frombuffer(data, np.uint8) for data in objects.read_ranges(name, runs, requests)]
    encoded: list[NDArray[np.uint8] | None] = [None] * len(places)
    for run, n, start in members:
        encoded[n] = read[run][start : start + places[n][1]]
    return encoded


def _decode_all(
    name: str,
    layout: ShardLayout,
    jobs: Sequence[tuple[tuple[Part, ...], NDArray[np.uint8] | None]],
    out: NDArray[Any],
    held: LastUsed[Chunk, NDArray[Any]] | None,
) -> None:
    chunk = np.empty(layout.chunk, layout.dtype)
    with _one_blosc_thread():
        for parts, data in jobs:
            into, source = _places(parts)
            if data is None:
                out[into] = layout.fill_value
                continue
            number = parts[0][0], parts[1][0], parts[2][0]
            try:
                _decode(layout, data, chunk)
            except (RuntimeError, ValueError) as error:
                raise DamagedShardError(f"chunk {number}: {error}") from error
            out[into] = chunk[source]
            if held is not None:
                held.put((name, *number), chunk)
                chunk = np.empty(layout.chunk, layout.dtype)


def _copy_held(
    held: LastUsed[Chunk, NDArray[Any]], name: str, parts: tuple[Part, ...], out: NDArray[Any]
) -> bool:
    """Copy a part of a chunk that is held into the result; False if it is not held."""
    chunk = held.find((name, parts[0][0], parts[1][0], parts[2][0]))
    if chunk is None:
        return False
    into, source = _places(parts)
    out[into] = chunk[source]
    return True


def _places(parts: tuple[Part, ...]) -> tuple[Any, Any]:
    """Return where a chunk's voxels go in the result, and which of the chunk they are."""
    into: Any = tuple(part[1] for part in parts)
    source: Any = tuple(part[2] for part in parts)
    if not all(isinstance(selector, slice) for selector in (*into, *source)):
        into, source = (np.ix_(*map(_numbers, several)) for several in (into, source))
    return into, source


def _numbers(selector: Selector) -> NDArray[np.int64]:
    if isinstance(selector, slice):
        return np.arange(selector.start, selector.stop, selector.step)
    return selector


def _decode(layout: ShardLayout, data: NDArray[np.uint8], chunk: NDArray[Any]) -> None:
    """Decode a chunk into an array. Raises RuntimeError or ValueError where it is damaged."""
    if layout.has_chunk_crc:
        data, end = data[:-4], data[-4:]
        if len(end) < 4 or google_crc32c.value(data) != int.from_bytes(end.tobytes(), "little"):
            raise ValueError("its bytes do not have their CRC-32C")
    if not layout.is_compressed:
        if len(data) != layout.chunk_bytes:
            raise ValueError(f"{len(data)} bytes; expected {layout.chunk_bytes}")
        chunk.reshape(-1).view(np.uint8)[:] = data
        return
    # Blosc itself trusts the sizes in its header.
    header = data[:_BLOSC_HEADER_BYTES].tobytes().ljust(_BLOSC_HEADER_BYTES, b"\0")
    decoded, _, encoded = _BLOSC_SIZES.unpack_from(header, 4)
    if decoded != layout.chunk_bytes or encoded != len(data):
        raise ValueError(
            f"{decoded} bytes from {encoded}, by its header; expected {layout.chunk_bytes} from {len(data)}"
        )
    numcodecs.blosc.decompress(data, chunk)


@contextlib.contextmanager
def _one_blosc_thread() -> Iterator[None]:
    before = numcodecs.blosc.use_threads
    numcodecs.blosc.use_threads = False
    try:
        yield
    finally:
        numcodecs.blosc.use_threads = before

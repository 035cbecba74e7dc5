"""The CRC-32C of each chunk and the SHA-256 of a table: bytes and time with and without them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from benchmarks.sample import SLICES, convert, make_sample, stored_level
from benchmarks.timing import Timing, cpu_ratio, rounds
from etl.convert.convert import encoding_of
from etl.core.config import Volume
from etl.io.opening import open_objects
from etl.store.level_voxels import open_level
from etl.store.shards import ShardEncoder
from etl.store.volumes import blosc, chunk_bytes

CHUNKS = ((64, 64, 64), (32, 32, 32))
CROP = 64
CROPS = 16
TABLE_BYTES = 50_000_000


class _Unchecked(ShardEncoder):
    @staticmethod
    def checksum(data: bytes) -> bytes:
        return b""


def measure(
    folder: Path, repeats: int = 5, slices: int = SLICES, chunks: Sequence[tuple[int, int, int]] = CHUNKS
) -> dict[str, Any]:
    """Measure ratios of CPU time with the checksums to that without, in the same rounds, and bytes."""
    numcodecs.blosc.use_threads = False
    return {
        "chunk_checksums": [_row(folder, chunk, repeats, slices) for chunk in chunks],
        "sha256_megabytes_per_s": _sha256_rate(),
    }


def _row(folder: Path, chunk: tuple[int, int, int], repeats: int, slices: int) -> dict[str, Any]:
    volume, store = Volume(chunk=chunk), folder / f"store-{chunk[0]}"
    sample = make_sample(folder, volume, slices)
    voxels = np.asarray(stored_level(store, convert(sample, volume, store))[...])
    room = [max(n - CROP, 0) + 1 for n in voxels.shape]
    corners = np.random.default_rng(0).integers(0, room, (CROPS, 3)).tolist()
    encoding = encoding_of(volume)

    def encode(kind: type[ShardEncoder]) -> None:
        shape: Any = voxels.shape
        encoder = kind(shape, chunk, blosc(encoding), encoding.fill_hu)
        for plane in voxels:
            encoder.add(plane)
        encoder.finish()

    def crops(array: Any) -> None:
        for z, y, x in corners:
            array[z : z + CROP, y : y + CROP, x : x + CROP]

    paths = {name: folder / f"{name}-{chunk[0]}" for name in ("with", "without")}
    for name, path in paths.items():
        _write(path / "0", voxels, volume, name == "with")
    ours = {name: open_level(open_objects(str(folder)), path.name) for name, path in paths.items()}
    contestants: dict[str, Callable[[], object]] = {
        "encode with": lambda: encode(ShardEncoder),
        "encode without": lambda: encode(_Unchecked),
    }
    for name, level in ours.items():
        array = level.zarr_array()
        contestants |= {
            f"decode {name}": partial(level.__getitem__, ...),
            f"crops {name}": partial(crops, level),
            f"zarr decode {name}": partial(array.__getitem__, ...),
            f"zarr crops {name}": partial(crops, array),
        }
    times = rounds(contestants, repeats)
    stored = {name: sum(p.stat().st_size for p in path.rglob("c/0/0/0")) for name, path in paths.items()}
    return {
        "chunk": list(chunk),
        "bytes": stored["with"],
        "bytes_ratio": stored["with"] / stored["without"],
        **{
            f"{name}_ratio": cpu_ratio(times[f"{name} with"], times[f"{name} without"])
            for name in ("encode", "decode", "crops", "zarr decode", "zarr crops")
        },
        "cpu_seconds": {name: timing.to_json()["cpu"] for name, timing in times.items()},
    }


def _write(path: Path, voxels: np.ndarray, volume: Volume, is_checked: bool) -> None:
    """Write the voxels with zarr-python in one shard."""
    codec = BloscCodec(
        cname=volume.codec.name,
        clevel=volume.codec.level,
        shuffle=volume.codec.shuffle,
        typesize=2,
        blocksize=chunk_bytes(volume.chunk),
    )
    array = zarr.create_array(
        str(path),
        shape=voxels.shape,
        dtype="<i2",
        chunks=volume.chunk,
        shards=tuple(math.ceil(n / c) * c for n, c in zip(voxels.shape, volume.chunk, strict=True)),
        compressors=(codec, Crc32cCodec()) if is_checked else (codec,),
        fill_value=volume.clip_hu[0],
        overwrite=True,
    )
    array[...] = voxels


def _sha256_rate() -> float:
    data = bytes(TABLE_BYTES)
    timing: Timing = rounds({"sha256": lambda: hashlib.sha256(data)}, 3)["sha256"]
    return TABLE_BYTES / 1e6 / timing.to_json()["cpu"]

"""Codecs and chunk shapes: compression ratio, and time to write, to read whole and to read crops."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sample import SLICES, convert, make_sample, stored_level
from benchmarks.timing import Timing, timed
from etl.convert.convert import encoding_of
from etl.core.config import Codec, Volume
from etl.store.volumes import encode_levels

CODECS = (
    Codec(name="lz4", level=1, shuffle="bitshuffle"),
    Codec(name="zstd", level=1, shuffle="noshuffle"),
    Codec(name="zstd", level=1, shuffle="shuffle"),
    Codec(name="zstd", level=1, shuffle="bitshuffle"),
    Codec(name="zstd", level=5, shuffle="bitshuffle"),
    Codec(name="lz4hc", level=5, shuffle="bitshuffle"),
)
CHUNKS = ((16, 64, 64), (32, 32, 32), (32, 64, 64), (64, 64, 64), (32, 128, 128), (128, 128, 128))
CROP = 64
CROPS = 24


def measure(
    folder: Path,
    repeats: int = 3,
    slices: int = SLICES,
    codecs: Sequence[Codec] = CODECS,
    chunks: Sequence[tuple[int, int, int]] = CHUNKS,
) -> dict[str, Any]:
    """Measure every codec with the default chunks, then every chunk shape with the default codec."""
    volumes = [Volume(codec=codec) for codec in codecs] + [Volume(chunk=chunk) for chunk in chunks]
    return {"codecs": [_row(folder, volume, repeats, slices) for volume in volumes]}


def _row(folder: Path, volume: Volume, repeats: int, slices: int) -> dict[str, Any]:
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    sample = make_sample(folder, volume, slices)
    receipt = convert(sample, volume, store)
    level = stored_level(store, receipt)
    voxels = np.asarray(level[...])
    rng = np.random.default_rng(0)
    room = [max(n - CROP, 0) + 1 for n in voxels.shape]
    corners = rng.integers(0, room, (CROPS, 3)).tolist()

    def encode() -> None:
        encode_levels(voxels, sample.with_volume(volume).shape, 1, encoding_of(volume))

    def crops() -> None:
        for z, y, x in corners:
            level[z : z + CROP, y : y + CROP, x : x + CROP]

    def median(function: Any) -> float:
        return Timing(tuple(timed(function) for _ in range(repeats))).median

    stored = sum(item.bytes for item in receipt.objects)
    return {
        "codec": f"{volume.codec.name} {volume.codec.level} {volume.codec.shuffle}",
        "chunk": list(volume.chunk),
        "ratio": voxels.nbytes / stored,
        "encode_seconds": median(encode),
        "decode_seconds": median(lambda: level[...]),
        "crop_seconds": median(crops) / CROPS,
    }

"""A small volume with known voxels, and writing it."""

from __future__ import annotations

import numpy as np

from etl.imaging.hounsfield import statistics
from etl.imaging.pyramid import halve
from etl.io.local import LocalObjects
from etl.store.receipts import Receipt
from etl.store.volumes import Description, Encoding, encode_levels, write_volume
from tests.support.tiny_release import made_up_masks

VOLUME_ID, FINGERPRINT = "000001_01_01_003-007", "0123456789abcdef"
PATH = f"volumes/{VOLUME_ID}/{FINGERPRINT}.ome.zarr"
BIG = (32, 256, 256)
ENCODING = Encoding((8, 8, 8), "zstd", 1, "bitshuffle", -1024)
DESCRIPTION = Description(
    VOLUME_ID,
    "000001_01_01",
    FINGERPRINT,
    3,
    7,
    (5, 16, 16),
    (2.0, 0.5, 0.5),
    (1.0, 0.75, 0.5),
    {"interpolation": "linear", "antialias": True, "clip_hu": [-1024, 3071]},
)


def voxels(shape: tuple[int, int, int] = (9, 13, 17)) -> np.ndarray:
    z, y, x = np.indices(shape)
    return (40 * z - 17 * y + 3 * x * x - 900).astype(np.int16)


def pyramid(level_count: int, first: np.ndarray | None = None) -> list[np.ndarray]:
    levels = [voxels() if first is None else first]
    while len(levels) < level_count:
        levels.append(halve(levels[-1]))
    return levels


def write(
    objects: LocalObjects, levels: list[np.ndarray] | None = None, encoding: Encoding = ENCODING
) -> Receipt:
    first, *coarser = levels or pyramid(1)
    encoded = encode_levels(first, first.shape, 1 + len(coarser), encoding)
    slice_hu = [statistics(np.full(3, 10 * n, np.int16)) for n in range(5)]
    hu = statistics(first)
    return write_volume(objects, encoded, DESCRIPTION, encoding, hu, slice_hu, made_up_masks(5))

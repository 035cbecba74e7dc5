"""Read planes of stored volumes: those that a picture needs, and a random sample of all."""

from __future__ import annotations

import base64
import io
import itertools
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from etl.core.errors import EtlError
from etl.report.statistics import hu_counts
from etl.store.reader import Store

THREADS = 4
SAMPLED_PLANES = 240
PLANES_PER_READ = 64
"""Depth of the default chunk: one plane of a layer of chunks costs as much as all of them."""
_JPEG_QUALITY = 80


@dataclass(frozen=True, eq=False)
class PlaneSample:
    """Voxels of planes drawn at random; every plane of the version is equally likely.

    Attributes:
        counts: `hu_counts` of each plane.
        planes: number of planes in the version.
        failed: number of drawn planes that could not be read.
    """

    counts: tuple[NDArray[np.int64], ...]
    planes: int
    failed: int


def sample_planes(
    store: Store, volumes: pd.DataFrame, seed: int = 0, count: int = SAMPLED_PLANES
) -> PlaneSample:
    """Count voxels by HU in `count` random planes; the same planes for the same volumes and seed."""
    ends = volumes["shape_z"].to_numpy(np.int64).cumsum()
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.random.default_rng(seed).choice(total, min(count, total), replace=False)
    drawn.sort()
    layers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, row in zip(drawn.tolist(), np.searchsorted(ends, drawn, side="right").tolist(), strict=True):
        plane = number - int(ends[row]) + int(volumes["shape_z"].iloc[row])
        layers[row, plane // PLANES_PER_READ].append(plane)

    def count_layer(layer: tuple[tuple[int, int], list[int]]) -> list[NDArray[np.int64]]:
        (row, _), planes = layer
        volume = volumes.iloc[row]
        voxels = read_planes(store, volume["volume_id"], planes)
        return [] if isinstance(voxels, str) else list(map(hu_counts, voxels))

    with ThreadPoolExecutor(THREADS) as pool:
        counts = tuple(itertools.chain.from_iterable(pool.map(count_layer, layers.items())))
    return PlaneSample(counts, total, len(drawn) - len(counts))


def read_planes(store: Store, volume_id: str, planes: Sequence[int]) -> NDArray[np.int16] | str:
    """Return neighbouring planes of a volume, (planes, y, x) in HU, or the reason that they can't be read.

    Args:
        planes: ascending, at least one.
    """
    first, last = planes[0], planes[-1]
    try:
        voxels = np.asarray(store.array(volume_id)[first : last + 1])[np.subtract(planes, first)]
    except EtlError as error:
        return f"{volume_id}: {error.what}"
    except (OSError, RuntimeError, ValueError) as error:
        return f"{volume_id}: {type(error).__name__}: {error}"
    return voxels


def encode_jpeg(grey: NDArray[np.uint8], largest_px: int) -> bytes:
    """Return a JPEG of a grey plane, reduced if a side is longer than `largest_px`."""
    picture = Image.fromarray(grey)
    picture.thumbnail((largest_px, largest_px), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as a URL that a page can embed."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()

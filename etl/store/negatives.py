"""Places in the body of volumes that no annotated lesion reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etl.store.annotated import Annotated, Numbers
from etl.store.crops import Crop, crop_around
from etl.store.layout import AXES, Shape

TRIES = 64
"""Places that are drawn for one crop; where an annotated lesion reaches into all, there is none."""

_EXTENT = ("body_mask_row_first", "body_mask_row_last", "body_mask_column_first", "body_mask_column_last")


def empty_crops(every: Annotated, numbers: Numbers, shapes: Sequence[Shape], seed: int) -> list[Crop | None]:
    """Return for each lesion a crop of its volume that no annotated lesion reaches; None where none is found.

    Its middle is in the body of its slice. Along each axis that has room for it, it is inside the volume.
    The same arguments give the same crops.

    Args:
        numbers: the lesions whose volumes are looked at; a volume that comes again gives another crop.
        shapes: of the crops.
        seed: of the draw.
    """
    columns = [f"shape_{axis}" for axis in AXES]
    columns += [f"{kind}spacing_{axis}_mm" for kind in ("", "source_") for axis in AXES]
    table = every.store.volumes(columns=["volume_id", *columns])
    grids = {row[0]: np.array(row[1:]).reshape(3, 3) for row in table.itertuples(index=False, name=None)}
    slices = every.store.slices(columns=["volume_id", "z_mm", *_EXTENT]).dropna()
    values = slices[["z_mm", *_EXTENT]].to_numpy(np.float64)
    bodies = {str(name): values[at] for name, at in slices.groupby("volume_id", sort=False).indices.items()}
    found: list[Crop | None] = []
    for at, (number, shape) in enumerate(zip(numbers.tolist(), shapes, strict=True)):
        volume_id = str(every.volume_ids[number])
        if volume_id not in bodies:
            found.append(None)
            continue
        random = np.random.default_rng([seed, int(every.lesion_ids[number]), at])
        grid = grids[volume_id]
        taken = _taken(every, every.by_volume[volume_id], float(grid[1, 0]))
        found.append(_first_free(_middles(bodies[volume_id], grid, shape, random), shape, taken))
    return found


def _middles(
    body: NDArray[np.float64], grid: NDArray[np.float64], shape: Shape, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return places in the body, (TRIES, 3), z, y, x, in voxels; inside the volume where a crop fits.

    Args:
        body: by slice z in mm, then first and last row and column of its body in the source's pixels.
        grid: shape, spacing and spacing of the source, of (z, y, x) each.
    """
    sizes, spacing_mm, source_mm = grid
    z_mm, *extents = body[random.integers(len(body), size=TRIES)].T
    # In the ellipse inside its extent: the corners of the extent are air.
    angle, radius = 2 * np.pi * random.random(TRIES), np.sqrt(random.random(TRIES))
    places = [z_mm / spacing_mm[0]]
    for axis, (low, high), share in ((1, extents[:2], np.sin(angle)), (2, extents[2:], np.cos(angle))):
        pixels = (low + high) / 2 + radius * share * (high - low) / 2
        places.append(pixels * source_mm[axis] / spacing_mm[axis])
    middles = np.stack(places, axis=1)
    half = (np.asarray(shape) - 1) / 2
    fits = sizes - 1 >= 2 * half
    return np.where(fits, np.clip(middles, half, np.maximum(sizes - 1 - half, half)), middles)


def _taken(every: Annotated, lesions: Numbers, spacing_z_mm: float) -> NDArray[np.float64]:
    """Return the boxes of lesions as (n, 2, 3): first and last z, y, x, as deep as the long diameter."""
    x1, y1, x2, y2 = every.boxes[lesions].T
    reach = every.diameters_mm[lesions, 0] / spacing_z_mm / 2
    z = every.centers[lesions, 0]
    return np.stack([np.stack([z - reach, y1, x1], axis=1), np.stack([z + reach, y2, x2], axis=1)], axis=1)


def _first_free(middles: NDArray[np.float64], shape: Shape, taken: NDArray[np.float64]) -> Crop | None:
    for z, y, x in middles.tolist():
        crop = crop_around((z, y, x), shape)
        first = np.asarray(crop.start) - 0.5
        if not ((taken[:, 1] >= first) & (taken[:, 0] <= first + crop.shape)).all(axis=1).any():
            return crop
    return None

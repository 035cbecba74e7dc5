"""Resample a stack of slices to another spacing, one slice in and one plane out at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from etl.imaging.geometry import output_shape
from etl.imaging.kernels import combine_planes, resample_plane
from etl.imaging.weights import axis_taps, is_identity, tap_count

# Part of every volume's fingerprint: raise it with any change that changes a voxel.
RESAMPLE_VERSION: int = 1


def resample(
    slices: Iterable[NDArray[np.int16]],
    shape: tuple[int, int, int],
    spacing_in_mm: tuple[float, float, float],
    spacing_out_mm: tuple[float, float, float],
    *,
    interpolation: str,
    antialias: bool,
    clip_hu: tuple[int, int],
) -> Iterator[NDArray[np.int16]]:
    """Resample a volume that arrives slice by slice.

    A slice is clipped and interpolated in plane when it arrives and kept only while an output plane needs it,
    so memory is a few planes (`task_memory_bytes`). Voxel (0, 0, 0) stays where it is; see
    `axis_taps` for the kernels. Values are clipped before interpolation, or padding bleeds into tissue, and
    after it, as weights can be negative. Same arguments, same bits. Equal spacing only clips.

    Args:
        slices: shape[0] arrays of HU, int16 (rows, columns), in slice order; the next one may reuse the
            memory of the last.
        shape: (z, y, x) of the input.
        spacing_in_mm, spacing_out_mm: (z, y, x), positive.
        interpolation: one of INTERPOLATIONS.
        antialias: filter along the axes that are reduced.
        clip_hu: least and greatest value, within int16.

    Yields:
        The planes of a volume of shape `output_shape(shape, spacing_in_mm, spacing_out_mm)`: HU, int16
        (rows, columns), rounded half to even. Each is overwritten by the next.

    Raises:
        ValueError: too few or too many slices, a slice of another shape or type, or an argument not as above.
    """
    bounds = np.iinfo(np.int16)
    if not bounds.min <= clip_hu[0] < clip_hu[1] <= bounds.max:
        raise ValueError(f"clip_hu is {clip_hu}; allowed: low < high, both in {bounds.min} to {bounds.max}")
    z, y, x = (
        axis_taps(n, float(spacing_in), float(spacing_out), interpolation, antialias)
        for n, spacing_in, spacing_out in zip(shape, spacing_in_mm, spacing_out_mm, strict=True)
    )
    out = np.empty((len(y.index), len(x.index)), np.int16)
    arriving = _checked(slices, shape)
    if _only_clips(shape, spacing_in_mm, spacing_out_mm):
        for plane in arriving:
            yield np.clip(plane, np.int16(clip_hu[0]), np.int16(clip_hu[1]), out=out)
        return

    low, high = np.float32(clip_hu[0]), np.float32(clip_hu[1])
    depth = z.index.shape[1]
    planes = np.empty((depth, *out.shape), np.float32)
    plane_work = np.empty((shape[1] + 1, shape[2]), np.float32)
    row_work = np.empty(out.shape[1], np.float32)
    x_start, x_weight = x.index[:, 0].copy(), x.weight.T.copy()
    needed = np.zeros(shape[0], bool)
    needed[z.index] = True
    done = 0
    for at, plane in enumerate(arriving):
        if needed[at]:
            resample_plane(
                plane, low, high, y.index, y.weight, x_start, x_weight, plane_work, planes[at % depth]
            )
        while done < len(z.index) and z.index[done, -1] <= at:
            combine_planes(planes, z.index[done] % depth, z.weight[done], low, high, row_work, out)
            yield out
            done += 1


def task_memory_bytes(
    shape: tuple[int, int, int],
    spacing_in_mm: tuple[float, float, float],
    spacing_out_mm: tuple[float, float, float],
    interpolation: str,
    antialias: bool,
) -> int:
    """Return the bytes of the arrays that `resample` holds with these arguments and one arriving slice."""
    z, y, x = output_shape(shape, spacing_in_mm, spacing_out_mm)
    held = 2 * y * x + 2 * shape[1] * shape[2]
    if _only_clips(shape, spacing_in_mm, spacing_out_mm):
        return held
    z_taps, y_taps, x_taps = (
        tap_count(n, spacing_in, spacing_out, interpolation, antialias)
        for n, spacing_in, spacing_out in zip(shape, spacing_in_mm, spacing_out_mm, strict=True)
    )
    ring = 4 * z_taps * y * x
    work = 4 * (shape[1] * shape[2] + shape[2] + x) + shape[0]
    taps = 8 * (z * z_taps + y * y_taps + 2 * x * x_taps)
    return held + ring + work + taps


def _only_clips(
    shape: tuple[int, int, int],
    spacing_in_mm: tuple[float, float, float],
    spacing_out_mm: tuple[float, float, float],
) -> bool:
    return all(map(is_identity, shape, spacing_in_mm, spacing_out_mm))


def _checked(slices: Iterable[NDArray[np.int16]], shape: tuple[int, int, int]) -> Iterator[NDArray[np.int16]]:
    """Yield the slices, C-contiguous. Raises ValueError where count, shape or type are not as announced."""
    count = 0
    for plane in slices:
        if count == shape[0]:
            raise ValueError(f"more slices than the {shape[0]} of shape {shape}")
        if plane.shape != shape[1:] or plane.dtype != np.int16:
            raise ValueError(f"slice {count} is {plane.dtype} {plane.shape}; expected int16 {shape[1:]}")
        yield np.ascontiguousarray(plane)
        count += 1
    if count < shape[0]:
        raise ValueError(f"{count} slices came; shape {shape} needs {shape[0]}")

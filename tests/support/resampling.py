"""Resampling of whole arrays, plane by plane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from etl.imaging.geometry import output_shape
from etl.imaging.resample import resample

CLIP_HU = (-1024, 3071)
Triple = tuple[float, float, float]


def random_volume(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1024, 3072, shape).astype(np.int16)


def streamed(
    slices: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    spacing_in: Triple,
    spacing_out: Triple,
    interpolation: str = "linear",
    antialias: bool = False,
    clip_hu: tuple[int, int] = CLIP_HU,
) -> Iterator[np.ndarray]:
    """Yield the planes of the result; each is overwritten by the next."""
    return resample(
        iter(slices),
        shape,
        spacing_in,
        spacing_out,
        interpolation=interpolation,
        antialias=antialias,
        clip_hu=clip_hu,
    )


def resampled(
    volume: np.ndarray,
    spacing_in: Triple,
    spacing_out: Triple,
    interpolation: str = "linear",
    antialias: bool = False,
    clip_hu: tuple[int, int] = CLIP_HU,
) -> np.ndarray:
    planes = streamed(volume, volume.shape, spacing_in, spacing_out, interpolation, antialias, clip_hu)
    out = np.stack([plane.copy() for plane in planes])
    assert out.dtype == np.int16
    assert out.shape == output_shape(volume.shape, spacing_in, spacing_out)
    return out

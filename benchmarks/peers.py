"""The same conversion with other tools, and the minimum of work that any conversion has to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numcodecs.blosc
import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its documentation spells it
import zarr
from isal import isal_zlib
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec

from etl.imaging.hounsfield import to_hu
from etl.store.volumes import chunk_bytes

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def use_one_thread() -> None:
    """Limit every library of this process to one thread."""
    cv2.setNumThreads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    numcodecs.blosc.use_threads = False


def decode_with_opencv(png: Sequence[bytes]) -> np.ndarray:
    """Decode slices to HU, int16 (z, y, x)."""
    read = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in png]
    return to_hu(np.stack([np.asarray(stored, np.uint16) for stored in read]))


def resample_with_simpleitk(
    hu: np.ndarray, spacing_in_mm: Spacing, shape: Shape, spacing_mm: Spacing
) -> np.ndarray:
    """Interpolate linearly on our grid, in the type of `hu`."""
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing([float(s) for s in spacing_in_mm[::-1]])
    return np.asarray(sitk.GetArrayFromImage(_resample(image, shape, spacing_mm)))


def _resample(image: Any, shape: Shape, spacing_mm: Spacing) -> Any:
    size, spacing = list(shape[::-1]), [float(s) for s in spacing_mm[::-1]]
    place = image.GetOrigin(), spacing, image.GetDirection()
    return sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *place, 0.0, image.GetPixelID())


def tuned(
    png: Sequence[bytes],
    spacing_in_mm: Spacing,
    shape: Shape,
    spacing_mm: Spacing,
    clip_hu: tuple[int, int],
    chunk: Shape,
    out: Path,
) -> None:
    """Convert as a tuned script does: OpenCV decodes, SimpleITK resamples, zarr-python writes one shard."""
    hu = np.clip(decode_with_opencv(png), np.int16(clip_hu[0]), np.int16(clip_hu[1]))
    voxels = resample_with_simpleitk(hu, spacing_in_mm, shape, spacing_mm)
    zarr.create_array(
        out,
        shape=shape,
        dtype="<i2",
        chunks=chunk,
        shards=tuple(-(-n // c) * c for n, c in zip(shape, chunk, strict=True)),
        compressors=BloscCodec(
            cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2, blocksize=chunk_bytes(chunk)
        ),
        fill_value=clip_hu[0],
        overwrite=True,
    )[...] = voxels


def today(
    png: Sequence[bytes],
    spacing_in_mm: Spacing,
    shape: Shape,
    spacing_mm: Spacing,
    clip_hu: tuple[int, int],
    folder: Path,
) -> None:
    """Convert by the usual route: nibabel writes .nii.gz, SimpleITK resamples it to another .nii.gz."""
    hu = decode_with_opencv(png)
    z, y, x = spacing_in_mm
    source, target = folder / "source.nii.gz", folder / "resampled.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([x, y, z, 1.0])), source)
    image = sitk.Clamp(sitk.ReadImage(str(source)), sitk.sitkInt16, *clip_hu)
    sitk.WriteImage(_resample(image, shape, spacing_mm), str(target), useCompression=True)


def chunks_of(voxels: np.ndarray, chunk: Shape, fill: int) -> list[np.ndarray]:
    """Return the stored chunks of a volume, padded, each as its own array."""
    grid = [range(0, n, c) for n, c in zip(voxels.shape, chunk, strict=True)]
    chunks = []
    for z in grid[0]:
        for y in grid[1]:
            for x in grid[2]:
                part = voxels[z : z + chunk[0], y : y + chunk[1], x : x + chunk[2]]
                whole = np.full(chunk, fill, np.int16)
                whole[tuple(map(slice, part.shape))] = part
                chunks.append(whole)
    return chunks


def floor(
    streams: Sequence[bytes],
    inflated_bytes: int,
    voxels: np.ndarray,
    copied: np.ndarray,
    chunks: Sequence[np.ndarray],
    codec: Blosc,
) -> None:
    """Do the minimum of any conversion to this format: inflate, copy the output once, compress its chunks.

    Args:
        copied: target of the copy. It is allocated before, because a conversion can avoid that cost.
    """
    for stream in streams:
        # The spare byte lets isal see the end of the stream; without it, it grows its buffer and copies.
        isal_zlib.decompress(stream, bufsize=inflated_bytes + 1)
    np.copyto(copied, voxels)
    for chunk in chunks:
        codec.encode(chunk)

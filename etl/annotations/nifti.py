"""Read NIfTI-1 files of unknown making: sizes are checked before bytes are decompressed or arrays made.

The affine is the sform where the file has one, else the diagonal of its voxel sizes with the qform's offset
where that turns nothing. Format: nifti.nimh.nih.gov, nifti1.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from etl.core.errors import SourceError

MOST_BYTES = 1 << 28
"""Decompressed: 64 million voxels of float32. Masks of ULS23 have 8 million."""
_HEADER = 348
_GZIP_ERRORS = (cast("type[Exception]", igzip_lib.IsalError), ValueError, EOFError)
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


@dataclass(frozen=True, eq=False)
class Nifti:
    """Voxels with axes (i, j, k, ...) as stored, without scaling, and the 4x4 affine to mm."""

    voxels: NDArray[np.generic]
    affine: NDArray[np.float64]


def read_nifti(data: bytes, source: str, most_bytes: int = MOST_BYTES) -> Nifti:
    """Read a `.nii` or `.nii.gz`.

    Args:
        data: the file.
        source: its name, for messages.
        most_bytes: largest size, decompressed.

    Raises:
        SourceError: it is no single NIfTI-1 file of numbers, is cut, or is too large.
    """
    raw = _gunzip(data, source, most_bytes) if data[:2] == b"\x1f\x8b" else data
    if len(raw) < _HEADER + 4:
        _refuse("it ends within its header", source)
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", raw)[0] == _HEADER), None)
    if order is None or raw[344:348] != b"n+1\0":
        _refuse("its header is not NIfTI-1 in one file", source)
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    code, bits = struct.unpack_from(f"{order}2h", raw, 70)
    pixdim = struct.unpack_from(f"{order}8f", raw, 76)
    offset, slope = struct.unpack_from(f"{order}2f", raw, 108)
    shape = dim[1 : 1 + dim[0]] if 1 <= dim[0] <= 7 else ()
    if not shape or min(shape) < 1 or code not in _DTYPES:
        _refuse(f"its shape is {dim} and its type {code}", source)
    dtype = np.dtype(order + _DTYPES[code])
    count = 1
    for n in shape:
        count *= n
    if (
        bits != 8 * dtype.itemsize
        or not 352 <= offset <= len(raw)
        or len(raw) - int(offset) < count * dtype.itemsize
    ):
        _refuse(f"{count} voxels of {dtype} do not fit its {len(raw)} bytes", source)
    if not (slope == 0 or (np.isfinite(slope))):
        _refuse(f"its scale is {slope}", source)
    voxels = np.frombuffer(raw, dtype, count, int(offset)).reshape(shape, order="F")
    return Nifti(voxels, _affine(raw, order, pixdim, source))


def _affine(raw: bytes, order: str, pixdim: tuple[float, ...], source: str) -> NDArray[np.float64]:
    qform, sform = struct.unpack_from(f"{order}2h", raw, 252)
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.array(struct.unpack_from(f"{order}12f", raw, 280), np.float64).reshape(3, 4)
    else:
        turn = struct.unpack_from(f"{order}3f", raw, 256)
        if qform > 0 and (any(turn) or pixdim[0] < 0):
            _refuse("its qform turns the axes and it has no sform", source)
        affine[:3, :3] = np.diag(np.array(pixdim[1:4], np.float64))
        affine[:3, 3] = struct.unpack_from(f"{order}3f", raw, 268) if qform > 0 else 0.0
    if not np.all(np.isfinite(affine)) or np.abs(affine).max() > 1e6:
        _refuse("its affine is not finite", source)
    return affine


def _gunzip(data: bytes, source: str, most_bytes: int) -> bytes:
    machine = isal_zlib.decompressobj(wbits=31)
    try:
        raw: bytes = machine.decompress(data, most_bytes + 1)
    except _GZIP_ERRORS as error:
        _refuse(f"its gzip stream is damaged: {error}", source)
    if len(raw) > most_bytes:
        _refuse(f"it decompresses to more than {most_bytes:,} bytes", source)
    if not machine.eof:
        _refuse("its gzip stream is cut", source)
    return raw


def _refuse(found: str, source: str) -> NoReturn:
    raise SourceError(
        "the file is no NIfTI image that can be used",
        where=source,
        value=found,
        allowed=f"NIfTI-1 in one file, plain or gzipped, of at most {MOST_BYTES:,} bytes",
        remedy="fetch the file again from where its authors publish it",
    )

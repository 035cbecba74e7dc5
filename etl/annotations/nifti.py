"""Read masks from NIfTI-1 files of unknown making, a piece at a time: only what is inside is kept.

Sizes are checked before bytes are decompressed or arrays made. Values are those after the file's scale and
shift, with which some writers store a mask of 0 and 1 as -32768 and 32767. The affine is the sform where the
file has one, else the diagonal of its voxel sizes with the qform's offset where that turns nothing. Format:
nifti.nimh.nih.gov, nifti1.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from etl.annotations.containers import MOST_MEMBER_BYTES
from etl.core.errors import SourceError

MASK_BYTES = 80 << 20
"""Memory for reading one mask, at most: a byte for each voxel of the largest, and the pieces."""
_HEADER = 348
_PIECE = 1 << 18
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
class NiftiMask:
    """The voxels of an image that are not 0, cut to the box that holds them.

    Attributes:
        shape: of the image, axes (i, j, k).
        affine: 4x4, to mm.
        inside: bool, axes (i, j, k); of size 0 where every voxel is 0.
        start: index in the image of its first voxel.
        has_several_values: they differ, as those of a CT do.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    inside: NDArray[np.bool_]
    start: tuple[int, int, int]
    has_several_values: bool


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    affine: NDArray[np.float64]
    scale: float
    shift: float

    def inside(self, found: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return True where a value is not 0, after the file's scale and shift; NaN is 0."""
        if self.shift == 0:
            return (found != 0) & (found == found)
        values = found.astype(np.float64) * self.scale + self.shift
        return np.abs(values) > abs(self.scale) / 2


def read_nifti_mask(data: bytes, source: str) -> NiftiMask:
    """Read a `.nii` or `.nii.gz` as a mask, in at most `MASK_BYTES` of memory.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: it is no single NIfTI-1 file of three axes of numbers, is cut, or is too large.
    """
    pieces = _gunzip(data, source) if data[:2] == b"\x1f\x8b" else _cut(data)
    begin = b""
    for piece in pieces:
        begin += piece
        if len(begin) >= _HEADER + 4:
            break
    header = _header(begin, source)
    ni, nj, nk = header.shape
    voxels = np.zeros(ni * nj * nk, bool)
    touched = _fill(voxels, begin, pieces, header, source)
    first, last = touched[0] // (ni * nj), -(-touched[1] // (ni * nj))
    planes = voxels.reshape(nk, nj, ni)[first:last]
    bounds = [np.flatnonzero(planes.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    if not bounds[0].size:
        return NiftiMask(header.shape, header.affine, np.zeros((0, 0, 0), bool), (0, 0, 0), False)
    i, j, k = (slice(int(found[0]), int(found[-1]) + 1) for found in bounds)
    inside = np.ascontiguousarray(planes[k, j, i].transpose(2, 1, 0))
    return NiftiMask(header.shape, header.affine, inside, (i.start, j.start, first + k.start), touched[2])


def _fill(
    voxels: NDArray[np.bool_], begin: bytes, pieces: Iterator[bytes], header: _Header, source: str
) -> tuple[int, int, bool]:
    """Set the voxels that are not 0.

    Return the range of those that were looked at, as the others are 0, and if they have several values.
    """
    size, low, high, at = header.dtype.itemsize, len(voxels), 0, 0
    value, differ = None, False
    skip, left = header.offset, b""
    for piece in _chained(begin, pieces):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        left, skip = (left + piece[skip:] if left or skip else piece), 0
        count = min(len(left) // size, len(voxels) - at)
        found = np.frombuffer(left, header.dtype, count)
        words = len(left[: count * size]) // 8
        if header.shift or np.frombuffer(left, np.uint64, words).any() or any(left[8 * words : count * size]):
            voxels[at : at + count] = inside = header.inside(found)
            low, high = min(low, at), at + count
            if (values := found[inside]).size:
                value = values[0] if value is None else value
                differ = differ or bool((values != value).any())
        at += count
        left = left[count * size :] if at < len(voxels) else b""
    if at < len(voxels):
        _refuse(f"{len(voxels)} voxels of {header.dtype} do not fit its bytes", source)
    return min(low, high), high, differ


def _chained(begin: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield begin
    yield from pieces


def _header(raw: bytes, source: str) -> _Header:
    if len(raw) < _HEADER + 4:
        _refuse("it ends within its header", source)
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", raw)[0] == _HEADER), None)
    if order is None or raw[344:348] != b"n+1\0":
        _refuse("its header is not NIfTI-1 in one file", source)
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    code, bits = struct.unpack_from(f"{order}2h", raw, 70)
    pixdim = struct.unpack_from(f"{order}8f", raw, 76)
    offset, scale, shift = struct.unpack_from(f"{order}3f", raw, 108)
    shape = dim[1 : 1 + dim[0]] if 1 <= dim[0] <= 7 else ()
    if not shape or min(shape) < 1 or code not in _DTYPES:
        _refuse(f"its shape is {dim} and its type {code}", source)
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        _refuse(f"its shape is {shape}; allowed: three axes", source)
    dtype = np.dtype(order + _DTYPES[code])
    count = shape[0] * shape[1] * shape[2]
    if bits != 8 * dtype.itemsize or not 352 <= offset <= MOST_MEMBER_BYTES - count * dtype.itemsize:
        _refuse(f"{count} voxels of {dtype} from byte {offset} on are too many, or no such voxels", source)
    if not (np.isfinite(scale) and np.isfinite(shift)):
        _refuse(f"its scale is {scale} and its shift {shift}", source)
    affine = _affine(raw, order, pixdim, source)
    if scale == 0:
        scale, shift = 1.0, 0.0
    return _Header((shape[0], shape[1], shape[2]), dtype, int(offset), affine, scale, shift)


def _cut(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))


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


def _gunzip(data: bytes, source: str) -> Iterator[bytes]:
    machine = isal_zlib.decompressobj(wbits=31)
    left, total = data, 0
    while not machine.eof or machine.unused_data[:2] == data[:2]:
        if machine.eof:
            left, machine = machine.unused_data, isal_zlib.decompressobj(wbits=31)
        try:
            piece: bytes = machine.decompress(left, _PIECE)
        except _GZIP_ERRORS as error:
            _refuse(f"its gzip stream is damaged: {error}", source)
        if not piece and not machine.eof:
            _refuse("its gzip stream is cut", source)
        total += len(piece)
        if total > MOST_MEMBER_BYTES:
            _refuse(f"it decompresses to more than {MOST_MEMBER_BYTES:,} bytes", source)
        left = machine.unconsumed_tail
        yield piece


def _refuse(found: str, source: str) -> NoReturn:
    raise SourceError(
        "the file is no NIfTI image that can be used",
        where=source,
        value=found,
        allowed=f"NIfTI-1 in one file, plain or gzipped, of at most {MOST_MEMBER_BYTES:,} bytes",
        remedy="fetch the file again from where its authors publish it",
    )

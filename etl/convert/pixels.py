"""The pixels of a run: its slices in Hounsfield units, and the parts between unreadable slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from etl.core.errors import SliceError
from etl.core.rejects import Reason
from etl.imaging.hounsfield import to_hu
from etl.imaging.png import PngError, PngFault, read_png
from etl.plan.plan import PlannedVolume, plan_run
from etl.release.index import Container
from etl.release.slices import read_slices

REASONS = {
    PngFault.NOT_PNG: Reason.SLICE_NOT_PNG,
    PngFault.NOT_16BIT_GREY: Reason.SLICE_NOT_16BIT_GREY,
    PngFault.SIZE_MISMATCH: Reason.SLICE_SIZE_MISMATCH,
    PngFault.TRUNCATED: Reason.SLICE_TRUNCATED,
    PngFault.CORRUPT: Reason.SLICE_CRC_MISMATCH,
}


def decode_slice(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Return the stored values of a slice, (rows, columns).

    Args:
        shape: (rows, columns) of the slice's run.

    Raises:
        SliceError: the file can't be decoded, or has another shape.
    """
    try:
        return read_png(data, shape)
    except PngError as error:
        raise SliceError(REASONS[error.fault], error.message) from error


def read_hu(
    planned: PlannedVolume, slices: np.ndarray, containers: Sequence[Container]
) -> Iterator[np.ndarray | SliceError]:
    """Yield int16 HU (rows, columns) of some slices of a run, or the error of an unreadable one, in order.

    Raises:
        ArchiveLostError: an archive can't be read any more.
        OSError: a fault of this machine; worth a retry.
    """
    for data in read_slices(containers, slices):
        if isinstance(data, SliceError):
            yield data
            continue
        try:
            yield to_hu(decode_slice(data, planned.source_shape[1:]))
        except SliceError as error:
            yield error


def unreadable_slices(
    planned: PlannedVolume, slices: np.ndarray, containers: Sequence[Container]
) -> dict[int, SliceError]:
    """Read some slices of a run; return the errors of the unreadable ones by slice index."""
    found = zip(slices["index"].tolist(), read_hu(planned, slices, containers), strict=True)
    return {index: hu for index, hu in found if isinstance(hu, SliceError)}


def readable_parts(planned: PlannedVolume, unreadable: Mapping[int, SliceError]) -> Iterator[PlannedVolume]:
    """Yield the runs between unreadable slices, which split a run as missing slices do."""
    readable = ~np.isin(planned.slices["index"], list(unreadable))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], readable, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield plan_run(
            planned.series,
            planned.slices[start:stop],
            planned.source_spacing_mm,
            planned.source_shape[1:],
            planned.parameters,
        )

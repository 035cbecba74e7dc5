"""Convert the pixels of one planned run to the voxels of one volume on the store, with its receipt."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etl.convert.pixels import read_hu, readable_parts, unreadable_slices
from etl.convert.results import Conversion, Lost, conversion_of
from etl.convert.reuse import proven
from etl.core.config import Volume
from etl.core.errors import SliceError
from etl.imaging.body import SLICE_MASKS_DTYPE, measure_masks
from etl.imaging.hounsfield import HuMoments, HuStatistics, statistics
from etl.imaging.resample import resample
from etl.io.opening import open_objects
from etl.plan.plan import PlannedVolume
from etl.release.index import Container
from etl.release.slices import ArchiveLostError
from etl.store.receipts import Receipt, SplitRecord, read_receipt, write_split
from etl.store.volumes import Description, Encoding, encode_levels, write_volume


def encoding_of(volume: Volume) -> Encoding:
    """Return the chunks, codec and fill value of a volume."""
    codec = volume.codec
    return Encoding(volume.chunk, codec.name, codec.level, codec.shuffle, volume.clip_hu[0])


@dataclass(frozen=True)
class Converter:
    """Converts planned volumes; a value that travels to workers.

    Attributes:
        store: path or URL of the store, which every worker reaches.
        containers: archives and folders of the plan's slice index.
    """

    store: str
    containers: tuple[Container, ...]

    def __call__(self, planned: PlannedVolume) -> Conversion | Lost:
        """Convert the run, or reuse what an earlier build wrote of it.

        Raises:
            OSError: a fault of this machine (store not writable, disk not readable); worth a retry.
        """
        try:
            return proven(self.store, self.containers, planned) or self._convert(planned)
        except ArchiveLostError as lost:
            return Lost(lost.container, lost.reason, lost.message)

    def _convert(self, planned: PlannedVolume) -> Conversion:
        with contextlib.suppress(SliceError):
            return conversion_of(planned, self.containers, ((planned, self._build(planned)),), 1)

        unreadable = unreadable_slices(planned, planned.slices, self.containers)
        objects = open_objects(self.store)
        built, converted = [], 0
        for part in readable_parts(planned, unreadable):
            existing = read_receipt(objects, part.volume_id, part.fingerprint)
            try:
                built.append((part, existing or self._build(part)))
            except SliceError as error:
                raise OSError(f"{part.volume_id} reads differently a second time: {error}") from error
            converted += existing is None
        record = SplitRecord(
            tuple((part.volume_id, part.fingerprint) for part, _ in built),
            tuple((index, str(error.reason), error.message) for index, error in unreadable.items()),
        )
        write_split(objects, planned.volume_id, planned.fingerprint, record)
        return conversion_of(planned, self.containers, tuple(built), converted, unreadable)

    def _build(self, planned: PlannedVolume) -> Receipt:
        """Convert a run whose slices are all readable.

        Raises:
            SliceError: of the first unreadable slice; nothing was written.
        """
        slice_hu: list[HuStatistics] = []
        slice_masks = np.zeros(len(planned.slices), SLICE_MASKS_DTYPE)

        def slices() -> Iterator[np.ndarray]:
            for hu in read_hu(planned, planned.slices, self.containers):
                if isinstance(hu, SliceError):
                    raise hu
                slice_masks[len(slice_hu)] = measure_masks(hu, planned.source_spacing_mm[1:])
                slice_hu.append(statistics(hu))
                yield hu

        parameters = planned.parameters
        planes = resample(
            slices(),
            planned.source_shape,
            planned.source_spacing_mm,
            planned.spacing_mm,
            interpolation=parameters.interpolation,
            antialias=parameters.antialias,
            clip_hu=parameters.clip_hu,
        )
        moments: list[HuMoments] = []

        def measured() -> Iterator[np.ndarray]:
            for plane in planes:
                moments.append(HuMoments.of(plane))
                yield plane

        encoding = encoding_of(parameters)
        levels = encode_levels(measured(), planned.shape, parameters.pyramid_levels, encoding)
        return write_volume(
            open_objects(self.store),
            levels,
            _description(planned),
            encoding,
            functools.reduce(operator.add, moments).statistics,
            slice_hu,
            slice_masks,
        )


def _description(planned: PlannedVolume) -> Description:
    return Description(
        planned.volume_id,
        str(planned.series),
        planned.fingerprint,
        planned.first,
        planned.last,
        planned.source_shape,
        planned.source_spacing_mm,
        planned.spacing_mm,
        {
            "interpolation": planned.parameters.interpolation,
            "antialias": planned.parameters.antialias,
            "clip_hu": list(planned.parameters.clip_hu),
        },
    )

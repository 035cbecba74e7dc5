"""One planned run of slices -> one volume on the store, and its receipt.

A slice that can't be read splits its run as a missing one does: both sides are built, the slice is a reject.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from etl.convert.decoding import decode_slice
from etl.convert.results import Conversion, Lost, Recalled
from etl.core.config import Volume
from etl.core.errors import SliceError
from etl.core.rejects import Kind, Reason, Reject
from etl.imaging.body import SLICE_MASKS_DTYPE, measure_masks
from etl.imaging.hounsfield import HuMoments, HuStatistics, statistics, to_hu
from etl.imaging.resample import resample
from etl.io.opening import open_objects
from etl.plan.plan import PlannedVolume, plan_run
from etl.release.index import Container
from etl.release.names import slice_name
from etl.release.slices import ArchiveLostError, read_slices
from etl.store.receipts import (
    Receipt,
    SplitRecord,
    find_receipt,
    prove,
    read_receipt,
    read_split,
    write_split,
)
from etl.store.volumes import Description, Encoding, encode_levels, write_volume


def encoding_of(volume: Volume) -> Encoding:
    """How the voxels of volumes are laid out."""
    codec = volume.codec
    return Encoding(volume.chunk, codec.name, codec.level, codec.shuffle, volume.clip_hu[0])


@dataclass(frozen=True)
class Converter:
    """Converts planned volumes; a value that travels to workers.

    Attributes:
        store: the store's place, reached from every worker.
        volume: how a run becomes a volume.
        containers: of the slice index that the plan was made from.
    """

    store: str
    volume: Volume
    containers: tuple[Container, ...]

    def __call__(self, planned: PlannedVolume) -> Conversion | Lost:
        """Build the run's volume, or reuse it where the store has it whole.

        Raises:
            OSError: a fault of this machine: the store can't be written, a disk can't be read; worth a retry.
        """
        try:
            return self.prove(planned) or self._convert(planned)
        except ArchiveLostError as lost:
            return Lost(lost.container, lost.reason, lost.message)

    def memory_bytes(self, planned: PlannedVolume) -> int:
        """What the call holds at its peak, above the empty worker."""
        return planned.memory_bytes(self.volume, in_bucket=self.store.startswith("s3://"))

    def refuse(self, planned: PlannedVolume, reason: Reason, message: str) -> Conversion:
        """A conversion that rejects every slice of the run, because its archive can't be had this time."""
        error = SliceError(reason, message)
        return self._conversion(planned, (), 0, dict.fromkeys(planned.slices["index"].tolist(), error))

    def reject(self, planned: PlannedVolume, reason: Reason, message: str) -> Conversion:
        """A conversion that rejects the volume as such, and with it every slice of its run."""
        refused = self.refuse(planned, reason, f"its volume is rejected: {reason}")
        whole = Reject(Kind.VOLUME, reason, planned.volume_id, message, str(planned.series))
        return replace(refused, rejects=(whole, *refused.rejects))

    def recall(self, planned: PlannedVolume) -> Recalled | None:
        """What an earlier run made of it, where all that it wrote is there, else None. Writes nothing."""
        objects = open_objects(self.store)
        built = [(planned, find_receipt(objects, planned.volume_id, planned.fingerprint))]
        unreadable: dict[int, SliceError] = {}
        if built[0][1] is None:
            record = read_split(objects, planned.volume_id, planned.fingerprint)
            if record is None:
                return None
            # Read again: an archive that was damaged may have been fetched anew, with the same directory.
            indices = [index for index, _, _ in record.unreadable]
            among = planned.slices[np.isin(planned.slices["index"], indices)]
            try:
                unreadable = self._unreadable(planned, among)
            except (ArchiveLostError, OSError):
                return None
            parts = self._parts(planned, unreadable)
            built = [(part, find_receipt(objects, part.volume_id, part.fingerprint)) for part in parts]
        receipts = tuple((part, found.receipt) for part, found in built if found is not None)
        if len(receipts) < len(built):
            return None
        unproven = tuple(found for _, found in built if found is not None and not found.is_last)
        return Recalled(self._conversion(planned, receipts, 0, unreadable), unproven)

    def prove(self, planned: PlannedVolume) -> Conversion | None:
        """What an earlier run made of it, where all that it wrote is there and proven to be right.

        Raises:
            OSError: the store can't be read or written.
        """
        recalled = self.recall(planned)
        objects = open_objects(self.store)
        if recalled is None or not all(prove(objects, found) for found in recalled.unproven):
            return None
        return recalled.conversion

    def _convert(self, planned: PlannedVolume) -> Conversion:
        with contextlib.suppress(SliceError):
            return self._conversion(planned, ((planned, self._build(planned)),), 1, {})

        unreadable = self._unreadable(planned, planned.slices)
        objects = open_objects(self.store)
        built, converted = [], 0
        for part in self._parts(planned, unreadable):
            there = read_receipt(objects, part.volume_id, part.fingerprint)
            try:
                built.append((part, there or self._build(part)))
            except SliceError as error:
                raise OSError(f"{part.volume_id} reads differently a second time: {error}") from error
            converted += there is None
        record = SplitRecord(
            tuple((part.volume_id, part.fingerprint) for part, _ in built),
            tuple((index, str(error.reason), error.message) for index, error in unreadable.items()),
        )
        write_split(objects, planned.volume_id, planned.fingerprint, record)
        return self._conversion(planned, tuple(built), converted, unreadable)

    def _build(self, planned: PlannedVolume) -> Receipt:
        """Raises SliceError at the first slice that can't be read; nothing is written then."""
        slice_hu: list[HuStatistics] = []
        slice_masks = np.zeros(len(planned.slices), SLICE_MASKS_DTYPE)

        def slices() -> Iterator[np.ndarray]:
            for hu in self._read(planned, planned.slices):
                if isinstance(hu, SliceError):
                    raise hu
                slice_masks[len(slice_hu)] = measure_masks(hu, planned.source_spacing_mm[1:])
                slice_hu.append(statistics(hu))
                yield hu

        planes = resample(
            slices(),
            planned.source_shape,
            planned.source_spacing_mm,
            planned.spacing_mm,
            interpolation=self.volume.interpolation,
            antialias=self.volume.antialias,
            clip_hu=self.volume.clip_hu,
        )
        moments: list[HuMoments] = []

        def measured() -> Iterator[np.ndarray]:
            for plane in planes:
                moments.append(HuMoments.of(plane))
                yield plane

        encoding = encoding_of(self.volume)
        levels = encode_levels(measured(), planned.shape, self.volume.pyramid_levels, encoding)
        return write_volume(
            open_objects(self.store),
            levels,
            self._description(planned),
            encoding,
            functools.reduce(operator.add, moments).statistics,
            slice_hu,
            slice_masks,
        )

    def _read(self, planned: PlannedVolume, slices: np.ndarray) -> Iterator[np.ndarray | SliceError]:
        for data in read_slices(self.containers, slices):
            if isinstance(data, SliceError):
                yield data
                continue
            try:
                yield to_hu(decode_slice(data, planned.source_shape[1:]))
            except SliceError as error:
                yield error

    def _unreadable(self, planned: PlannedVolume, among: np.ndarray) -> dict[int, SliceError]:
        found = zip(among["index"].tolist(), self._read(planned, among), strict=True)
        return {index: hu for index, hu in found if isinstance(hu, SliceError)}

    def _parts(self, planned: PlannedVolume, unreadable: dict[int, SliceError]) -> Iterator[PlannedVolume]:
        """The runs that are left between unreadable slices."""
        readable = ~np.isin(planned.slices["index"], list(unreadable))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], readable, [False]]).astype(np.int8)))
        for start, stop in edges.reshape(-1, 2).tolist():
            yield plan_run(
                planned.series,
                planned.slices[start:stop],
                planned.source_spacing_mm,
                planned.source_shape[1:],
                self.volume,
            )

    def _description(self, planned: PlannedVolume) -> Description:
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
                "interpolation": self.volume.interpolation,
                "antialias": self.volume.antialias,
                "clip_hu": list(self.volume.clip_hu),
            },
        )

    def _conversion(
        self,
        planned: PlannedVolume,
        built: tuple[tuple[PlannedVolume, Receipt], ...],
        converted: int,
        unreadable: dict[int, SliceError],
    ) -> Conversion:
        containers = dict(
            zip(planned.slices["index"].tolist(), planned.slices["container"].tolist(), strict=True)
        )
        rejects = tuple(
            Reject(
                Kind.SLICE,
                error.reason,
                f"{self.containers[containers[index]].name}: {slice_name(planned.series, index)}",
                error.message,
                str(planned.series),
                index,
            )
            for index, error in unreadable.items()
        )
        return Conversion(
            planned.volume_id, built, converted, rejects, len(planned.slices), planned.source_bytes
        )

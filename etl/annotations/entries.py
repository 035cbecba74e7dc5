"""Entries of annotation files by others, in the store's coordinates: what readers return and joins take.

Pixel coordinates count from 0 at the centre of the first pixel, x to the right and y down, as a printed
coordinate of DL_info.csv minus 1. Slices are named by their number in the series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from etl.release.names import SeriesKey

Item = TypeVar("Item")

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in 0-based pixels."""

Volume = tuple[SeriesKey, tuple[int, int]]
"""A sub-volume: its series, first and last slice."""


class Fault(StrEnum):
    """Reason codes of entries that are rejected."""

    ENTRY_MALFORMED = "entry_malformed"
    NAME_UNEXPECTED = "name_unexpected"
    ROW_OUT_OF_RANGE = "row_out_of_range"
    ROW_REPEATED = "row_repeated"
    ROW_DISAGREES = "row_disagrees"
    TAG_UNKNOWN = "tag_unknown"
    SLICE_OUTSIDE_VOLUME = "slice_outside_volume"
    VOLUME_DISAGREES = "volume_disagrees"
    BOX_INVERTED = "box_inverted"
    BOX_OUTSIDE_IMAGE = "box_outside_image"
    BOX_DISAGREES = "box_disagrees"
    BOX_AMBIGUOUS = "box_ambiguous"
    PAIR_OF_ITSELF = "pair_of_itself"
    PAIR_OF_TWO_PATIENTS = "pair_of_two_patients"
    MASK_UNREADABLE = "mask_unreadable"
    MASK_EMPTY = "mask_empty"
    MASK_OF_SEVERAL_VALUES = "mask_of_several_values"
    MASK_GRID_DISAGREES = "mask_grid_disagrees"
    MASK_REPEATED = "mask_repeated"
    MASK_MISSES_KEY_SLICE = "mask_misses_key_slice"
    MASK_OUTSIDE_IMAGE = "mask_outside_image"
    MASK_OFF_LESION = "mask_off_lesion"


class Missing(StrEnum):
    """Reason codes of sound entries that join no lesion."""

    NOT_IN_CSV = "not_in_csv"
    NOT_LISTED = "not_listed"
    ROW_NUMBER_UNKNOWN = "row_number_unknown"
    SEVERAL_LESIONS_ON_SLICE = "several_lesions_on_slice"


@dataclass(frozen=True)
class FaultyEntry:
    """One rejected entry: where it is in its file, its reason code, and what was found."""

    where: str
    reason: Fault
    message: str


def each_once(
    items: Iterable[Item], subject: Callable[[Item], str | None], where: Callable[[Item], str]
) -> Iterator[Item | FaultyEntry]:
    """Yield the first item of a source about each subject, and rejects instead of the others.

    Args:
        subject: returns what an item is about; None for one that is kept in any case.
        where: returns the place of an item that has a subject. Items at one place are not repeats.
    """
    seen: dict[str, str] = {}
    for item in items:
        about = subject(item)
        if about is None or seen.setdefault(about, where(item)) == where(item):
            yield item
        else:
            message = f"{about} has an earlier entry, {seen[about]}; allowed: each once"
            yield FaultyEntry(where(item), Fault.ROW_REPEATED, message)


@dataclass(frozen=True)
class TagEntry:
    """Tags of one lesion, named by its 0-based row in the release's DL_info.csv.

    Attributes:
        where: its place in the file.
        row: the lesion's row.
        relevant: tag numbers that hold, each once.
        uncertain: tag numbers that may hold, each once.
        split: the source's own split, or empty.
    """

    where: str
    row: int
    relevant: tuple[int, ...]
    uncertain: tuple[int, ...]
    split: str


@dataclass(frozen=True)
class BoxEntry:
    """One box.

    Attributes:
        where: its place in the file.
        series: the series that it lies in.
        volume: first and last slice of its sub-volume, or None where the source names none.
        box_px: x1, y1, x2, y2 in 0-based pixels.
        z_first: number of its first slice.
        z_last: number of its last slice, included.
        with_margin: the box is larger than the lesion by the release's 5 px.
        truncated: coordinates are the release's with their fraction cut off.
        is_printed: the source claims to repeat the release's own boxes.
        row: row in the release's DL_info.csv that the source claims, or None.
    """

    where: str
    series: SeriesKey
    volume: tuple[int, int] | None
    box_px: Box
    z_first: int
    z_last: int
    with_margin: bool = True
    truncated: bool = False
    is_printed: bool = False
    row: int | None = None

    @property
    def is_3d(self) -> bool:
        """True where the box covers more than one slice."""
        return self.z_last > self.z_first


@dataclass(frozen=True)
class PairEntry:
    """Two boxes of one lesion in two CTs; the direction of the listing is not kept."""

    where: str
    first: BoxEntry
    second: BoxEntry


@dataclass(frozen=True)
class RowEntry:
    """One row of a corrected DL_info.csv.

    Attributes:
        where: its place in the file.
        series: the series.
        slice_index: number of the key slice.
        box: the corrected box, or None where the file has neither boxes nor RECIST lines.
    """

    where: str
    series: SeriesKey
    slice_index: int
    box: BoxEntry | None


@dataclass(frozen=True)
class SplitEntry:
    """A lesion on a key slice, and the split that the source puts it in."""

    where: str
    series: SeriesKey
    slice_index: int
    number: int
    split: str


@dataclass(frozen=True, eq=False)
class MaskEntry:
    """One mask in the grid of its file, cropped to its voxels.

    Attributes:
        where: name of its file.
        series: the series.
        slice_index: number of the key slice.
        number: number of the lesion or sample in its name.
        is_3d: a mask of a whole lesion; False for a GrabCut mask of the key slice.
        voxels: the crop, axes (i, j, k) as in the file, True inside.
        start: whole-voxel place of the crop's first voxel in the flipped grid of the sub-volume.
        spacing_mm: voxel size along (i, j, k).
    """

    where: str
    series: SeriesKey
    slice_index: int
    number: int
    is_3d: bool
    voxels: NDArray[np.bool_]
    start: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


Entry = TypeVar("Entry", covariant=True)


@dataclass(frozen=True)
class Reading(Generic[Entry]):
    """Everything that one file holds: each of its entries is sound or rejected.

    Attributes:
        entries: the sound entries, in the file's order.
        rejects: the others.
        tags: names of tags by their numbers, where the file has any.
        notes: counts worth knowing, by name: repeats, listings, files of other data sets.
        volumes: sub-volumes that the file says it looked at, with boxes or without.
    """

    entries: tuple[Entry, ...]
    rejects: tuple[FaultyEntry, ...] = ()
    tags: tuple[str, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()

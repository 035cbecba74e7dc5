"""The vocabulary of exports: which formats there are, what can be selected, and what a format makes of it.

It imports nothing heavy, so that `deeplesion export --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl.release.annotation_columns import COARSE_TYPES
from etl.release.annotation_columns import SPLITS as SPLIT_CODES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from etl.store.reader import Store

FORMATS = (
    *("nifti", "monai", "nnunet", "nndetection", "coco", "webdataset", "csv", "images", "croissant"),
    "huggingface",
)
"""Names of the export formats; each is a module of this package with a `FORMAT`."""

SPLITS = tuple(SPLIT_CODES.values())

UNLABELLED = "unlabelled"
"""Type of a lesion that the release gives no type: all of `train`."""

TYPES = (*COARSE_TYPES.values(), UNLABELLED)

WHOLE_PATIENTS = (
    "A patient whose lesions are of several splits is wholly in the last of them, in the order train, val,\n"
    "test, so that nothing of test is learned from. The release has no such patients."
)
"""Rule of every format that keeps splits apart, for its description."""

LESION = "lesion"
"""The one class of --single-class."""


@dataclass(frozen=True)
class Pictures:
    """The pixels of images of key slices.

    Attributes:
        hu: 16 bits, HU + 32768 as in the release's PNGs, instead of 8 bits of the lesions' windows.
        neighbours_mm: three channels: the plane this much nearer the head, the key slice, and the plane this
            much nearer the feet; None for the key slice alone.
    """

    hu: bool = False
    neighbours_mm: float | None = None


@dataclass(frozen=True)
class Selection:
    """The values that a lesion may have; an empty tuple allows every value.

    Attributes:
        splits: train, val, test.
        types: names in `TYPES`.
        patients: patient numbers.
        series: names such as 000001_01_01.
        single_class: call every lesion `lesion`, whatever its type; restricts nothing.
        pictures: pixels of images; restricts nothing.
    """

    splits: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    patients: tuple[int, ...] = ()
    series: tuple[str, ...] = ()
    single_class: bool = False
    pictures: Pictures = Pictures()

    def criteria(self) -> dict[str, list[Any]]:
        """Return the attributes that are restricted, each with its sorted values."""
        names = ("splits", "types", "patients", "series")
        return {name: sorted(set(values)) for name in names if (values := getattr(self, name))}


@dataclass(frozen=True, eq=False)
class Selected:
    """The rows that an export takes.

    Attributes:
        lesions: rows of the lesions table, ordered by lesion_id, with their `split`.
        volumes: rows of the volumes table that hold such a lesion; all of them if nothing is restricted.
            Their `split` is that of their patient, by `WHOLE_PATIENTS`.
        single_class: every lesion is of one class.
        pictures: pixels of images.
    """

    lesions: pd.DataFrame
    volumes: pd.DataFrame
    single_class: bool = False
    pictures: Pictures = Pictures()


def class_names(*, single: bool) -> tuple[str, ...]:
    """Return the classes of a detector in the order of their numbers, from 0: the types, or one."""
    return (LESION,) if single else TYPES


def class_numbers(lesions: pd.DataFrame, *, single: bool) -> NDArray[np.int64]:
    """Return each lesion's class: its type's code - 1, 8 without a type, or 0 where there is one class."""
    import numpy as np

    if single:
        return np.zeros(len(lesions), np.int64)
    return lesions["coarse_type_code"].fillna(len(TYPES)).to_numpy(np.int64) - 1


@dataclass(frozen=True)
class ExportFile:
    """One file of an export.

    Attributes:
        path: relative to the export's folder.
        encode: returns the content; the same bytes at every call.
    """

    path: str
    encode: Callable[[], bytes]


@dataclass(frozen=True)
class Format:
    """One kind of export.

    Attributes:
        files: returns the files of an export of the selected rows of a store.
        description: text for the export's README.txt: its files and their coordinates.
        selects: False for a format that always exports the whole version.
        has_classes: True for a format whose lesions have classes, which --single-class joins.
        has_pictures: True for a format with images that --hu and --neighbours change.
    """

    files: Callable[[Store, Selected], Sequence[ExportFile]]
    description: str
    selects: bool = True
    has_classes: bool = False
    has_pictures: bool = False

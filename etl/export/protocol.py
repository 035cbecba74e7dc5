"""The vocabulary of exports: which formats there are, what can be selected, and what a format makes of it.

It imports nothing heavy, so that `deeplesion export --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from etl.release.annotation_columns import COARSE_TYPES
from etl.release.annotation_columns import SPLITS as SPLIT_CODES

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store

FORMATS = ("nifti", "coco", "csv", "images", "croissant")
"""Names of the export formats; each is a module of this package with a `FORMAT`."""

SPLITS = tuple(SPLIT_CODES.values())

UNLABELLED = "unlabelled"
"""Type of a lesion that the release gives no type: all of `train`."""

TYPES = (*COARSE_TYPES.values(), UNLABELLED)


@dataclass(frozen=True)
class Selection:
    """The values that a lesion may have; an empty tuple allows every value.

    Attributes:
        splits: train, val, test.
        types: names in `TYPES`.
        patients: patient numbers.
        series: names such as 000001_01_01.
    """

    splits: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    patients: tuple[int, ...] = ()
    series: tuple[str, ...] = ()

    def criteria(self) -> dict[str, list[Any]]:
        """Return the attributes that are restricted, each with its sorted values."""
        return {name: sorted(set(values)) for name, values in asdict(self).items() if values}


@dataclass(frozen=True, eq=False)
class Selected:
    """The rows that an export takes.

    Attributes:
        lesions: rows of the lesions table, ordered by lesion_id, with their `split`.
        volumes: rows of the volumes table that hold such a lesion; all of them if nothing is restricted.
    """

    lesions: pd.DataFrame
    volumes: pd.DataFrame


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
    """

    files: Callable[[Store, Selected], Sequence[ExportFile]]
    description: str
    selects: bool = True

"""Read DL_info.csv into typed lesions, the geometry of their runs, and rejects."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etl.core.counted import counted
from etl.core.rejects import Kind, Reason, Reject
from etl.release.annotation_columns import COARSE_TYPES, COLUMNS, SPLITS
from etl.release.annotation_fields import Value
from etl.release.annotation_rows import RowReading, RunGeometry, read_row
from etl.release.csv_records import Record, excerpt, read_records
from etl.release.sources import ANNOTATIONS_SHA256

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

__all__ = [
    "COARSE_TYPES",
    "COLUMNS",
    "LESION_DTYPES",
    "SPLITS",
    "Annotations",
    "RunGeometry",
    "parse_annotations",
]

LESION_DTYPES: Mapping[str, str] = {
    "lesion_id": "int32",
    "file_name": "str",
    "patient_index": "int32",
    "study_index": "int32",
    "series_index": "int32",
    "key_slice_index": "int32",
    "recist_long_x1_px": "float64",
    "recist_long_y1_px": "float64",
    "recist_long_x2_px": "float64",
    "recist_long_y2_px": "float64",
    "recist_short_x1_px": "float64",
    "recist_short_y1_px": "float64",
    "recist_short_x2_px": "float64",
    "recist_short_y2_px": "float64",
    "bbox_x1_px": "float64",
    "bbox_y1_px": "float64",
    "bbox_x2_px": "float64",
    "bbox_y2_px": "float64",
    "bbox_past_edge": "bool",
    "long_diameter_px": "float64",
    "short_diameter_px": "float64",
    "norm_x": "float64",
    "norm_y": "float64",
    "norm_z": "float64",
    "coarse_type_code": "Int8",
    "coarse_type": "string",
    "possibly_noisy": "bool",
    "slice_first": "int32",
    "slice_last": "int32",
    "spacing_x_mm": "float64",
    "spacing_y_mm": "float64",
    "spacing_z_mm": "float64",
    "image_width_px": "int32",
    "image_height_px": "int32",
    "window_low_hu": "float64",
    "window_high_hu": "float64",
    "sex": "str",
    "age_years": "Int16",
    "split": "str",
}
"""Columns of `Annotations.lesions` and their pandas types, in order."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """A read DL_info.csv: `row_count == len(lesions) + len(rejects)`.

    Attributes:
        lesions: one row an accepted CSV row, sorted by `lesion_id`, with the columns of `LESION_DTYPES`.
            Pixel coordinates are 1-based as published: an image of width W covers [0.5, W + 0.5].
        geometries: one a CSV row whose run is known, in the CSV's order. They include rows rejected for a
            fault of their lesion, so that its volume can still be built, and no duplicate rows.
        rejects: one a rejected row, in the CSV's order.
        row_count: rows of the CSV without blank lines.
        bytes: size of the file.
        sha256: of the file, as hex.
        source: name of the file, as given.
    """

    lesions: pd.DataFrame
    geometries: tuple[RunGeometry, ...]
    rejects: tuple[Reject, ...]
    row_count: int
    bytes: int
    sha256: str
    source: str


def parse_annotations(data: bytes, source: str) -> Annotations:
    """Read DL_info.csv. A faulty row becomes one reject and does not affect the others.

    A reject's reason is the first problem of its row and its message names all of them, in the order of
    `etl.release.annotation_rows.read_row`; a row that repeats an earlier one is only a duplicate. A log line
    says how a file was understood that is not the official one.

    Args:
        data: the whole file; see `etl.release.csv_records.read_records` for its encodings and separators.
        source: its name, for messages and rejects.

    Raises:
        SourceError: the file as a whole can't be used (see `etl.release.csv_records.read_records`).
    """
    table = read_records(data, source, COLUMNS)
    accepted: list[dict[str, Value]] = []
    geometries: list[RunGeometry] = []
    rejects: list[Reject] = []
    first_with: dict[tuple[str, ...], int] = {}
    as_decimals = False
    for lesion_id, record in enumerate(table.records):
        row = read_row(record, table.header_count, lesion_id)
        as_decimals |= row.as_decimals
        if len(record.cells) == len(COLUMNS) and not record.damage:
            earlier = first_with.setdefault(tuple(record.cells.values()), lesion_id)
            if earlier != lesion_id:
                message = f"all {len(COLUMNS)} fields equal those of row {earlier}; allowed: each row once"
                rejects.append(_reject(source, lesion_id, record, row, Reason.DUPLICATE_ROW, message))
                continue
        if row.run is not None:
            geometries.append(row.run)
        if row.problems:
            message = " | ".join(problem.text for problem in row.problems)
            rejects.append(_reject(source, lesion_id, record, row, row.problems[0].reason, message))
        else:
            accepted.append({"lesion_id": lesion_id, **row.values})
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != ANNOTATIONS_SHA256:
        notes = [table.dialect, "whole numbers printed as 1.0" if as_decimals else ""]
        logger.info(
            "%s is not the release's own file; read as %s, %s",
            source,
            ", ".join(filter(None, notes)) or "comma-separated UTF-8",
            counted(len(table.records), "row"),
        )
    return Annotations(
        lesions=_lesions(accepted),
        geometries=tuple(geometries),
        rejects=tuple(rejects),
        row_count=len(table.records),
        bytes=len(data),
        sha256=sha256,
        source=source,
    )


def _reject(
    source: str, lesion_id: int, record: Record, row: RowReading, reason: Reason, message: str
) -> Reject:
    name = excerpt(record.cells.get("File_name", ""))
    return Reject(
        kind=Kind.ROW,
        reason=reason,
        found_in=f"{source} row {lesion_id}: {name}" if name else f"{source} row {lesion_id}",
        message=message,
        series_id=str(row.series) if row.series else "",
        slice_index=row.slice_index,
        lesion_id=lesion_id,
    )


def _lesions(rows: Sequence[Mapping[str, Value]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in LESION_DTYPES.items()}
    )

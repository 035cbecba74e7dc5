"""Read rows of the foundation-model benchmark of AIM-Harvard (Pai et al., Nature Machine Intelligence 2024).

A CSV keyed by the release's row in its first column, unnamed or named `Unnamed: 0` by pandas. `bbox` is the
printed box with its fractions cut off, and centroid_z counts from 1 at the sub-volume's first slice.
"""

from __future__ import annotations

from etl.annotations.documents import (
    RELEASE_ROWS,
    box,
    cells_of,
    from_text,
    listing,
    number,
    read_each,
    read_json,
    read_table,
    reject,
    slice_in,
    sub_volume,
    whole,
)
from etl.annotations.entries import BoxEntry, Fault, Reading
from etl.core.errors import SourceError
from etl.release.csv_records import Record, read_header

_ROW = ("Unnamed: 0", "")
_COLUMNS = ("Volume_fn", "bbox", "centroid_z")


def read_aim_rows(data: bytes, source: str) -> Reading[BoxEntry]:
    """Read one of the CSVs of task 1.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no such CSV.
    """
    header = read_header(data, source, _COLUMNS)
    row_column = next((name for name in _ROW if name in header), _ROW[0])
    rows = read_table(data, source, (row_column, *_COLUMNS))
    return Reading(*read_each(rows, lambda where, record: _read(where, record, row_column), source))


def _read(where: str, record: Record, row_column: str) -> BoxEntry:
    cells = cells_of(record)
    row = whole(from_text(cells.get(row_column), "the row"), "the row")
    if not 0 <= row < RELEASE_ROWS:
        reject(Fault.ROW_OUT_OF_RANGE, f"row {row}; allowed: 0 to {RELEASE_ROWS - 1}")
    series, first, last = sub_volume(cells.get("Volume_fn"))
    key = first + whole(from_text(cells.get("centroid_z"), "centroid_z"), "centroid_z") - 1
    slice_in(key, first, last)
    try:
        values = read_json((cells.get("bbox") or "null").encode(), "bbox")
    except SourceError:
        reject(Fault.ENTRY_MALFORMED, "bbox is no list; allowed: [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (number(part, "bbox") for part in listing(values, "bbox", 4))
    pixels = box(x1, y1, x2, y2, counted_from=1)
    truncated = all(part == int(part) for part in pixels)
    return BoxEntry(
        where, series, (first, last), pixels, key, key, truncated=truncated, is_printed=True, row=row
    )

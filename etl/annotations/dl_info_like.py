"""Read corrected rows: any CSV with DL_info.csv's columns or part of them.

Coordinates are 1-based, as printed in the release. A file without boxes but with RECIST lines gets the
release's own: their extent and 5 px on each side.
"""

from __future__ import annotations

from collections.abc import Mapping

from etl.annotations.documents import box, cells_of, from_text, key_slice, read_each, read_table, reject
from etl.annotations.entries import Box, BoxEntry, Fault, Reading, RowEntry
from etl.release.csv_records import Record

MARGIN_PX = 5.0


def read_dl_info_like(data: bytes, source: str) -> Reading[RowEntry]:
    """Read a CSV of corrected rows; `File_name` has to be among its columns.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no such CSV.
    """
    rows = read_table(data, source, ("File_name",), ("Bounding_boxes", "Measurement_coordinates"))
    return Reading(*read_each(rows, _read, source))


def _read(where: str, record: Record) -> RowEntry:
    cells = cells_of(record)
    series, key = key_slice(cells.get("File_name"), "File_name")
    pixels = _box(cells)
    entry = None if pixels is None else BoxEntry(where, series, None, pixels, key, key)
    return RowEntry(where, series, key, entry)


def _box(cells: Mapping[str, str]) -> Box | None:
    boxes, lines = (cells.get(name) for name in ("Bounding_boxes", "Measurement_coordinates"))
    if boxes and boxes.strip():
        x1, y1, x2, y2 = _numbers(boxes, "Bounding_boxes", 4)
        return box(x1, y1, x2, y2, counted_from=1)
    if lines and lines.strip():
        points = _numbers(lines, "Measurement_coordinates", 8)
        x, y = points[::2], points[1::2]
        extent = (min(x) - MARGIN_PX, min(y) - MARGIN_PX, max(x) + MARGIN_PX, max(y) + MARGIN_PX)
        return box(*extent, counted_from=1)
    return None


def _numbers(cell: str, column: str, count: int) -> list[float]:
    parts = cell.split(",")
    if len(parts) != count:
        reject(Fault.ENTRY_MALFORMED, f"{column} has {len(parts)} numbers; allowed: {count}")
    return [from_text(part, column) for part in parts]

"""The order of the release's rows, as checksums, and the official row numbers of the rows of any CSV.

Others key their annotations by the 0-based row of the release's DL_info.csv, whose rows stand by series and
are not sorted by key slice inside one. `release_order.csv.gz` has of each of the 14,601 series its number of
rows, the CRC-32 of its sorted key slices, and, where they were known when it was made, the CRC-32 of each
row's name and box in the release's order. `python -m etl.annotations.release_order FOLDER` makes it from
`series_row_ranges.csv`, `key_slices.csv` and `DL_info_row_index.csv`.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path

from etl.annotations.documents import RELEASE_ROWS
from etl.annotations.printed_rows import PrintedRow
from etl.release.names import SeriesKey, parse_series_id
from etl.release.sources import ANNOTATIONS_SHA256

_FILE = "release_order.csv.gz"
# Neighbouring rows of one series on different slices: 64.2 % of 2,763 ascend in the release; all do in a
# sorted CSV, and half in a shuffled one. Of the whole release the share is known as far as these tell it.
ASCENDING_SHARE, _MEASURED_NEIGHBOURS = 0.642, 2_763
_MOST_DEVIATIONS = 4.0


@dataclass(frozen=True)
class SeriesFacts:
    """One series of the release.

    Attributes:
        first_row: number of its first row.
        row_count: its rows.
        slices_crc32: CRC-32 of its sorted key slices.
        rows_crc32: CRC-32 of each of its rows in order; empty where unknown.
    """

    first_row: int
    row_count: int
    slices_crc32: int
    rows_crc32: tuple[int, ...]


@dataclass(frozen=True)
class RowNumbers:
    """Official row numbers of a CSV's rows.

    Attributes:
        numbers: official number by 0-based row of the CSV, where it is certain.
        is_official: every row's number is certain, and they ascend: the CSV is the release's or a part of it,
            in the release's order.
        is_whole: the CSV holds all rows of the release.
        found_by: rows by how their number was found: `sha256`, `row_checksum`, `only_row_of_series`,
            `file_order`, `unknown`.
        ascending_share: share of neighbouring rows of a series that ascend by slice; None without any.
        partial: series of which the release has more rows than the CSV, known where that is of the release:
            at least a tenth of its series is whole or has a row of a known checksum.
    """

    numbers: Mapping[int, int]
    is_official: bool
    is_whole: bool
    found_by: Mapping[str, int]
    ascending_share: float | None
    partial: frozenset[SeriesKey] = frozenset()


def slices_crc32(slices: Sequence[int]) -> int:
    """Return the checksum of a series' key slices, one a row, in any order."""
    return zlib.crc32(",".join(map(str, sorted(slices))).encode())


def row_crc32(row: PrintedRow) -> int:
    """Return the checksum of a row's series, key slice and printed box."""
    box = ",".join(f"{value:.4f}" for value in row.printed_box)
    return zlib.crc32(f"{row.series}_{row.key_slice}:{box}".encode())


@lru_cache(maxsize=1)
def release_order() -> Mapping[SeriesKey, SeriesFacts]:
    """Return the facts of every series, in the release's order."""
    data = gzip.decompress(resources.files("etl.annotations").joinpath(_FILE).read_bytes())
    facts: dict[SeriesKey, SeriesFacts] = {}
    first = 0
    for cells in csv.DictReader(io.StringIO(data.decode())):
        series = parse_series_id(cells["series"])
        assert series is not None
        count, known = int(cells["rows"]), cells["rows_crc32"].split()
        numbers = tuple(int(crc, 16) for crc in known)
        facts[series] = SeriesFacts(first, count, int(cells["slices_crc32"], 16), numbers)
        first += count
    return facts


def series_of_row(number: int) -> SeriesKey | None:
    """Return the series that an official row number belongs to; None for a number out of range."""
    series, firsts = _series_by_row()
    return series[bisect_right(firsts, number) - 1] if 0 <= number < RELEASE_ROWS else None


@lru_cache(maxsize=1)
def _series_by_row() -> tuple[Sequence[SeriesKey], Sequence[int]]:
    order = release_order()
    return list(order), [facts.first_row for facts in order.values()]


def number_rows(rows: Sequence[PrintedRow], row_count: int, sha256: str) -> RowNumbers:
    """Return the official numbers of a CSV's rows, as far as they are certain.

    A row's number is certain where the file is the release's own (by its SHA-256); where its checksum is
    known; where it is the only row of its series; or by its place inside its series, if the series is whole
    and everything in the file speaks for the release's order: series ascend, sub-volumes are not mixed, no
    row of a known number stands elsewhere, and as many neighbours ascend as in the release.

    Args:
        rows: the CSV's rows that could be read, in its order.
        row_count: all rows of the CSV.
        sha256: of the file.
    """
    if sha256 == ANNOTATIONS_SHA256:
        return RowNumbers(
            {n: n for n in range(row_count)}, True, True, {"sha256": row_count}, _ascending(rows)[0]
        )
    order = release_order()
    by_series: dict[SeriesKey, list[PrintedRow]] = defaultdict(list)
    for row in rows:
        by_series[row.series].append(row)
    whole = {
        series
        for series, own in by_series.items()
        if (facts := order.get(series)) is not None
        and len(own) == facts.row_count
        and slices_crc32([row.key_slice for row in own]) == facts.slices_crc32
    }
    numbers: dict[int, int] = {}
    known_series = set(whole)
    found_by = dict.fromkeys(("row_checksum", "only_row_of_series", "file_order", "unknown"), 0)
    contradicted = False
    for series, own in by_series.items():
        if (facts := order.get(series)) is None:
            continue
        if facts.rows_crc32:
            places = {crc: facts.first_row + at for at, crc in enumerate(facts.rows_crc32)}
            known = [(row.lesion_id, places.get(row_crc32(row))) for row in own]
            numbers.update((lesion_id, number) for lesion_id, number in known if number is not None)
            found_by["row_checksum"] += sum(number is not None for _, number in known)
            found = [number for _, number in known if number is not None]
            known_series |= {series} if found else set()
            contradicted |= found != sorted(found) or len(found) < len(known)
        elif series in whole and facts.row_count == 1:
            numbers[own[0].lesion_id] = facts.first_row
            found_by["only_row_of_series"] += 1
    left = [series for series in by_series if series in whole and not order[series].rows_crc32]
    left = [series for series in left if order[series].row_count > 1]
    if left and not contradicted and _in_order(rows, by_series, left, order):
        for series in left:
            first = order[series].first_row
            numbers.update((row.lesion_id, first + at) for at, row in enumerate(by_series[series]))
            found_by["file_order"] += len(by_series[series])
    found_by["unknown"] = row_count - len(numbers)
    listed = [numbers[row.lesion_id] for row in rows if row.lesion_id in numbers]
    partial = frozenset(
        series
        for series, own in by_series.items()
        if 10 * len(known_series) >= len(by_series)
        and (facts := order.get(series)) is not None
        and len(own) < facts.row_count
    )
    # A row that could not be read keeps its place, so it takes no number from its neighbours.
    is_official = len(listed) == len(rows) > 0 and all(a < b for a, b in pairwise(listed))
    return RowNumbers(
        numbers,
        is_official,
        is_official and row_count == RELEASE_ROWS,
        found_by,
        _ascending(rows)[0],
        partial,
    )


def _in_order(
    rows: Sequence[PrintedRow],
    by_series: Mapping[SeriesKey, Sequence[PrintedRow]],
    left: Sequence[SeriesKey],
    order: Mapping[SeriesKey, SeriesFacts],
) -> bool:
    """Return True where the file is in the release's order as far as its rows can show it."""
    runs = [
        row.series
        for row, before in zip(rows, [None, *rows], strict=False)
        if before is None or row.series != before.series
    ]
    firsts = [order[series].first_row for series in runs if series in order]
    if any(a >= b for a, b in pairwise(firsts)):
        return False
    for series in left:
        volumes = [row.volume for row in by_series[series]]
        if 1 + sum(a != b for a, b in pairwise(volumes)) > len(set(volumes)):
            return False
    share, count = _ascending([row for series in left for row in by_series[series]])
    return share is not None and ascends_as_the_release(share, count)


def ascends_as_the_release(share: float, count: int) -> bool:
    """Return True where a share of neighbours that ascend speaks for the release's order.

    Args:
        share: of neighbouring rows of one series that ascend by slice.
        count: neighbours that were compared.
    """
    shuffled = 0.5 + _MOST_DEVIATIONS * 0.5 / math.sqrt(count)
    variance = ASCENDING_SHARE * (1 - ASCENDING_SHARE) * (1 / count + 1 / _MEASURED_NEIGHBOURS)
    spread = _MOST_DEVIATIONS * math.sqrt(variance)
    return share > shuffled and abs(share - ASCENDING_SHARE) <= spread


def _ascending(rows: Sequence[PrintedRow]) -> tuple[float | None, int]:
    """Return the share of neighbours in one series that ascend by slice, and how many differ."""
    steps = [b.key_slice - a.key_slice for a, b in pairwise(rows) if a.series == b.series]
    steps = [step for step in steps if step]
    return (sum(step > 0 for step in steps) / len(steps) if steps else None), len(steps)


def make_release_order(folder: Path) -> bytes:
    """Return the bytes of `release_order.csv.gz`.

    Args:
        folder: holds `series_row_ranges.csv`, `key_slices.csv` and `DL_info_row_index.csv`.
    """
    from etl.annotations.printed_rows import printed_rows
    from etl.release.annotations import parse_annotations

    slices: dict[str, list[int]] = defaultdict(list)
    for cells in _table(folder / "key_slices.csv"):
        series, _, key = cells["File_name"].removesuffix(".png").rpartition("_")
        slices[series] += [int(key)] * round(float(cells["n_lesions"] or 1))
    data = (folder / "DL_info_row_index.csv").read_bytes()
    rows = printed_rows(parse_annotations(data, "DL_info_row_index.csv").lesions)
    places = [int(cells["row_index"]) for cells in _table(folder / "DL_info_row_index.csv")]
    known = {places[row.lesion_id]: row_crc32(row) for row in rows}
    out = io.StringIO()
    out.write("series,rows,slices_crc32,rows_crc32\n")
    next_row = 0
    for cells in _table(folder / "series_row_ranges.csv"):
        first, count, series = int(cells["first_row"]), int(cells["n_rows"]), cells["series"]
        assert (first, count) == (next_row, len(slices[series])), f"{series}: its rows are not as counted"
        next_row += count
        crcs = [known[row] for row in range(first, next_row) if row in known]
        text = " ".join(f"{crc:08x}" for crc in crcs) if len(set(crcs)) == count else ""
        out.write(f"{series},{count},{slices_crc32(slices[series]):08x},{text}\n")
    assert next_row == RELEASE_ROWS
    return gzip.compress(out.getvalue().encode(), 9, mtime=0)


def _table(path: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    (Path(__file__).parent / _FILE).write_bytes(make_release_order(Path(sys.argv[1])))

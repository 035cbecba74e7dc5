"""The bytes of a CSV -> its header and one record a line, where a damaged line costs that line only."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from etl.core.errors import SourceError

_LOG = logging.getLogger(__name__)
_REMEDY = "use DL_info.csv as the release publishes it: comma-separated UTF-8 text with its header line"


def excerpt(text: str, limit: int = 80) -> str:
    """Text from the data, fit for a message: unprintable characters escaped, cut after `limit` characters."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return repr(cut)[1:-1]


@dataclass(frozen=True)
class Record:
    """One line of the CSV below the header.

    Attributes:
        cells: the wanted columns' cells as printed, by column name. A line with too few fields lacks the
            last of the header's columns here; a line that could not be split holds what could be told.
        field_count: fields in the line; 0 where `damage` says why it could not be split.
        damage: why the line is not one CSV record, or empty.
    """

    cells: Mapping[str, str]
    field_count: int
    damage: str = ""


@dataclass(frozen=True)
class Records:
    """The lines of a CSV that are not blank, in order, and the number of columns that its header names."""

    header_count: int
    records: tuple[Record, ...]


def read_records(data: bytes, source: str, columns: Sequence[str]) -> Records:
    """Split a CSV into records that hold the wanted columns.

    Bytes that are not UTF-8 become U+FFFD, so only their own cell suffers; a byte order mark is dropped.
    No field of the release holds a line break, so each line is one record, and a quote that is never
    closed can't swallow the lines below it. Lines end in LF or CRLF (in CR where the file holds no LF).
    Blank lines are skipped. Columns may stand in any order; those not wanted are ignored with a warning.

    Args:
        data: the whole file.
        source: its name, for messages.
        columns: names of the wanted columns.

    Raises:
        SourceError: the file is empty, is not CSV text, lacks a column, names one twice or has no rows.
    """
    lines = _lines(data)
    header_line = next(lines, None)
    if header_line is None:
        raise SourceError("the CSV is empty", where=source, allowed="a header line and rows", remedy=_REMEDY)
    header, damage = _split(header_line)
    header = [name.strip(" ") for name in header]
    _check_header(header, damage, header_line, source, columns)
    position = {name: header.index(name) for name in columns}
    records = tuple(_record(line, position) for line in lines)
    if not records:
        raise SourceError("the CSV has a header but no rows", where=source, remedy=_REMEDY)
    return Records(len(header), records)


def _lines(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8-sig", errors="replace")
    for line in text.split("\n" if "\n" in text else "\r"):
        ended = line.removesuffix("\r")
        if ended.strip(" \t"):
            yield ended


def _split(line: str) -> tuple[list[str], str]:
    """The fields of one line and an empty text, or no fields and why it is not one CSV record."""
    if "\r" in line:
        return [], "a carriage return stands inside the line"
    try:
        return next(csv.reader([line], strict=True)), ""
    except csv.Error as error:
        return [], str(error)


def _record(line: str, position: Mapping[str, int]) -> Record:
    fields, damage = _split(line)
    # A damaged line still shows its unquoted first cells, which say what it is about.
    known = fields if not damage else line[:1000].split('"', 1)[0].split(",")[:-1]
    cells = {name: known[at] for name, at in position.items() if at < len(known)}
    return Record(cells, len(fields), damage)


def _check_header(header: Sequence[str], damage: str, line: str, source: str, columns: Sequence[str]) -> None:
    found = ", ".join(excerpt(name, 40) for name in header[:40]) or "none"
    missing = [name for name in columns if name not in header]
    if damage or "\0" in line or len(missing) == len(columns):
        raise SourceError(
            "the file is not the release's CSV: its first line is not the header"
            + (f" ({damage})" if damage else ""),
            where=source,
            value=line[:80],
            allowed=f"a header line with the columns {', '.join(columns)}",
            remedy=_REMEDY,
        )
    if missing:
        raise SourceError(
            f"the CSV lacks {len(missing)} of {len(columns)} columns: {', '.join(missing)}",
            where=source,
            value=f"columns found: {found}",
            allowed=f"the columns {', '.join(columns)}, in any order",
            remedy=_REMEDY,
        )
    repeated = [name for name, times in Counter(header).items() if times > 1 and name in columns]
    if repeated:
        raise SourceError(
            f"the CSV's header names a column more than once: {', '.join(repeated)}",
            where=source,
            value=f"columns found: {found}",
            allowed="each column once",
            remedy="remove the column that does not belong",
        )
    extra = [name for name in header if name not in columns]
    if extra:
        shown = ", ".join(excerpt(name, 40) or "(no name)" for name in extra[:20])
        _LOG.warning("%s: ignoring columns that the release does not have: %s", source, shown)

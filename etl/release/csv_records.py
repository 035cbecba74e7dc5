"""Split the bytes of a CSV into its header and one record a line; a damaged line costs that line only."""

from __future__ import annotations

import codecs
import csv
import logging
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from etl.core.errors import SourceError

_LOG = logging.getLogger(__name__)
_REMEDY = "use DL_info.csv as the release publishes it: comma-separated UTF-8 text with its header line"
_REMEDY_BY_OTHERS = "give the file as its authors publish it, or name its own `kind`"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_GZIP = b"\x1f\x8b"
# The official file has 8.5 MB.
_MAX_BYTES = 1 << 30


def excerpt(text: str, limit: int = 80) -> str:
    """Return text of the data for a message: unprintable characters escaped, cut after `limit` characters."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return repr(cut)[1:-1]


@dataclass(frozen=True)
class Record:
    """One line of the CSV below the header.

    Attributes:
        cells: the wanted columns' cells as printed, by column name. A line with too few fields lacks the
            last of the header's columns here; a line that can't be split has its unquoted first cells.
        field_count: fields in the line; 0 where it can't be split.
        damage: reason why the line is not one CSV record, or empty.
        line: its number in the file, from 1; blank lines count.
    """

    cells: Mapping[str, str]
    field_count: int
    damage: str = ""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Records:
    """A CSV, split.

    Attributes:
        header_count: columns in its header.
        records: its lines below the header that are not blank, in order.
        dialect: differences from the official file's format, in words; empty where there are none.
    """

    header_count: int
    records: tuple[Record, ...]
    dialect: str = field(default="", compare=False)


def read_header(data: bytes, source: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a CSV's first line names; none where it is empty or no CSV record.

    Args:
        data: the whole file.
        source: its name, for messages.
        columns: names of columns that may be there, by which the separator is found.

    Raises:
        SourceError: it is gzipped and damaged, or encoded in another way than `read_records` takes.
    """
    _, line = next(_lines(_decoded(data, source)[0]), (1, ""))
    return tuple(_split_header(line, columns)[1])


def read_records(data: bytes, source: str, columns: Sequence[str], *, by_others: bool = False) -> Records:
    """Split a CSV into records of the wanted columns.

    Text is UTF-8, or UTF-16 with a byte order mark; the file may be gzipped. Bytes that can't be decoded
    become U+FFFD, so only their own cell suffers. Fields are separated as the header is: by commas,
    semicolons or tabs. No field of the release holds a line break, so each line is one record, and a quote
    that is never closed does not swallow the lines below it. Lines end in LF or CRLF (in CR where the file
    holds no LF). Blank lines are skipped. Columns may be in any order; those not wanted are ignored with a
    warning.

    Args:
        data: the whole file.
        source: its name, for messages.
        columns: names of the wanted columns.
        by_others: the CSV is not the release's: it may have no rows, other columns are no news, and a line
            with more fields than the header is damaged, because which field belongs to which is unknown.

    Raises:
        SourceError: the file is empty, is not CSV text, lacks a column, names one twice or has no rows.
    """
    remedy = _REMEDY_BY_OTHERS if by_others else _REMEDY
    text, dialect = _decoded(data, source)
    lines = _lines(text)
    _, header_line = next(lines, (1, None))
    if header_line is None:
        raise SourceError("the CSV is empty", where=source, allowed="a header line and rows", remedy=remedy)
    separator, header, damage = _split_header(header_line, columns)
    if separator != ",":
        dialect.append(f"separated by {_SEPARATORS[separator]}s")
    kind = "such a CSV" if by_others else "the release's CSV"
    _check_header(header, damage, header_line, source, columns, kind, remedy)
    extra = [name for name in header if name not in columns]
    if extra and not by_others:
        shown = ", ".join(excerpt(name, 40) or "(no name)" for name in extra[:20])
        _LOG.warning("%s: ignoring columns that the release does not have: %s", source, shown)
    position = {name: header.index(name) for name in columns}
    records = tuple(_record(number, line, separator, position) for number, line in lines)
    if by_others:
        records = tuple(_damaged_if_longer(record, len(header)) for record in records)
    elif not records:
        raise SourceError("the CSV has a header but no rows", where=source, remedy=_REMEDY)
    if len(header) > len(columns):
        dialect.append(f"{len(header) - len(columns)} other columns")
    if [name for name in header if name in columns] != list(columns):
        dialect.append("columns in another order")
    return Records(len(header), records, ", ".join(dialect))


def _decoded(data: bytes, source: str) -> tuple[str, list[str]]:
    """Return the text of a CSV, and in words how it was encoded where that is not UTF-8."""
    dialect = []
    if data[:2] == _GZIP:
        data = _unzipped(data, source)
        dialect.append("gzipped")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", errors="replace"), [*dialect, "UTF-16"]
    # Every second byte of such a text is 0; the others are letters, or in UTF-32 half of them.
    few, many = sorted(half.count(0) / max(1, len(half)) for half in (data[:200:2], data[1:200:2]))
    if len(data) > 20 and many > 0.9 and few < 0.6:
        raise SourceError(
            "the CSV is UTF-16 or UTF-32 without a byte order mark",
            where=source,
            value=data[:40],
            allowed="UTF-8; UTF-16 with a byte order mark",
            remedy="save it again as UTF-8, or use the file as it is published",
        )
    if data.startswith(codecs.BOM_UTF8):
        dialect.append("byte order mark")
    return data.decode("utf-8-sig", errors="replace"), dialect


def _unzipped(data: bytes, source: str) -> bytes:
    """Return the text of a gzip file, of all its members: bgzip and `cat` write several."""
    pieces, size, fault = [], 0, ""
    while data[:2] == _GZIP and not fault:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            pieces.append(inflater.decompress(data, _MAX_BYTES - size))
        except zlib.error as error:
            fault = str(error)
            break
        size += len(pieces[-1])
        data = inflater.unused_data
        if not inflater.eof or size >= _MAX_BYTES:
            fault = "it ends early" if size < _MAX_BYTES else "it is too large"
    if fault:
        raise SourceError(
            "the gzipped CSV can't be inflated",
            where=source,
            value=fault,
            allowed=f"a gzip file of at most {_MAX_BYTES:,} bytes of text",
            remedy="inflate it with gunzip, or fetch the file again",
        )
    return b"".join(pieces)


def _split_header(line: str, columns: Sequence[str]) -> tuple[str, list[str], str]:
    """Return the separator that gives most of the wanted columns, the columns, and the line's damage."""
    readings = []
    for separator in _SEPARATORS:
        header, damage = _split(line, separator)
        header = [name.strip(" ") for name in header]
        readings.append((separator, header, damage))
    return max(readings, key=lambda reading: len(set(reading[1]) & set(columns)))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank."""
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), start=1):
        ended = line.removesuffix("\r")
        if ended.strip(" \t"):
            yield number, ended


def _split(line: str, separator: str) -> tuple[list[str], str]:
    """Return the fields of one line and an empty text, or no fields and why it is not one CSV record."""
    if "\r" in line:
        return [], "a carriage return stands inside the line"
    try:
        return next(csv.reader([line], strict=True, delimiter=separator)), ""
    except csv.Error as error:
        return [], str(error)


def _record(number: int, line: str, separator: str, position: Mapping[str, int]) -> Record:
    fields, damage = _split(line, separator)
    # The unquoted first cells of a damaged line name its slice.
    known = fields if not damage else line[:1000].split('"', 1)[0].split(separator)[:-1]
    cells = {name: known[at] for name, at in position.items() if at < len(known)}
    return Record(cells, len(fields), damage, number)


def _damaged_if_longer(record: Record, header_count: int) -> Record:
    if record.field_count <= header_count:
        return record
    allowed = f"{header_count}, as in the header; put quotes around a cell that holds the separator"
    return replace(record, damage=f"it has {record.field_count} fields; allowed: {allowed}")


def _check_header(
    header: Sequence[str],
    damage: str,
    line: str,
    source: str,
    columns: Sequence[str],
    kind: str,
    remedy: str,
) -> None:
    found = ", ".join(excerpt(name, 40) for name in header[:40]) or "none"
    missing = [name for name in columns if name not in header]
    if damage or "\0" in line or len(missing) == len(columns):
        raise SourceError(
            f"the file is not {kind}: its first line is not the header" + (f" ({damage})" if damage else ""),
            where=source,
            value=line[:80],
            allowed=f"a header line with the columns {', '.join(columns)}",
            remedy=remedy,
        )
    if missing:
        raise SourceError(
            f"the CSV lacks {len(missing)} of {len(columns)} columns: {', '.join(missing)}",
            where=source,
            value=f"columns found: {found}",
            allowed=f"the columns {', '.join(columns)}, in any order",
            remedy=remedy,
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

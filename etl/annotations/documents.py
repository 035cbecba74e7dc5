"""Documents of unknown making: JSON and the accessors that check every value taken from one."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from etl.annotations.containers import MOST_MEMBER_BYTES
from etl.annotations.entries import Box, Fault, FaultyEntry, Volume
from etl.core.errors import SourceError
from etl.release.annotation_fields import MAX_MAGNITUDE
from etl.release.csv_records import Record, excerpt, read_header, read_records
from etl.release.names import SeriesKey, parse_file_name, parse_member, parse_series_id

MOST_ENTRIES = 1_000_000
RELEASE_ROWS = 32_735
_ENDINGS = (".gz", ".nii", ".annot")

Value = TypeVar("Value")
Read = TypeVar("Read")


class _EntryError(SourceError):
    """One entry is rejected; the others are read all the same."""

    def __init__(self, reason: Fault, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def reject(reason: Fault, message: str) -> NoReturn:
    """Reject the entry that is being read.

    Raises:
        SourceError: always; `read_each` turns it into a reject.
    """
    raise _EntryError(reason, message)


@contextlib.contextmanager
def whole_file(source: str) -> Iterator[None]:
    """Say which file a fault outside of its entries is in.

    Raises:
        SourceError: with the file's name, where the block rejected something.
    """
    try:
        yield
    except _EntryError as error:
        raise SourceError(
            "a part of the annotation file has another form",
            where=source,
            value=error.what,
            remedy="fetch the file again from where its authors publish it",
        ) from None


def check_size(data: bytes, source: str, most_bytes: int = MOST_MEMBER_BYTES) -> None:
    """Check a file's size before it is parsed.

    Raises:
        SourceError: it is empty or larger than `most_bytes`.
    """
    if not 0 < len(data) <= most_bytes:
        raise SourceError(
            "the annotation file is empty" if not data else "the annotation file is too large",
            where=source,
            value=f"{len(data):,} bytes",
            allowed=f"1 to {most_bytes:,} bytes",
            remedy="give the file as its authors publish it",
        )


def another_file(kind: str, document: Any, source: str, allowed: str) -> SourceError:
    """Return the error of a document that is not of the kind that was expected."""
    return SourceError(
        f"this is no {kind}",
        where=source,
        value=f"a {type(document).__name__}",
        allowed=allowed,
        remedy="give the file as its authors publish it, or name its own `kind`",
    )


def read_json(data: bytes, source: str) -> Any:
    """Parse JSON.

    Raises:
        SourceError: it is empty, too large, not UTF-8 or not JSON.
    """
    check_size(data, source)
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            "the annotation file is not JSON",
            where=source,
            value=excerpt(str(error), 200),
            allowed="UTF-8 JSON of finite numbers",
            remedy="fetch the file again from where its authors publish it",
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def read_table(
    data: bytes, source: str, needed: Sequence[str], optional: Collection[str] = ()
) -> Iterator[tuple[str, Record]]:
    """Return place and cells of a CSV's rows, in any form that DL_info.csv may have; a header alone is none.

    Args:
        needed: columns that must be there.
        optional: columns that are read where they are there.

    Raises:
        SourceError: the file is too large, no CSV, or lacks a needed column.
    """
    check_size(data, source)
    header = read_header(data, source, [*needed, *optional])
    columns = [*needed, *(name for name in optional if name in header)]
    records = read_records(data, source, columns, by_others=True).records
    return ((f"line {record.line}", record) for record in records)


def cells_of(record: Record) -> Mapping[str, str]:
    """Return the cells of a row, by column."""
    if record.damage:
        reject(Fault.ENTRY_MALFORMED, f"the line is not a CSV record: {record.damage}")
    return record.cells


def read_each(
    items: Iterator[tuple[str, Value]], read: Callable[[str, Value], Read], source: str
) -> tuple[tuple[Read, ...], tuple[FaultyEntry, ...]]:
    """Read entries one by one: a faulty one becomes a reject.

    Args:
        items: each entry's place in the file, and its value.
        read: makes an entry of both.

    Raises:
        SourceError: there are more than `MOST_ENTRIES`.
    """
    entries: list[Read] = []
    rejects: list[FaultyEntry] = []
    for count, (where, value) in enumerate(items):
        if count >= MOST_ENTRIES:
            raise SourceError(
                "the annotation file holds too many entries",
                where=source,
                allowed=f"at most {MOST_ENTRIES:,}",
            )
        try:
            entries.append(read(where, value))
        except _EntryError as error:
            rejects.append(FaultyEntry(where, error.reason, error.what))
    return tuple(entries), tuple(rejects)


def shown(value: Any) -> str:
    """Return a value for messages: scalars as they are, cut; of anything else its type."""
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, int) and abs(value) > 1 << 64:
            return "a whole number of more than 64 bits"
        return excerpt(repr(value))
    return f"a {type(value).__name__}"


def _refuse(value: Any, name: str, allowed: str) -> NoReturn:
    reject(Fault.ENTRY_MALFORMED, f"{name} is {shown(value)}; allowed: {allowed}")


def mapping(value: Any, name: str, *keys: str) -> Mapping[Any, Any]:
    """Return the value as a mapping that has these keys."""
    if not isinstance(value, dict):
        _refuse(value, name, "a mapping")
    absent = [key for key in keys if key not in value]
    if absent:
        reject(Fault.ENTRY_MALFORMED, f"{name} lacks {', '.join(absent)}")
    return value


def listing(value: Any, name: str, length: int | None = None) -> list[Any]:
    """Return the value as a list, of this length."""
    if not isinstance(value, (list, tuple)):
        _refuse(value, name, "a list")
    if length is not None and len(value) != length:
        reject(Fault.ENTRY_MALFORMED, f"{name} has {len(value)} items; allowed: {length}")
    return list(value)


def text(value: Any, name: str) -> str:
    """Return the value as text."""
    if not isinstance(value, str):
        _refuse(value, name, "text")
    return value


def number(value: Any, name: str) -> float:
    """Return the value as a finite number of at most `MAX_MAGNITUDE`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(value, name, "a number")
    if not (abs(value) <= MAX_MAGNITUDE and math.isfinite(value)):
        _refuse(value, name, f"a finite number of at most {MAX_MAGNITUDE:g}")
    return float(value)


def whole(value: Any, name: str) -> int:
    """Return the value as a whole number; 3.0 is one."""
    found = number(value, name)
    if found != int(found):
        _refuse(value, name, "a whole number")
    return int(found)


def from_text(value: str | None, name: str) -> float:
    """Return the number that a cell of a table prints."""
    try:
        return number(float((value or "").strip()), name)
    except ValueError:
        _refuse(value, name, "a number")


def box(x1: float, y1: float, x2: float, y2: float, *, counted_from: int) -> Box:
    """Return a box in 0-based pixels.

    Args:
        counted_from: coordinate of the first pixel's centre in the source, 0 or 1.
    """
    if not (x1 < x2 and y1 < y2):
        reject(Fault.BOX_INVERTED, f"the box is ({x1:g}, {y1:g}, {x2:g}, {y2:g}); allowed: x1 < x2, y1 < y2")
    return x1 - counted_from, y1 - counted_from, x2 - counted_from, y2 - counted_from


def sub_volume(name: Any) -> tuple[SeriesKey, int, int]:
    """Return series, first and last slice of `PPPPPP_SS_RR_FFF-LLL`, as a name, a file's name or its path."""
    stem = text(name, "the sub-volume's name").strip(" ").replace("\\", "/").rsplit("/", 1)[-1]
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    head, _, slices = stem.rpartition("_")
    first, _, last = slices.partition("-")
    series = parse_series_id(head)
    digits = all(part.isascii() and part.isdigit() and 3 <= len(part) <= 6 for part in (first, last))
    if series is None or not digits or int(first) > int(last):
        reject(
            Fault.NAME_UNEXPECTED,
            f"the sub-volume is named '{excerpt(stem)}'; allowed: a name like 000001_01_01_103-115",
        )
    return series, int(first), int(last)


def key_slice(name: Any, what: str) -> tuple[SeriesKey, int]:
    """Return series and number of a slice named `000001_01_01/109.png` or `000001_01_01_109.png`.

    Folders before it may be there, and it may be stored as another kind of image.
    """
    given = text(name, what).strip(" ").replace("\\", "/")
    parts = f"{given.rpartition('.')[0] or given}.png".split("/")
    found = parse_member("/".join(parts[-2:])) or parse_file_name(parts[-1])
    if found is None:
        reject(
            Fault.NAME_UNEXPECTED,
            f"{what} is '{excerpt(given[-80:])}'; allowed: a name like 000001_01_01_109.png or "
            "000001_01_01/109.png",
        )
    return found


def sub_volumes(names: Iterable[Any]) -> tuple[Volume, ...]:
    """Return the sub-volumes among names; others are left out, as each of their entries is a reject."""
    found: list[Volume] = []
    for name in names:
        try:
            series, first, last = sub_volume(name)
        except _EntryError:
            continue
        found.append((series, (first, last)))
    return tuple(dict.fromkeys(found))


def slice_in(z: int, first: int, last: int) -> int:
    """Return the slice number `z`, checked to lie in its sub-volume."""
    if not first <= z <= last:
        reject(
            Fault.SLICE_OUTSIDE_VOLUME, f"slice {z} lies outside the sub-volume; allowed: {first} to {last}"
        )
    return z

"""The files of one source as one reading: places that are told apart, and each entry once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from etl.annotations.entries import (
    BoxEntry,
    FaultyEntry,
    PairEntry,
    Reading,
    RowEntry,
    SplitEntry,
    each_once,
)
from etl.core.errors import SourceError
from etl.core.urls import public_url
from etl.release.names import distinct_names


def one_reading(name: str, readings: Sequence[Reading[Any]], urls: Sequence[str] = ()) -> Reading[Any]:
    """Return the files of one source as one reading.

    Of entries that name one row of the release, one lesion of a list of splits, one box or one pair of boxes,
    the first is kept and the others are rejects: tables have one answer for a lesion and a source.

    Args:
        name: of the source, in the config.
        readings: of its files, in their order.
        urls: of the files, by whose last parts entries are named where there are several.

    Raises:
        SourceError: the files name other tags by the same numbers.
    """
    if len(readings) > 1 and urls:
        readings = list(map(_named, readings, distinct_names(list(map(public_url, urls)))))
    first, notes = readings[0], dict(readings[0].notes)
    for other in readings[1:]:
        if other.tags != first.tags:
            raise SourceError(
                "the files of one source number their tags differently",
                where=f"source.more.{name}",
                remedy="make each file a source of its own",
            )
        for note, count in other.notes.items():
            notes[note] = notes.get(note, 0) + count
    distinct = _distinct(entry for reading in readings for entry in reading.entries)
    found = list(each_once(distinct, _subject, attrgetter("where")))
    entries = [entry for entry in found if not isinstance(entry, FaultyEntry)]
    repeated = [entry for entry in found if isinstance(entry, FaultyEntry)]
    rejects = [reject for reading in readings for reject in reading.rejects]
    volumes = dict.fromkeys(volume for reading in readings for volume in reading.volumes)
    return Reading(tuple(entries), (*rejects, *repeated), first.tags, notes, tuple(volumes))


def _named(reading: Reading[Any], name: str) -> Reading[Any]:
    """Return a reading whose entries say which file they are from."""
    parts = (reading.entries, reading.rejects)
    entries, rejects = (tuple(_at(entry, f"{name}: {entry.where}") for entry in part) for part in parts)
    return replace(reading, entries=entries, rejects=rejects)


def _at(entry: Any, where: str) -> Any:
    box = getattr(entry, "box", None)
    return replace(entry, where=where, **({"box": replace(box, where=where)} if box is not None else {}))


def _distinct(entries: Iterable[Any]) -> Iterator[Any]:
    """Yield entries of which no two have one place: tables tell them apart by it."""
    times: Counter[str] = Counter()
    for entry in entries:
        where = entry.where
        while times[where]:
            times[entry.where] += 1
            where = f"{entry.where} ({times[entry.where]})"
        times[where] += 1
        yield entry if where == entry.where else _at(entry, where)


def _subject(entry: Any) -> str | None:
    """Return what an entry is about: a row of the release, a lesion of a slice by number, a box, or a pair.

    A row without a box has none: it may be of any lesion on its slice.
    """
    if isinstance(entry, SplitEntry):
        return f"lesion {entry.number} of slice {entry.slice_index} of {entry.series}"
    if isinstance(entry, PairEntry):
        return f"the pair of {' and '.join(sorted(map(_box, (entry.first, entry.second))))}"
    if getattr(entry, "row", None) is not None:
        return f"row {entry.row}"
    box = entry.box if isinstance(entry, RowEntry) else entry
    return _box(box) if isinstance(box, BoxEntry) else None


def _box(entry: BoxEntry) -> str:
    place = ", ".join(str(float(number)) for number in entry.box_px)
    return f"the box ({place}) on slices {entry.z_first} to {entry.z_last} of {entry.series}"

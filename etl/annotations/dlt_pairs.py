"""Read pairs of one lesion in two CTs from Deep Lesion Tracker (Cai et al., CVPR 2021).

`train.json`, `valid.json` and `test.json` list each pair in both directions, by number; `DLTMix.json`, the
tracker's results, has the same keys in a list below `results`. Coordinates are printed ones minus 1, with one
decimal or more, as x, y, width and height, cut at the image's edges; z counts from 0 at the sub-volume's
first slice. "Diameters" are pixels, and "center" is the mean of the RECIST points, so neither is read.
"""

from __future__ import annotations

from typing import Any

from etl.annotations.documents import (
    another_file,
    box,
    key_slice,
    listing,
    mapping,
    number,
    read_each,
    read_json,
    reject,
    slice_in,
    sub_volume,
    whole,
)
from etl.annotations.entries import BoxEntry, Fault, PairEntry, Reading

_KEYS = tuple(f"{side}{key}" for side in ("source", "target") for key in ("", " recist slice", " recist box"))


def read_dlt_pairs(data: bytes, source: str) -> Reading[PairEntry]:
    """Read one file of pairs; a pair that is listed in both directions is one entry.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no such file.
    """
    document = read_json(data, source)
    if isinstance(document, dict) and isinstance(document.get("results"), list):
        document = document["results"]
    if not isinstance(document, (dict, list)):
        raise another_file(
            "file of pairs",
            document,
            source,
            "a mapping or a list of pairs, or a mapping with the list `results`",
        )
    named = document.items() if isinstance(document, dict) else enumerate(document)
    listings, rejects = read_each(((f"pair {name}", value) for name, value in named), _read, source)
    pairs: dict[frozenset[tuple[Any, ...]], PairEntry] = {}
    for pair in listings:
        sides = frozenset((side.series, side.z_first, *side.box_px[:2]) for side in (pair.first, pair.second))
        pairs.setdefault(sides, pair)
    return Reading(tuple(pairs.values()), rejects, notes={"listings": len(listings)})


def _read(where: str, value: Any) -> PairEntry:
    found = mapping(value, "the pair", *_KEYS)
    first, second = (_side(where, found, side) for side in ("source", "target"))
    if (first.series, first.z_first, first.box_px) == (second.series, second.z_first, second.box_px):
        reject(Fault.PAIR_OF_ITSELF, "both sides are the same box; allowed: two boxes")
    if first.series.patient != second.series.patient:
        reject(
            Fault.PAIR_OF_TWO_PATIENTS,
            f"patients {first.series.patient} and {second.series.patient}; allowed: one patient",
        )
    return PairEntry(where, first, second)


def _side(where: str, found: Any, side: str) -> BoxEntry:
    series, first, last = sub_volume(found[side])
    of_series, key = key_slice(found[f"{side} recist slice"], f"{side} recist slice")
    if of_series != series:
        reject(Fault.NAME_UNEXPECTED, f"{side} recist slice is of {of_series}; allowed: a slice of {series}")
    x, y, width, height = (
        number(part, f"{side} recist box")
        for part in listing(found[f"{side} recist box"], f"{side} recist box", 4)
    )
    z = slice_in(key, first, last)
    centre = found.get(f"{side} recist center")
    if centre is not None and first + whole(listing(centre, "recist center", 3)[2], "recist center z") != z:
        reject(Fault.SLICE_OUTSIDE_VOLUME, f"{side} recist center lies on another slice than {z}")
    pixels = box(x, y, x + width, y + height, counted_from=0)
    return BoxEntry(f"{where}, {side}", series, (first, last), pixels, z, z, is_printed=True)

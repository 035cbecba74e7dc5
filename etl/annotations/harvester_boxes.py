"""Read the boxes of Lesion Harvester (Cai et al., IEEE TMI 2020): pickles of numpy numbers.

RECIST-Box and Revised files map a sub-volume to slices and those to boxes; 3D-Box maps it to boxes. A box
is x1, y1, x2, y2 as printed (1-based) and two z, 0-based in the sub-volume; a z of 3D-Box may lie half way
between slices, and the box covers the slices within. RECIST-Box repeats the release's boxes, Revised adds
lesions that the release does not list, 3D-Box is tight: it has no margin of 5 px.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from etl.annotations.documents import (
    another_file,
    box,
    listing,
    number,
    read_each,
    reject,
    slice_in,
    sub_volume,
    sub_volumes,
    whole,
)
from etl.annotations.entries import BoxEntry, Fault, Reading
from etl.annotations.pickles import read_pickle

_TINY = 1e-6
_Raw = tuple[Any, Any, Any]


def read_harvester_boxes(data: bytes, source: str) -> Reading[BoxEntry]:
    """Read any of Lesion Harvester's files of boxes.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no such file, or its pickle asks for something not allowed.
    """
    document = read_pickle(data, source)
    if not isinstance(document, dict) or not all(
        isinstance(v, (dict, list, tuple)) for v in document.values()
    ):
        raise another_file(
            "file of Lesion Harvester's boxes",
            document,
            source,
            "a mapping of sub-volumes to slices or boxes",
        )
    entries, rejects = read_each(_boxes(document), _read, source)
    empty = sum(not boxes for boxes in document.values())
    notes = {"sub_volumes": len(document), "sub_volumes_without_boxes": empty}
    volumes = sub_volumes(document)
    return Reading(entries, rejects, notes=notes, volumes=volumes)


def _boxes(document: dict[Any, Any]) -> Iterator[tuple[str, _Raw]]:
    for name, found in document.items():
        slices = found.items() if isinstance(found, dict) else ((None, found),)
        for z, boxes in slices:
            place = f"{name!s:.60}" if z is None else f"{name!s:.60}, z {z!s:.20}"
            if not isinstance(boxes, (list, tuple)):
                yield place, (name, z, boxes)
                continue
            for at, values in enumerate(boxes):
                yield f"{place}, box {at}", (name, z, values)


def _read(where: str, value: _Raw) -> BoxEntry:
    name, z, values = value
    series, first, last = sub_volume(name)
    numbers = [number(part, "a coordinate") for part in listing(values, "the box", 6)]
    low, high = math.ceil(numbers[4] - _TINY), math.floor(numbers[5] + _TINY)
    if low > high:
        reject(Fault.BOX_INVERTED, f"z {low} to {high}; allowed: first z <= last z")
    if z is not None and not low == high == whole(z, "z") == numbers[4] == numbers[5]:
        reject(Fault.SLICE_OUTSIDE_VOLUME, f"a box of z {low} to {high} stands under z {z}")
    z_first, z_last = slice_in(first + low, first, last), slice_in(first + high, first, last)
    pixels = box(*numbers[:4], counted_from=1)
    is_3d = z is None
    return BoxEntry(where, series, (first, last), pixels, z_first, z_last, with_margin=not is_3d)

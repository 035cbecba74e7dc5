"""Read the manual 3D boxes of 1,000 sub-volumes (Yan et al., MICCAI 2020): a pickle of numpy arrays.

Each split maps a sub-volume to an array of x1, y1, z1, x2, y2, z2: whole pixels as printed (1-based), and
slice numbers, the last included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etl.annotations.documents import (
    another_file,
    box,
    listing,
    read_each,
    reject,
    slice_in,
    sub_volume,
    sub_volumes,
    whole,
)
from etl.annotations.entries import BoxEntry, Fault, Reading
from etl.annotations.pickles import read_pickle


def read_manual_3d_boxes(data: bytes, source: str) -> Reading[BoxEntry]:
    """Read the file of manual boxes.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no such file, or its pickle asks for something not allowed.
    """
    document = read_pickle(data, source)
    if not isinstance(document, dict) or not all(isinstance(part, dict) for part in document.values()):
        raise another_file(
            "file of manual 3D boxes",
            document,
            source,
            "a mapping of splits to mappings of sub-volumes to boxes",
        )
    entries, rejects = read_each(_boxes(document), _read, source)
    volumes = [boxes for part in document.values() for boxes in part.values()]
    notes = {"sub_volumes": len(volumes), "sub_volumes_without_boxes": sum(not boxes for boxes in volumes)}
    named = sub_volumes(name for part in document.values() for name in part)
    return Reading(entries, rejects, notes=notes, volumes=named)


def _boxes(document: dict[Any, dict[Any, Any]]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for split, part in document.items():
        for name, boxes in part.items():
            place = f"{split!s:.20}, {name!s:.60}"
            if not isinstance(boxes, (list, tuple)):
                yield place, (name, boxes)
                continue
            for at, values in enumerate(boxes):
                yield f"{place}, box {at}", (name, values)


def _read(where: str, value: tuple[Any, Any]) -> BoxEntry:
    series, first, last = sub_volume(value[0])
    x1, y1, z1, x2, y2, z2 = (whole(part, "a coordinate") for part in listing(value[1], "the box", 6))
    if z1 > z2:
        reject(Fault.BOX_INVERTED, f"slices {z1} to {z2}; allowed: first <= last")
    z_first, z_last = slice_in(z1, first, last), slice_in(z2, first, last)
    pixels = box(x1, y1, x2, y2, counted_from=1)
    return BoxEntry(where, series, (first, last), pixels, z_first, z_last, with_margin=False)

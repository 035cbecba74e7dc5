"""Read boxes on key slices in COCO's format, as MVP-Net (Li et al., MICCAI 2019) publishes the release's.

Boxes are x, y, width and height with printed coordinates minus 1. `area` is x * height in all of MVP-Net's
files, so it is not read. An image's file is `000001_01_01/109.png` or `000001_01_01_109.png`. An image that
can't be used costs its own annotations only.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    shown,
)
from etl.annotations.entries import BoxEntry, Fault, Reading
from etl.core.errors import SourceError


def read_coco_boxes(data: bytes, source: str) -> Reading[BoxEntry]:
    """Read a COCO file of key slices.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no COCO file.
    """
    document = read_json(data, source)
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in ("images", "annotations")
    ):
        raise another_file("COCO file", document, source, "a mapping with lists `images` and `annotations`")
    images: dict[float | str, Any] = {}
    for at, image in enumerate(document["images"]):
        identifier = image.get("id") if isinstance(image, dict) else None
        if not isinstance(identifier, (int, float, str)):
            continue
        name = image.get("file_name")
        if images.setdefault(identifier, name) != name:
            raise SourceError("two images have one id", where=f"{source}, images[{at}]", value=identifier)

    def read(where: str, value: Any) -> BoxEntry:
        found = mapping(value, "the annotation", "image_id", "bbox")
        identifier = found["image_id"]
        if not isinstance(identifier, (int, float, str)) or identifier not in images:
            reject(Fault.NAME_UNEXPECTED, f"image_id {shown(identifier)} is the id of no image")
        series, key = key_slice(images[identifier], "file_name")
        x, y, width, height = (number(part, "bbox") for part in listing(found["bbox"], "bbox", 4))
        return BoxEntry(where, series, None, box(x, y, x + width, y + height, counted_from=0), key, key)

    entries, rejects = read_each(_annotations(document["annotations"]), read, source)
    return Reading(entries, rejects, notes={"images": len(images)})


def _annotations(annotations: list[Any]) -> Iterator[tuple[str, Any]]:
    for at, annotation in enumerate(annotations):
        yield f"annotations[{at}]", annotation

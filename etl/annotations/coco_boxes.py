"""Read boxes on key slices in COCO's format, as MVP-Net (Li et al., MICCAI 2019) publishes the release's.

Boxes are x, y, width and height with printed coordinates minus 1. `area` is x * height in all of MVP-Net's
files, so it is not read. An image's file is `000001_01_01/109.png` or `000001_01_01_109.png`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etl.annotations.documents import box, listing, mapping, number, read_each, read_json, reject, text, whole
from etl.annotations.entries import BoxEntry, Fault, Reading
from etl.core.errors import SourceError
from etl.release.names import SeriesKey, parse_file_name, parse_member


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
        raise SourceError(
            "this is no COCO file",
            where=source,
            value=f"a {type(document).__name__}",
            allowed="a mapping with lists `images` and `annotations`",
        )
    images: dict[int, Any] = {}
    for at, image in enumerate(document["images"]):
        found = mapping(image, f"images[{at}]", "id", "file_name")
        identifier = whole(found["id"], f"images[{at}].id")
        if identifier in images:
            raise SourceError("two images have one id", where=f"{source}, images[{at}]", value=identifier)
        images[identifier] = found["file_name"]

    def read(where: str, value: Any) -> BoxEntry:
        found = mapping(value, "the annotation", "image_id", "bbox")
        identifier = whole(found["image_id"], "image_id")
        if identifier not in images:
            reject(Fault.NAME_UNEXPECTED, f"image_id {identifier} is the id of no image")
        series, key = _slice(images[identifier])
        x, y, width, height = (number(part, "bbox") for part in listing(found["bbox"], "bbox", 4))
        return BoxEntry(where, series, None, box(x, y, x + width, y + height, counted_from=0), key, key)

    entries, rejects = read_each(_annotations(document["annotations"]), read, source)
    return Reading(entries, rejects, notes={"images": len(images)})


def _annotations(annotations: list[Any]) -> Iterator[tuple[str, Any]]:
    for at, annotation in enumerate(annotations):
        yield f"annotations[{at}]", annotation


def _slice(name: Any) -> tuple[SeriesKey, int]:
    parts = text(name, "file_name").replace("\\", "/").split("/")
    found = parse_member("/".join(parts[-2:])) or parse_file_name(parts[-1])
    if found is None:
        reject(
            Fault.NAME_UNEXPECTED,
            f"file_name is '{parts[-1][:80]}'; allowed: a name like 000001_01_01/109.png",
        )
    return found

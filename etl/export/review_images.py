"""The release's review images: key slices with diameters, boxes and centres drawn in."""

from __future__ import annotations

from functools import partial
from typing import Any

from etl.export.figures import Marks, Segment, draw_marks
from etl.export.files import ExportFile, Format
from etl.export.key_images import KeyImage, encode_png, key_images
from etl.export.selection import Selected
from etl.store.reader import Store

SCALE = 2


def marks_of(lesion: Any) -> Marks:
    """What to draw of one row of the lesions table, in voxels of its plane."""

    def segment(name: str) -> Segment:
        x1, y1, x2, y2 = (float(getattr(lesion, f"{name}_{end}_vox")) for end in ("x1", "y1", "x2", "y2"))
        return x1, y1, x2, y2

    return Marks(segment("recist_long"), segment("recist_short"), segment("bbox"))


def _encode(store: Store, image: KeyImage) -> bytes:
    return encode_png(draw_marks(image.grey(store), map(marks_of, image.lesions), SCALE))


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    return [ExportFile(image.path, partial(_encode, store, image)) for image in key_images(selected)]


IMAGES = Format(
    _files,
    "<split>/<key slice>_<low>_<high>.png: the plane of the store's volume that is nearest to a key slice,\n"
    f"{SCALE} pixels a voxel, in the lesions' display window (HU). RECIST diameters are red, boxes green,\n"
    "their centres yellow. A key slice whose lesions were read in several windows is there once for each.",
)

"""The release's review images: key slices with diameters, boxes and centres drawn on them."""

from __future__ import annotations

from functools import partial

from etl.export.key_slices import KeyImage, draw_marks, encode_png, key_images, marks_of
from etl.export.protocol import WHOLE_PATIENTS, ExportFile, Format, Selected
from etl.store.reader import Store

SCALE = 2


def _encode(store: Store, image: KeyImage) -> bytes:
    return encode_png(draw_marks(image.grey(store), map(marks_of, image.lesions), SCALE))


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    return [ExportFile(image.path, partial(_encode, store, image)) for image in key_images(selected)]


FORMAT = Format(
    _files,
    "<split>/<key slice>_<low>_<high>.png is the plane of the store's volume that is nearest to a key\n"
    f"slice, at {SCALE} pixels per voxel, in the lesions' display window (HU). RECIST diameters are red,\n"
    "boxes green, their centres yellow. A key slice whose lesions have several windows is there once\n"
    f"per window.\n{WHOLE_PATIENTS}",
)

"""Key slices and boxes for detectors: 8-bit PNGs, and COCO detection JSON with one file per split."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from etl.export.key_slices import KeyImage, encode_png, key_images, marks_of
from etl.export.mask_runs import add_segmentations
from etl.export.png16 import encode_png16, stored_values
from etl.export.protocol import LESION, UNLABELLED, WHOLE_PATIENTS, ExportFile, Format, Pictures, Selected
from etl.imaging.png import STORED_ZERO_HU
from etl.imaging.window import to_grey
from etl.release.annotation_columns import COARSE_TYPES
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL
from etl.store.reader import Store

UNLABELLED_CATEGORY = max(COARSE_TYPES) + 1
CATEGORIES = COARSE_TYPES | {UNLABELLED_CATEGORY: UNLABELLED}
"""Name by category_id: the release's type codes, and one more for lesions without a type."""


def coco_document(
    images: list[KeyImage],
    version: dict[str, Any],
    *,
    single_class: bool = False,
    pictures: Pictures,
) -> dict[str, Any]:
    """Return COCO detection JSON of some images.

    Boxes are [x, y, width, height] in pixels of the PNG from its upper left corner, so the centre of the
    first pixel is at 0.5. They are cut at the image's edge. In addition to COCO's own keys, images have
    their volume, plane, window and pixel spacing, and annotations their lesion_id, diameters and flags.
    `segmentation` is the quadrilateral of the ends of both RECIST diameters.

    Args:
        version: the store's version file.
        single_class: every lesion is of category 1, `lesion`.
        pictures: pixels of the images.
    """
    categories = {1: LESION} if single_class else CATEGORIES
    return {
        "info": {
            "description": f"DeepLesion key slices. {ACKNOWLEDGEMENT} {CITATION}",
            "url": SOURCE_URL,
            "version": str(version["version"]),
            "year": int(version["created_at"][:4]),
            "contributor": "NIH Clinical Center",
            "date_created": version["created_at"],
        },
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": "lesion"} for number, name in categories.items()
        ],
        "images": [_image(image, pictures) for image in images],
        "annotations": [
            _annotation(image, lesion) | ({"category_id": 1} if single_class else {})
            for image in images
            for lesion in image.lesions
        ],
    }


def _image(image: KeyImage, pictures: Pictures) -> dict[str, Any]:
    height, width = image.shape
    pixels: dict[str, Any] = (
        {"stored_zero_hu": STORED_ZERO_HU} if pictures.hu else {"window_hu": list(image.window_hu)}
    )
    if pictures.neighbours_mm is not None:
        pixels["neighbours_mm"] = pictures.neighbours_mm
    return {
        "id": image.image_id,
        "file_name": image.path,
        "height": height,
        "width": width,
        "volume_id": image.volume_id,
        "plane": image.plane,
        **pixels,
        "spacing_yx_mm": list(image.spacing_mm),
        "patient_index": int(image.lesions[0].patient_index),
        "key_slice": image.lesions[0].file_name,
    }


def quadrilateral(lesion: Any, shape: tuple[int, int]) -> list[float]:
    """Return x1, y1, ... x4, y4: the ends of both diameters in turn, from the image's upper left corner.

    Args:
        lesion: row of the lesions table, as a named tuple.
        shape: (y, x) of the image; points past its edge are moved to it.
    """
    marks = marks_of(lesion)
    ends = np.array([*marks.long_diameter, *marks.short_diameter]).reshape(4, 2)
    around = np.clip(ends[[0, 2, 1, 3]] + 0.5, 0, shape[::-1])
    return [float(value) for value in around.ravel()]


def _area(polygon: list[float]) -> float:
    x, y = np.array(polygon).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _annotation(image: KeyImage, lesion: Any) -> dict[str, Any]:
    corners = np.array([lesion.bbox_x1_vox, lesion.bbox_y1_vox, lesion.bbox_x2_vox, lesion.bbox_y2_vox]) + 0.5
    height, width = image.shape
    x1, y1, x2, y2 = np.clip(corners, 0, [width, height, width, height]).tolist()
    code, polygon = lesion.coarse_type_code, quadrilateral(lesion, image.shape)
    return {
        "id": int(lesion.lesion_id) + 1,
        "image_id": image.image_id,
        "category_id": UNLABELLED_CATEGORY if pd.isna(code) else int(code),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": [polygon],
        "area": _area(polygon),
        "iscrowd": 0,
        "lesion_id": int(lesion.lesion_id),
        "long_diameter_mm": float(lesion.long_diameter_mm),
        "short_diameter_mm": float(lesion.short_diameter_mm),
        "possibly_noisy": bool(lesion.possibly_noisy),
        "past_edge": bool(lesion.bbox_past_edge),
    }


def _encode_image(store: Store, image: KeyImage, pictures: Pictures) -> bytes:
    hu = image.hu(store, pictures.neighbours_mm)
    return encode_png16(stored_values(hu)) if pictures.hu else encode_png(to_grey(hu, image.window_hu))


def _encode_document(store: Store, images: list[KeyImage], selected: Selected) -> bytes:
    document = coco_document(
        images, dict(store.version), single_class=selected.single_class, pictures=selected.pictures
    )
    add_segmentations(document, store.masks, images)
    return (json.dumps(document, allow_nan=False) + "\n").encode()


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    images = key_images(selected)
    by_split: dict[str, list[KeyImage]] = {}
    for image in images:
        by_split.setdefault(image.split, []).append(image)
    encode = partial(_encode_image, store, pictures=selected.pictures)
    return [
        *(ExportFile(f"images/{image.path}", partial(encode, image)) for image in images),
        *(
            ExportFile(f"annotations/{split}.json", partial(_encode_document, store, part, selected))
            for split, part in by_split.items()
        ),
    ]


FORMAT = Format(
    _files,
    "annotations/<split>.json is COCO detection JSON; its file_name is relative to images/. An image is the\n"
    "plane of the store's volume that is nearest to a key slice, so its pixels are the store's voxels\n"
    "(spacing_yx_mm). It has 8 bits; 0 and 255 are the ends of window_hu. A key slice whose lesions have\n"
    "several windows is there once per window, with the lesions of that window. With --hu it is there once,\n"
    f"with 16 bits: HU + {STORED_ZERO_HU}, as in the release's PNGs; of a store built with native spacing\n"
    "these are the release's own pixels. --neighbours MM makes three channels: the plane that much nearer\n"
    "the head, the key slice, the plane that much nearer the feet (air outside the volume). Boxes are\n"
    "[x, y, width, height] from the image's upper left corner, cut at its edge. Categories are the\n"
    f"release's type codes 1 to 8, and {UNLABELLED_CATEGORY}, `{UNLABELLED}`, for lesions without a type:\n"
    "all of train. With --single-class there is one category, 1, `lesion`. `segmentation` is the\n"
    "quadrilateral of the ends of both RECIST diameters, and `area` its area: an estimate of the lesion's\n"
    "outline, no mask; where the version has a mask by others in the image's plane, it is that mask,\n"
    "as uncompressed runs.\n"
    "An annotation's id is its lesion_id plus 1, because COCO's evaluation treats id 0 as no match.\n"
    f"{WHOLE_PATIENTS}",
    has_classes=True,
    has_pictures=True,
)

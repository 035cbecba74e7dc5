"""Masks by others in COCO documents: runs of pixels, which COCO's tools call uncompressed RLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etl.export.key_slices import KeyImage
from etl.imaging.box_masks import run_lengths
from etl.store.masks import StoredMasks


def add_segmentations(document: dict[str, Any], masks: StoredMasks, images: Sequence[KeyImage]) -> None:
    """Add `segmentation` and the mask's `area` to annotations of lesions that have a mask in their plane.

    Args:
        document: COCO detection JSON, changed in place.
        masks: of the store that the images are from.
        images: those of the document.
    """
    by_id = {image.image_id: image for image in images}
    for annotation in document["annotations"]:
        image = by_id[annotation["image_id"]]
        plane = masks.plane(annotation["lesion_id"], image.plane, image.shape)
        if plane is not None:
            annotation["segmentation"] = {"size": list(image.shape), "counts": run_lengths(plane)}
            annotation["area"] = int(plane.sum())

"""Lesions as examples to learn from: discs in noise, whose type is their brightness, without a store."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from etl.derive.lesion_arrays import lesion_arrays
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.embedding_examples import Crop, Examples, margin_of
from etl.learn.series import TEST, TRAIN, VAL

SPLITS = (TRAIN, VAL, VAL, TEST)


def made_up(config: EmbeddingConfig, patients: int = 24, each: int = 4) -> Examples:
    """Return lesions of two types, 4 and 5; those of train say none. Places are at one of two heights."""
    random = np.random.default_rng(5)
    margin = margin_of(config.input, config.augment)
    edge = config.input.pixels + 2 * margin
    rows, crops, boxes = [], [], []
    for lesion_id in range(patients * each):
        patient = lesion_id // each
        split, kind = SPLITS[patient % 4], int(random.integers(4, 6))
        radius_mm = float(random.choice([4.0, 12.0]))
        rows.append(_row(lesion_id, patient, split, kind, radius_mm, 0.3 + 0.3 * (lesion_id % 2)))
        hu = _disc(lesion_id, kind, radius_mm / config.input.pixel_mm, config.input.slices + 2, edge)
        crops.append(Crop(f"lesion-{lesion_id}", functools.partial(np.asarray, hu)))
        half = radius_mm / config.input.edge_mm
        boxes.append([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half])
    frame = pd.DataFrame(rows)
    types = np.where(frame["split"] == TRAIN, 0, frame.pop("kind").to_numpy())
    arrays = lesion_arrays(frame)
    split = frame["split"].to_numpy(np.str_)
    return Examples(frame, arrays, types, split, crops, np.array(boxes, np.float32).clip(0, 1), margin)


def _row(
    lesion_id: int, patient: int, split: str, kind: int, radius_mm: float, z: float
) -> dict[str, object]:
    x1, x2 = 100 - radius_mm, 100 + radius_mm
    ends = {f"recist_{side}_{axis}{n}_px": 100.0 for side in ("long", "short") for axis in "xy" for n in "12"}
    ends |= {"recist_long_x1_px": x1, "recist_long_x2_px": x2}
    ends |= {"recist_short_y1_px": x1, "recist_short_y2_px": x2}
    box = {"bbox_x1_px": x1, "bbox_x2_px": x2, "bbox_y1_px": x1, "bbox_y2_px": x2}
    return {
        "lesion_id": lesion_id,
        "patient_index": patient,
        "study_index": 1,
        "series_index": 1,
        "split": split,
        "kind": kind,
        "norm_x": 0.5,
        "norm_y": 0.5,
        "norm_z": z,
        "key_slice_index": 3,
        "image_width_px": 512,
        "image_height_px": 512,
        "window_low_hu": -175.0,
        "window_high_hu": 275.0,
        **{f"spacing_{axis}_mm": 1.0 for axis in "xyz"},
        **ends,
        **box,
    }


def _disc(seed: int, kind: int, radius_px: float, slices: int, edge: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    at = np.arange(edge) - (edge - 1) / 2
    inside = np.hypot(at[:, None], at[None, :]) < radius_px
    hu = random.normal(-50, 20, (slices, edge, edge))
    hu[:, inside] = (-500 if kind == 4 else 500) + random.normal(0, 20, (slices, int(inside.sum())))
    return hu.astype(np.int16)

"""The lesions of a store to learn an embedding from: their crops, boxes, types and splits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.core.errors import ConfigError
from etl.derive.embedding_input import LESION_COLUMNS, EmbeddingInput, Spot, spots_of
from etl.derive.lesion_arrays import Ints, LesionArrays, lesion_arrays
from etl.derive.volume_table import ROW_COLUMNS, VolumeRow, digest_of, volume_row
from etl.imaging.lesion_view import LesionView
from etl.learn.embedding_config import Augment, Data, Input
from etl.learn.sequence_sampler import UNKNOWN
from etl.learn.series import Views
from etl.learn.store_series import check_splits
from etl.store.reader import Store
from etl.store.versions import readable

Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Crop:
    """The surroundings of one lesion.

    Attributes:
        key: name of it in a cache; other lesions, volumes and surroundings have others.
        read: returns int16 (slices + 2, pixels + 2 margin, pixels + 2 margin) in HU.
    """

    key: str
    read: Callable[[], Views]


@dataclass(frozen=True, eq=False)
class Examples:
    """n lesions, sorted by patient and lesion_id.

    Attributes:
        frame: their rows of `lesions`.
        types: (n,) published coarse types, 0 where there is none.
        split: (n,) train, val or test.
        boxes: (n, 4) in 0..1 of the crop that the net sees.
        margin: pixels around the crop that the net sees; there is also a plane above and below.
    """

    frame: pd.DataFrame
    lesions: LesionArrays
    types: Ints
    split: npt.NDArray[np.str_]
    crops: Sequence[Crop]
    boxes: Boxes
    margin: int

    def __len__(self) -> int:
        return len(self.frame)


def seen_by(config: Input) -> EmbeddingInput:
    """Return the input of a model as everything but training uses it."""
    view = LesionView(config.pixels, config.edge_mm, config.slices, config.slice_mm)
    return EmbeddingInput(view, config.window_hu, config.margin_mm)


def margin_of(config: Input, augment: Augment) -> int:
    """Return the pixels around the crop that shifts, turns and scales may bring into it."""
    angle = math.radians(augment.rotate_degrees)
    corner = config.edge_mm / 2 * (augment.scale * (math.cos(angle) + math.sin(angle)) - 1)
    return math.ceil((augment.shift_mm * augment.scale + max(corner, 0)) / config.pixel_mm) + 1


def store_examples(store: Store, data: Data, config: Input, augment: Augment) -> Examples:
    """Return the lesions of a store.

    Raises:
        ConfigError: a patient is in two splits, or there are no lesions.
    """
    frame = store.lesions().sort_values(["patient_index", "lesion_id"])
    if frame.empty:
        raise ConfigError("the store has no lesions to learn from", where=store.objects.root)
    check_splits(store, frame)
    if data.limit is not None:
        frame = frame[frame.groupby("split").cumcount() < data.limit]
    return examples_of(store, frame.reset_index(drop=True), config, augment)


def examples_of(store: Store, frame: pd.DataFrame, config: Input, augment: Augment) -> Examples:
    """Return lesions as examples.

    Args:
        frame: rows of `lesions`, sorted by patient and lesion_id.
    """
    volumes = store.volumes(columns=list(ROW_COLUMNS)).to_dict("records")
    rows = {row.volume_id: row for row in map(volume_row, volumes)}
    margin = margin_of(config, augment)
    seen = seen_by(config)
    edge = config.pixels + 2 * margin
    view = LesionView(edge, edge * config.pixel_mm, config.slices + 2, config.slice_mm)
    crops: list[Crop] = []
    boxes: list[Boxes] = []
    for values in frame[["volume_id", *LESION_COLUMNS]].to_dict("records"):
        row = rows[str(values["volume_id"])]
        (spot,) = spots_of({name: [values[name]] for name in LESION_COLUMNS}, row.spacing_mm)
        key = f"{values['lesion_id']}-{digest_of([asdict(row), asdict(view), spot.center_vox])}"
        crops.append(Crop(key, functools.partial(_read, store, row, view, spot)))
        boxes.append(seen.box(spot))
    codes = frame["coarse_type_code"].fillna(UNKNOWN).to_numpy(np.int64)
    return Examples(
        frame, lesion_arrays(frame), codes, frame["split"].to_numpy(np.str_), crops, np.stack(boxes), margin
    )


def _read(store: Store, row: VolumeRow, view: LesionView, spot: Spot) -> Views:
    with readable(store.objects):
        seen = view.of(store.array(row.volume_id), spot.center_vox, row.spacing_mm)
    views: Views = np.rint(seen).astype(np.int16)
    return views

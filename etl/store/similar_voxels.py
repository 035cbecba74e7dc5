"""The lesions that are nearest to voxels, which need not be of the store: a model embeds them first."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.core.errors import ConfigError, StoreError
from etl.derive.embedding_input import EmbeddingInput, Spot
from etl.derive.embedding_table import LesionEmbedder
from etl.derive.nearest import Vectors, usable
from etl.store.crops import CATALOGUE_COLUMNS
from etl.store.lesion_embeddings import (
    PLACE,
    check_asked,
    compared_by,
    model_id_of,
)
from etl.store.models import EMBEDDING, model_of_kind, onnx_of

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store

SIZE_MM = 20.0
"""Extent of a lesion whose size was not said."""


def is_voxels(asked: Any) -> bool:
    """Return if somebody asks for lesions like voxels: an array (z, y, x), or one and a point in it."""
    return np.ndim(asked[0] if isinstance(asked, tuple) and len(asked) == 2 else asked) == 3


def similar_to_voxels(
    store: Store,
    asked: Any,
    k: int = 9,
    *,
    model: str,
    split: str | None = None,
    same_patient: bool = False,
    spacing_mm: tuple[float, float, float] | None = None,
    size_mm: float | tuple[float, float] = SIZE_MM,
) -> pd.DataFrame:
    """Return the k lesions nearest to a lesion in voxels; rows as of `similar_to`.

    Args:
        asked: HU (z, y, x), head to feet, front to back, patient's right to left; or (HU, centre), with the
            middle of the lesion in voxels (z, y, x). Without one it is the middle of the array.
        model: one whose table `embeddings/<model>` the version has.
        same_patient: if lesions of the patient may be found from whose volume of this store the voxels are.
        spacing_mm: of the voxels (z, y, x); what `store.crop` and `store.volume` give says it itself.
        size_mm: extent of the lesion's diameters along (y, x), or one for both.

    Raises:
        ConfigError: the model needs more than voxels, or a value is not allowed.
        StoreError: the version has no vectors of the model, or lacks the model itself.
    """
    check_asked(store, k, split)
    if model == PLACE:
        raise ConfigError(
            "voxels have no published place",
            where="model",
            value=model,
            allowed="a model with pixels, whose table embeddings/MODEL the version has",
        )
    hu, center = asked if isinstance(asked, tuple) else (asked, None)
    attributes = getattr(hu, "attrs", {})
    spacing = _positive("spacing_mm", attributes.get("spacing_mm") if spacing_mm is None else spacing_mm, 3)
    middle = [(n - 1) / 2 for n in hu.shape] if center is None else center
    z, y, x = (float(value) for value in middle)
    spot = Spot((z, y, x), _positive("size_mm", np.broadcast_to(size_mm, 2).tolist(), 2))
    query = _embedded(store, model, hu, spot, spacing)
    compared = compared_by(store, model)
    lesions = compared.lesions
    others = lesions["lesion_id"] >= 0
    # Not by the lesions of its volume: it may have none, as beyond a slice that can't be read.
    own = store._catalogue.get(attributes.get("volume_id", ""))
    if not same_patient and own is not None:
        others &= lesions["patient_index"] != own[CATALOGUE_COLUMNS.index("patient_index")]
    return compared.nearest(query, k, others, split)


def _embedded(
    store: Store, model: str, hu: Any, spot: Spot, spacing_mm: tuple[float, float, float]
) -> Vectors:
    """Return the vector (1, d) by the model that made the table, in the numbers that the table keeps."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("onnxruntime is missing", remedy="pip install 'deeplesion-store[derive]'")
    where = f"{store.objects.root}, version {store.version['version']}"
    model_id = model_id_of(store, model)
    if not model_id:
        raise StoreError(
            "no model of this store made this table",
            where=where,
            value=model,
            allowed="a table by deeplesion embed",
        )
    chosen, config = model_of_kind(store.objects, store.version, model_id, EMBEDDING)
    seen = EmbeddingInput.from_json(config["input"])
    embedder = LesionEmbedder(onnx_of(store.objects, chosen), seen)
    crop, box = seen.crop(hu, spot, spacing_mm), seen.box(spot)
    vector = embedder.vectors(crop[None], box[None]).astype(np.float16).astype(np.float32)
    if not usable(vector)[0]:
        raise StoreError("the model gives these voxels no vector", where=where, value=f"{hu.shape} voxels")
    unit: Vectors = vector / np.linalg.norm(vector)
    return unit


def _positive(name: str, values: Any, count: int) -> Any:
    found = np.full(count, np.nan) if values is None else np.asarray(values, np.float64)
    if found.shape != (count,) or not (np.isfinite(found) & (found > 0)).all():
        raise ConfigError(
            "wrong size of voxels or lesion",
            where=name,
            value=values,
            allowed=f"{count} numbers above 0, in mm",
        )
    return tuple(found.tolist())

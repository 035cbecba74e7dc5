"""Vectors of a version's lesions by a model, and the lesions that are nearest to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from etl.core.errors import AbsentError, ConfigError, StoreError
from etl.derive.lesion_arrays import lesion_arrays
from etl.derive.nearest import Gallery, Vectors, gallery_of, usable
from etl.derive.place_model import read_place_model
from etl.tables.embeddings import FOLDER, MODEL_NAME, REJECTS, embeddings_name
from etl.tables.lesions import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store

PLACE = "place"
"""The model that needs no table: it reads published places and diameters."""
SHOWN = [
    *("lesion_id", "patient_index", "study_index", "split", "coarse_type"),
    *("long_diameter_mm", "short_diameter_mm", "norm_x", "norm_y", "norm_z", "volume_id"),
]
MOST = 1000


def embedding_models(store: Store) -> list[str]:
    """Return the models by which this version's lesions can be compared."""
    own = (
        name.removeprefix(f"{FOLDER}/") for name in store.version["tables"] if name.startswith(f"{FOLDER}/")
    )
    return [PLACE, *(name for name in own if MODEL_NAME.match(name) and not name.endswith(REJECTS))]


def embedding_table_of(store: Store, model: str) -> str:
    """Return the table with the vectors of a model, which is named as the table is or by its id.

    Raises:
        ConfigError: the text is no name of a model.
        StoreError: the version has no vectors of this model.
    """
    name = embeddings_name(model)
    if name in store.version["tables"]:
        return name
    for table in embedding_models(store)[1:]:
        if model_id_of(store, table) == model:
            return embeddings_name(table)
    raise AbsentError(
        "the lesions of this version have no embedding of this model",
        where=f"{store.objects.root}, version {store.version['version']}",
        value=model,
        allowed=", ".join(embedding_models(store)),
        remedy=f"deeplesion embed STORE --model {model} adds the table {name}; or use the model {PLACE}",
    )


def model_id_of(store: Store, model: str) -> str | None:
    """Return the id of the model that made a model's table; None where no model of the store did."""
    recipe = store.version["added_tables"][embedding_table_of(store, model)].get("recipe") or {}
    return recipe.get("model") or None


def embeddings_of(store: Store, model: str, lesions: pd.DataFrame) -> Vectors:
    """Return (n, d) vectors in the order of the rows; NaN where a lesion has none. A table's get length 1.

    Args:
        model: `place`, or the name of a model whose table `embeddings/<model>` the version has.
        lesions: whole rows of the lesions table.

    Raises:
        ConfigError: the text is no name of a model.
        StoreError: the version has no vectors of this model.
    """
    if model == PLACE:
        # Arrays are sorted by patient; vectors are wanted in the order of the rows.
        order = np.lexsort((lesions["lesion_id"].to_numpy(), lesions["patient_index"].to_numpy()))
        embedded = read_place_model().embed(lesion_arrays(lesions))
        vectors = np.empty_like(embedded)
        vectors[order] = embedded
        return vectors
    name = embedding_table_of(store, model)
    rows = store.table(name, ["lesion_id", "embedding"]).dropna().set_index("lesion_id")["embedding"]
    nothing = np.full(len(rows.iloc[0]) if len(rows) else 1, np.nan, np.float16)
    found = rows.to_dict()
    stored = np.stack([found.get(lesion_id, nothing) for lesion_id in lesions["lesion_id"].tolist()])
    wide = stored.astype(np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length == 0, 1, length)


def similar_to(
    store: Store,
    lesion_id: int,
    k: int = 9,
    *,
    model: str = PLACE,
    split: str | None = None,
    same_patient: bool = False,
) -> pd.DataFrame:
    """Return the k lesions nearest to a lesion, nearest first; equal distances by lesion_id.

    Args:
        k: 1 to 1,000.
        split: only lesions of train, val or test.
        same_patient: if other lesions of its own patient may be found, too.

    Returns:
        lesion_id and distance, then the other columns of `SHOWN`. Fewer than k rows where there are no more.

    Raises:
        StoreError: there is no such lesion or split, or there are no vectors of the lesion or the model.
        ConfigError: k or the model's name is not allowed.
    """
    check_asked(store, k, split)
    compared = compared_by(store, model)
    lesions, vectors = compared.lesions, compared.vectors
    own = lesions.index[lesions["lesion_id"] == lesion_id]
    if not len(own):
        raise store._no_lesion(lesion_id)
    query = vectors[own]
    if not usable(query)[0]:
        table = embedding_table_of(store, model)
        made_by = store.version["added_tables"][table]["made_by"]
        again = "" if lesion_id in store.covered(table) else f"embed what is new by {made_by}, or "
        raise AbsentError(
            "this lesion has no embedding",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=lesion_id,
            allowed=f"one of {int(usable(vectors).sum())} lesions with a vector of {model}",
            remedy=f"{again}compare it by the model {PLACE}",
        )
    others = lesions["lesion_id"] != lesion_id
    if not same_patient:
        others &= lesions["patient_index"] != lesions["patient_index"][own[0]]
    return compared.nearest(query, k, others, split)


def check_asked(store: Store, k: int, split: str | None) -> None:
    """Raise ConfigError for a wrong number of neighbours, StoreError for a split that there is not."""
    if not 1 <= k <= MOST:
        raise ConfigError("wrong number of neighbours", where="k", value=k, allowed=f"1 to {MOST}")
    where = f"{store.objects.root}, version {store.version['version']}"
    if split is not None and split not in SPLITS:
        raise StoreError("no such split in this version", where=where, value=split, allowed=", ".join(SPLITS))


@dataclass(frozen=True, eq=False)
class Compared:
    """The lesions of a version with their vectors by a model, ready to be searched."""

    lesions: pd.DataFrame
    vectors: Vectors
    gallery: Gallery

    def nearest(self, query: Vectors, k: int, others: pd.Series, split: str | None) -> pd.DataFrame:
        """Return the k lesions nearest to a vector (1, d) among those that may be found; see `similar_to`."""
        if split is not None:
            others = others & (self.lesions["split"] == split)
        rows, distance = self.gallery.nearest(query, k, allowed=others.to_numpy(np.bool_))
        there = rows[0] >= 0
        found = self.lesions.iloc[rows[0][there]][SHOWN].reset_index(drop=True)
        found.insert(1, "distance", distance[0][there])
        return found


def compared_by(store: Store, model: str) -> Compared:
    """Return lesions and vectors of a version; they are read once for each model and open store."""
    held = store._compared
    if model not in held:
        lesions = store.lesions().reset_index(drop=True)
        vectors = embeddings_of(store, model, lesions)
        held[model] = Compared(lesions, vectors, gallery_of(vectors, lesions["lesion_id"].to_numpy(np.int64)))
    found: Compared = held[model]
    return found

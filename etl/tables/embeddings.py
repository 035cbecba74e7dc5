"""The tables `embeddings/<model>`: one vector a lesion. Each model has a table of its own.

They hold no nulls: pyarrow before 26 can't read a fixed-size list that is null from Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.core.errors import ConfigError
from etl.tables.table import INT, TEXT, Table, field

FOLDER = "embeddings"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
REJECTS = "_rejects"
"""End of the names of tables of rejects, with which no model's name ends."""
DIMENSIONS = 4096
"""Most numbers a vector."""


def embeddings_name(model: str) -> str:
    """Return the name of a model's table.

    Raises:
        ConfigError: the text is no name of a model.
    """
    if not MODEL_NAME.match(model) or model.endswith(REJECTS):
        raise ConfigError(
            "this is no name of an embedding model",
            where="model",
            value=model,
            allowed="up to 64 of a-z, 0-9, `.`, `_` and `-`; a letter or digit first, no _rejects last",
            remedy="the table of a model is embeddings/MODEL",
        )
    return f"{FOLDER}/{model}"


def embeddings_table(model: str, dimensions: int, made_by: str = "jobs/embed_lesions.py") -> Table:
    """Return the declaration of a model's table.

    Args:
        model: name of the model.
        dimensions: numbers a vector, 1 to `DIMENSIONS`.
        made_by: the job that makes its rows.

    Raises:
        ConfigError: the name or the number is not allowed.
    """
    if not 1 <= dimensions <= DIMENSIONS:
        raise ConfigError(
            "wrong length of an embedding", where=model, value=dimensions, allowed=f"1 to {DIMENSIONS}"
        )
    schema = pa.schema(
        [
            field("lesion_id", INT, "the lesion"),
            field(
                "embedding",
                pa.list_(pa.float16(), dimensions),
                "the vector; a lesion without one has no row",
            ),
            field("fingerprint", TEXT, "of the volume whose voxels it was made of; empty if of none"),
        ]
    )
    return Table(
        embeddings_name(model),
        f"embedding of lesions by the model {model}",
        schema,
        key=("lesion_id",),
        unit="lesion",
        unit_columns=("lesion_id",),
        made_by=made_by,
    )


def embedding_columns(
    lesion_ids: Sequence[int], vectors: NDArray[np.floating[Any]], fingerprint: str | Sequence[str] = ""
) -> dict[str, Any]:
    """Return the columns of the table for (n, d) vectors; one that is zero or not finite has no row.

    Args:
        fingerprint: of the volume of all of them, or of each.
    """
    halves = vectors.astype(np.float16)
    there = np.flatnonzero(np.isfinite(halves).all(axis=1) & (halves != 0).any(axis=1)).tolist()
    prints = [fingerprint] * len(halves) if isinstance(fingerprint, str) else fingerprint
    return {
        "lesion_id": [lesion_ids[number] for number in there],
        "embedding": [halves[number] for number in there],
        "fingerprint": [prints[number] for number in there],
    }

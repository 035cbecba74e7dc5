"""The tables `embeddings/<model>`: one vector a lesion. Each model has a table of its own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.core.errors import ConfigError
from etl.tables.table import INT, TEXT, Table, field

FOLDER = "embeddings"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
DIMENSIONS = 4096
"""Most numbers a vector."""


def embeddings_name(model: str) -> str:
    """Return the name of a model's table.

    Raises:
        ConfigError: the text is no name of a model.
    """
    if not MODEL_NAME.match(model):
        raise ConfigError(
            "this is no name of an embedding model",
            where="model",
            value=model,
            allowed="small letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first",
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
                "the vector; null where there is none",
                nullable=True,
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


def embedding_column(vectors: NDArray[np.floating[Any]]) -> list[NDArray[np.float16] | None]:
    """Return the column `embedding` of (n, d) vectors; a row that is not finite becomes null."""
    halves = vectors.astype(np.float16)
    return [row if np.isfinite(row).all() else None for row in halves]

"""The function of `embeddings/<model>`: embeds the lesions of a volume with a model of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.derive.embedding_input import LESION_COLUMNS, EmbeddingInput, spots_of
from etl.derive.onnx_session import run_inputs
from etl.derive.stored_model import StoredModel
from etl.derive.volume_table import Derivation, StoredVolume, VolumeRow
from etl.tables.embeddings import embedding_columns, embeddings_table

Floats = npt.NDArray[np.float32]

CODE = 1
"""Increase it when the same lesion and model give another vector."""
CROPS, BOXES, VECTORS = "crops", "boxes", "vectors"
"""Names of the inputs and the output in a model's ONNX file."""
_MEMORY_BYTES = 600 * 2**20


@dataclass(frozen=True)
class LesionEmbedder:
    """Embeds lesions; a value that travels to workers.

    Attributes:
        model: the model's file.
    """

    model: StoredModel
    input: EmbeddingInput

    def __call__(self, volume: StoredVolume) -> dict[str, Any]:
        """Return the columns of the table; a lesion whose vector is zero or not finite has no row."""
        row = volume.row
        spots = spots_of(volume.lesions, row.spacing_mm)
        crops = np.stack([self.input.crop(volume.hu, spot, row.spacing_mm) for spot in spots])
        vectors = self.vectors(crops, np.stack([self.input.box(spot) for spot in spots]))
        fingerprint = row.path.rpartition("/")[2].partition(".")[0]
        return embedding_columns(volume.lesions["lesion_id"], vectors, fingerprint)

    def vectors(self, crops: Floats, boxes: Floats) -> Floats:
        """Return (n, d) vectors of crops (n, slices, pixels, pixels) and boxes (n, 4)."""
        session = self.model.session()
        return run_inputs(session, {CROPS: crops, BOXES: boxes})

    def memory_bytes(self, row: VolumeRow) -> int:
        """Return the memory of a call: a session, and the chunks around one lesion after the other."""
        return _MEMORY_BYTES


def embeddings(embedder: LesionEmbedder, name: str, model_id: str, dimensions: int) -> Derivation:
    """Return the derivation of `embeddings/<name>` with a model."""
    return Derivation(
        embeddings_table(name, dimensions),
        embedder,
        CODE,
        {"device": embedder.model.device},
        model_id,
        LESION_COLUMNS,
    )

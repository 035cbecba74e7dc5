"""The function of `body_positions`: scores all source slices of a volume with a model of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.derive.onnx_session import run_session
from etl.derive.slice_positions import (
    Scale,
    norm_z_of,
    order_of,
    read_planes,
    regions_of,
    robust_line,
    smoothed,
    source_planes,
)
from etl.derive.stored_model import StoredModel
from etl.derive.volume_table import Derivation, StoredVolume, VolumeFault, VolumeRow
from etl.imaging.body_view import BodyView
from etl.imaging.window import to_share
from etl.tables.body_positions import BODY_POSITIONS

CODE = 2
"""Increase it when the same volume and model give other rows."""
_SESSION_BYTES = 400 * 2**20


@dataclass(frozen=True)
class ScorerInput:
    """The part of a slice that a model sees, by its config.json."""

    view: BodyView
    window_hu: tuple[float, float]

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ScorerInput:
        """Return the input of a model's config.json."""
        low, high = data["window_hu"]
        return ScorerInput(BodyView(int(data["pixels"]), float(data["pixel_mm"])), (float(low), float(high)))

    def of(self, hu: npt.NDArray[np.generic], spacing_mm: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return slices (n, rows, columns) as the net takes them: (n, pixels, pixels) in 0..1."""
        # Rounded to whole HU, as the slices of a training are.
        return to_share(np.rint(self.view.of(hu, spacing_mm)), self.window_hu)


@dataclass(frozen=True)
class SliceScorer:
    """Scores the slices of volumes; a value that travels to workers.

    Attributes:
        model: the model's file.
    """

    model: StoredModel
    input: ScorerInput
    scale: Scale

    def __call__(self, volume: StoredVolume) -> dict[str, Any]:
        """Return the columns of `body_positions`.

        Raises:
            VolumeFault: a score is not a number.
        """
        row = volume.row
        planes, mm = source_planes(row)
        voxels, place = read_planes(volume.hu, planes)
        scores = self.scores(voxels, row.spacing_mm[1:])[place].astype(np.float64)
        if not np.isfinite(scores).all():
            raise VolumeFault(f"{int((~np.isfinite(scores)).sum())} scores are not finite")
        smooth, line = smoothed(scores, mm), robust_line(scores, mm)
        norm_z = norm_z_of(smooth, self.scale)
        count = len(mm)
        return {
            "volume_id": [row.volume_id] * count,
            "slice_index": row.slice_first + np.arange(count),
            "mm": mm,
            "score": scores,
            "smoothed": smooth,
            "norm_z": norm_z,
            "region": regions_of(norm_z, self.scale),
            "slope_per_mm": [line.slope_per_mm if line else None] * count,
            "residual": [line.residual if line else None] * count,
            "order": [str(order_of(line, float(mm[-1]), self.scale))] * count,
        }

    def scores(self, hu: npt.NDArray[np.generic], spacing_mm: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return the scores (n,) of slices (n, rows, columns)."""
        session = self.model.session()
        return run_session(session, self.input.of(hu, spacing_mm))

    def memory_bytes(self, row: VolumeRow) -> int:
        """Return the memory of a call: the voxels twice, their views, and a session."""
        z, y, x = row.shape
        pixels = self.input.view.pixels
        views = row.source_shape[0] * (pixels * max(x, pixels) + 3 * pixels**2) * 4
        return 4 * z * y * x + 4 * y * x * min(z, row.source_shape[0]) + views + _SESSION_BYTES


def body_positions(scorer: SliceScorer, model_id: str) -> Derivation:
    """Return the derivation of `body_positions` with a model."""
    return Derivation(BODY_POSITIONS, scorer, CODE, {"device": scorer.model.device}, model_id)

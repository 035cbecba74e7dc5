"""Weights of resampling with triangles as wide as the coarser of both grids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def triangle_weights(target_mm: Floats, source_mm: Floats, spacing_mm: float, step_mm: float) -> Floats:
    """Return (targets, sources) weights; a row sums to 1 inside the sources, and to less at their ends.

    Args:
        target_mm, source_mm: positions on one line, ascending.
        spacing_mm, step_mm: distance of neighbouring sources, and of neighbouring targets.
    """
    width_mm = max(spacing_mm, step_mm)
    weights = np.maximum(1 - np.abs(target_mm[:, None] - source_mm[None, :]) / width_mm, 0)
    weights *= spacing_mm / width_mm
    # Triangles on a grid sum to 1 only nearly; no row may weigh more than the sources that it covers.
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    covered = (target_mm - width_mm >= source_mm[0]) & (target_mm + width_mm <= source_mm[-1])
    return np.where(covered[:, None], whole(weights), weights)


def whole(weights: Floats) -> Floats:
    """Return weights whose rows sum to 1."""
    result: Floats = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return result

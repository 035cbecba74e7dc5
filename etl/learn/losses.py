"""Losses of body-part regressors, on the scores of the slices of many series at once, and of embeddings.

`order` is that of SSBR's code (Yan et al., Deep Lesion Graphs in the Wild, CVPR 2018), `distance` that of
MIC-DKFZ/BodyPartRegression (Schuhegger, 2021).
"""

from __future__ import annotations

import torch
from torch.nn import functional

BETA = 0.01
"""Score of a millimetre, so that a sigmoid of the distance is not flat below about 300 mm."""
MARGINS = (0.1, 0.2, 0.4)
"""Margins of a sequence's pairs B and C, C and D, D and E, as published."""


def order_loss(scores: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log sigmoid(2 d) plus the mean smooth L1 of second differences.

    Args:
        scores: (series, n) of n >= 3 slices at equal gaps, head to feet; d are their differences.
    """
    step = scores.diff(dim=1)
    second = step.diff(dim=1)
    return functional.softplus(-2 * step).mean() + functional.smooth_l1_loss(second, torch.zeros_like(second))


def distance_loss(scores: torch.Tensor, mm: torch.Tensor) -> torch.Tensor:
    """Return the mean of (sigmoid(BETA x mm apart) - sigmoid(score apart))^2 of neighbouring slices.

    Args:
        scores: (series, n) of n >= 2 slices, head to feet.
        mm: (series, n), their positions.
    """
    apart, step = (BETA * mm.diff(dim=1)).sigmoid(), scores.diff(dim=1).sigmoid()
    return ((apart - step) ** 2).mean()


def anchor_loss(
    scores: torch.Tensor, norm_z: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Return the mean smooth L1, per 0.02 of the published scale, of scale x score + shift - norm_z.

    Args:
        scores: (n,) of key slices.
        norm_z: (n,), their published z; NaN where there is none.
        scale, shift: two parameters that are trained too.
    """
    known = ~norm_z.isnan()
    if not known.any():
        return scores.sum() * 0
    off = (scale * scores[known] + shift - norm_z[known]) / 0.02
    return functional.smooth_l1_loss(off, torch.zeros_like(off))


def sequence_loss(vectors: torch.Tensor) -> torch.Tensor:
    """Return half the mean over sequences of the summed hinges on squared distances.

    Each next lesion must lie farther from A than the one before, by a margin.

    Args:
        vectors: (sequences, 5, d), unit vectors of A, B, C, D, E.
    """
    squared = ((vectors[:, 1:] - vectors[:, :1]) ** 2).sum(-1)
    margins = vectors.new_tensor(MARGINS)
    return (squared[:, :-1] - squared[:, 1:] + margins).clamp(min=0).sum(1).mean() / 2

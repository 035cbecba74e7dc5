"""The loss of sequences A to E: each next lesion lies farther from A than the one before, by a margin."""

from __future__ import annotations

import torch

MARGINS = (0.1, 0.2, 0.4)
"""Margins of the pairs B and C, C and D, D and E, as published."""


def sequence_loss(vectors: torch.Tensor) -> torch.Tensor:
    """Return half the mean over sequences of the summed hinges on squared distances.

    Args:
        vectors: (sequences, 5, d), unit vectors of A, B, C, D, E.
    """
    squared = ((vectors[:, 1:] - vectors[:, :1]) ** 2).sum(-1)
    margins = vectors.new_tensor(MARGINS)
    return (squared[:, :-1] - squared[:, 1:] + margins).clamp(min=0).sum(1).mean() / 2

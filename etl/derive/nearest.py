"""Exact search of nearest vectors in numpy: ties by lesion_id, zero and missing vectors are never found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints

QUERIES_AT_ONCE = 256
ROUNDING = 1e-9
"""Share of squared lengths: rows within it of the k-th are compared again by exact differences."""


def usable(vectors: Floats) -> NDArray[np.bool_]:
    """Return which rows are vectors at all: finite, and not all zero."""
    return np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)


def nearest(
    gallery: Floats,
    lesion_id: Ints,
    queries: Floats,
    k: int,
    gallery_patient: Ints | None = None,
    query_patient: Ints | None = None,
) -> tuple[Ints, Floats]:
    """Find the k nearest rows of a gallery by Euclidean distance, equal distances by lesion_id.

    Args:
        gallery: (n, d) vectors.
        lesion_id: (n,) of the gallery's rows.
        queries: (m, d) vectors.
        k: how many.
        gallery_patient, query_patient: rows of the query's own patient are left out; none are without these.

    Returns:
        (m, k) rows of the gallery, nearest first, -1 where there are fewer than k, and all -1 for a query
        that is zero or missing; (m, k) distances, NaN there.
    """
    rows = np.flatnonzero(usable(gallery))
    found = np.full((len(queries), k), -1, np.int64)
    distance = np.full((len(queries), k), np.nan)
    if not len(rows):
        return found, distance
    kept = np.asarray(gallery[rows], np.float64)
    length = (kept**2).sum(axis=1)
    asked = usable(queries)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = np.asarray(queries[start : start + QUERIES_AT_ONCE], np.float64)
        block = np.where(asked[start : start + len(block), None], block, 0.0)
        about = length[None, :] - 2 * block @ kept.T
        if gallery_patient is not None and query_patient is not None:
            own = query_patient[start : start + len(block), None] == gallery_patient[rows][None, :]
            about[own] = np.inf
        for at in np.flatnonzero(asked[start : start + len(block)]).tolist():
            chosen, exact = _first(about[at], kept, block[at], lesion_id[rows], k)
            found[start + at, : len(chosen)] = rows[chosen]
            distance[start + at, : len(chosen)] = exact
    return found, distance


def _first(about: Floats, kept: Floats, query: Floats, lesion_id: Ints, k: int) -> tuple[Ints, Floats]:
    allowed = int(np.isfinite(about).sum())
    if not allowed:
        return np.zeros(0, np.int64), np.zeros(0)
    limit = np.partition(about, min(k, allowed) - 1)[min(k, allowed) - 1]
    slack = ROUNDING * (1 + abs(limit) + float(query @ query))
    candidates = np.flatnonzero(about <= limit + slack)
    exact = np.sqrt(((kept[candidates] - query) ** 2).sum(axis=1))
    order = np.lexsort((lesion_id[candidates], exact))[:k]
    return candidates[order], exact[order]

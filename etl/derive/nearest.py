"""Exact search of nearest vectors in numpy: ties by lesion_id, zero and missing vectors are never found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints

Vectors = NDArray[np.floating[Any]]


def usable(vectors: Vectors) -> NDArray[np.bool_]:
    """Return which rows are vectors at all: finite, and not all zero."""
    return np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)


def values_of(found: Ints, values: NDArray[Any], absent: Any) -> NDArray[Any]:
    """Return the values of rows that were found, and `absent` where none was, even if there are no rows.

    Args:
        found: rows, -1 for none.
        values: (n, ...) of the gallery's rows.
    """
    there = found >= 0
    result = np.full((*found.shape, *values.shape[1:]), absent, values.dtype)
    result[there] = values[found[there]]
    return result


@dataclass(frozen=True, eq=False)
class Gallery:
    """Vectors that are ready to be searched, again and again.

    Attributes:
        vectors: (n, d) float32 or float64, those that are usable.
        squared: (n,) their squared lengths.
        rows: (n,) their rows in the array that was given.
        lesion_id: (n,).
        patient: (n,), or None.
        distances_at_once: most queries times rows of the gallery that are computed together.
    """

    vectors: Vectors
    squared: Vectors
    rows: Ints
    lesion_id: Ints
    patient: Ints | None
    distances_at_once: int = 2**23

    def nearest(
        self,
        queries: Vectors,
        k: int,
        query_patient: Ints | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[Ints, Floats]:
        """Find the k nearest rows by Euclidean distance, equal distances by lesion_id.

        All distances are computed by one product of matrices; those that its rounding can't tell from the
        k-th are computed again in float64, and these decide.

        Args:
            queries: (m, d) vectors.
            k: number of rows wanted.
            query_patient: (m,); rows of the query's own patient are left out. None leaves out none.
            allowed: for each row of the array that was given, if it may be found. None allows all.

        Returns:
            (m, k) rows of the array that was given, nearest first, -1 where there are fewer than k, all -1
            for a query that is zero or missing; (m, k) distances, NaN there.
        """
        found = np.full((len(queries), k), -1, np.int64)
        distance = np.full((len(queries), k), np.nan)
        if not len(self.rows):
            return found, distance
        asked = np.flatnonzero(usable(queries))
        step = max(self.distances_at_once // len(self.rows), 1)
        for start in range(0, len(asked), step):
            numbers = asked[start : start + step]
            block = np.asarray(queries[numbers], self.vectors.dtype)
            about = self.squared[None, :] - 2 * (block @ self.vectors.T)
            if self.patient is not None and query_patient is not None:
                about[query_patient[numbers][:, None] == self.patient[None, :]] = np.inf
            if allowed is not None:
                about[:, ~allowed[self.rows]] = np.inf
            for at, number in enumerate(numbers.tolist()):
                chosen, exact = self._first(about[at], np.asarray(queries[number], np.float64), k)
                found[number, : len(chosen)] = self.rows[chosen]
                distance[number, : len(chosen)] = exact
        return found, distance

    def _first(self, about: Vectors, query: Floats, k: int) -> tuple[Ints, Floats]:
        allowed = int(np.isfinite(about).sum())
        if not allowed:
            return np.zeros(0, np.int64), np.zeros(0)
        limit = np.partition(about, min(k, allowed) - 1)[min(k, allowed) - 1]
        # Bounds the rounding of squared lengths and of twice a product of d terms, in two rows.
        rounding = 4 * (len(query) + 4) * float(np.finfo(about.dtype).eps)
        slack = rounding * (float(np.max(self.squared)) + float(query @ query))
        candidates = np.flatnonzero(about <= limit + slack)
        exact = np.sqrt(((np.asarray(self.vectors[candidates], np.float64) - query) ** 2).sum(axis=1))
        order = np.lexsort((self.lesion_id[candidates], exact))[:k]
        return candidates[order], exact[order]


def gallery_of(vectors: Vectors, lesion_id: Ints, patient: Ints | None = None) -> Gallery:
    """Return a gallery of vectors; float16 becomes float32, in which each value is the same.

    Args:
        vectors: (n, d).
        lesion_id: (n,).
        patient: (n,), for searches that leave out the query's own patient.
    """
    wide = np.ascontiguousarray(vectors, np.result_type(vectors.dtype, np.float32))
    rows = np.flatnonzero(usable(wide))
    kept = wide if len(rows) == len(wide) else wide[rows]
    squared = np.einsum("ij,ij->i", kept, kept)
    return Gallery(kept, squared, rows, lesion_id[rows], None if patient is None else patient[rows])


def nearest(
    vectors: Vectors,
    lesion_id: Ints,
    queries: Vectors,
    k: int,
    gallery_patient: Ints | None = None,
    query_patient: Ints | None = None,
) -> tuple[Ints, Floats]:
    """Search a gallery once; see `gallery_of` and `Gallery.nearest`."""
    return gallery_of(vectors, lesion_id, gallery_patient).nearest(queries, k, query_patient)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.derive.nearest import gallery_of, nearest

GALLERY = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [np.nan, 1.0]])
LESION_ID = np.array([8, 1, 2, 5, 3])


def test_ties_go_by_lesion_id_and_zero_and_missing_rows_are_never_found() -> None:
    rows, distance = nearest(GALLERY, LESION_ID, np.array([[1.0, 0.0], [2.0, 0.0]]), 4)
    assert rows.tolist() == [[2, 0, 3, -1], [2, 3, 0, -1]]
    np.testing.assert_array_equal(distance, [[0, 0, 2, np.nan], [1, 1, 1, np.nan]])


def test_zero_and_missing_queries_find_nothing() -> None:
    rows, distance = nearest(GALLERY, LESION_ID, np.array([[0.0, 0.0], [np.nan, 1.0], [3.0, 0.1]]), 1)
    assert rows.tolist() == [[-1], [-1], [3]]
    assert np.isnan(distance[:2]).all()


def test_lesions_of_the_own_patient_are_left_out() -> None:
    patients = np.array([1, 1, 2, 1, 1])
    rows, _ = nearest(GALLERY, LESION_ID, np.array([[1.0, 0.0]] * 2), 2, patients, np.array([2, 1]))
    assert rows.tolist() == [[0, 3], [2, -1]]
    only = nearest(GALLERY[:1], LESION_ID[:1], GALLERY[:1], 1, patients[:1], patients[:1])
    assert only[0].tolist() == [[-1]]


def test_only_rows_that_are_allowed_are_found() -> None:
    gallery, queries = gallery_of(GALLERY, LESION_ID), np.array([[1.0, 0.0]])
    allowed = np.array([True, True, False, True, True])
    assert gallery.nearest(queries, 3, allowed=allowed)[0].tolist() == [[0, 3, -1]]
    assert gallery.nearest(queries, 2, allowed=~allowed)[0].tolist() == [[2, -1]]
    assert gallery.nearest(queries, 1, allowed=np.zeros(5, np.bool_))[0].tolist() == [[-1]]


def test_an_empty_gallery_has_no_nearest() -> None:
    assert nearest(np.zeros((3, 2)), np.arange(3), np.ones((2, 2)), 2)[0].tolist() == [[-1, -1]] * 2


vectors = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=40)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(vectors, vectors, st.integers(1, 12), st.randoms(use_true_random=False))
def test_search_is_that_of_all_distances(gallery: list, queries: list, k: int, random: object) -> None:
    lesion_id = list(range(len(gallery)))
    random.shuffle(lesion_id)  # type: ignore[attr-defined]
    found, distance = nearest(np.array(gallery, float), np.array(lesion_id), np.array(queries, float), k)
    for query, rows, apart in zip(queries, found, distance, strict=True):
        every = sorted(
            (float(np.linalg.norm(np.subtract(row, query))), lesion_id[at], at)
            for at, row in enumerate(gallery)
            if any(row) and any(query)
        )[:k]
        assert rows.tolist() == [at for _, _, at in every] + [-1] * (k - len(every))
        np.testing.assert_allclose(apart[: len(every)], [d for d, _, _ in every])


@settings(max_examples=60, deadline=None)
@given(
    vectors, st.sampled_from(["float16", "float32"]), st.sampled_from([1.0, 1e-3, 300.0]), st.integers(1, 9)
)
def test_short_floats_are_searched_as_exactly(base: list, kind: str, scale: float, k: int) -> None:
    # Long vectors that differ in their last bits: a product in float32 can't order them.
    rng = np.random.default_rng(len(base))
    repeated = np.repeat(np.array(base, float), 16, axis=1) * scale
    stored = (repeated + rng.integers(0, 2, repeated.shape) * scale * 1e-3).astype(kind)
    found, distance = nearest(stored, np.arange(len(stored)), stored[:3], k)
    wide = stored.astype(float)
    there = np.flatnonzero((wide != 0).any(axis=1))
    for query, rows, apart in zip(wide[:3], found, distance, strict=True):
        exact = np.sqrt(((wide[there] - query) ** 2).sum(axis=1))
        every = there[np.lexsort((there, exact))][:k] if query.any() else []
        assert rows.tolist() == [*every, *[-1] * (k - len(every))]
        assert (np.diff(apart[: len(every)]) >= 0).all()


def test_a_gallery_is_searched_again_and_again_in_any_number_of_blocks() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    patients = np.arange(50) % 7
    gallery = gallery_of(vectors, np.arange(50), patients)
    whole = gallery.nearest(vectors, 5, patients)
    again = replace(gallery, distances_at_once=120).nearest(vectors, 5, patients)
    np.testing.assert_array_equal(whole[0], again[0])
    np.testing.assert_array_equal(whole[1], again[1])

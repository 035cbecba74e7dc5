"""Pairs of one lesion in two CTs as published by others (DLT) -> rows of the release.

DLT (JimmyCai91/DLT) prints boxes 0-based (printed - 1) with one decimal, x, y, width, height, and names the
slice's file. Boxes are clipped at the image's edge, so x and y alone are compared, those left of or above the
image as 0. Its tracker's results list the same keys below `results`, with more decimals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl.core.errors import SourceError
from etl.derive.lesion_arrays import Ints

TOLERANCE_PX = 0.06
"""One decimal is printed; boxes of one slice are further apart."""


@dataclass(frozen=True)
class KnownPairs:
    """Known pairs as lesion_ids, the smaller first, sorted, each once.

    Attributes:
        pairs: (lesion_id, lesion_id).
        listed: how many the file lists, both directions.
        not_joined: how many of them are no pair of two rows of one patient: a box that no row, or more than
            one, has; one row twice; rows of two patients.
    """

    pairs: tuple[tuple[int, int], ...]
    listed: int
    not_joined: int


def read_known_pairs(data: bytes, source: str, lesions: pd.DataFrame) -> KnownPairs:
    """Join DLT's pairs to rows of the release.

    Args:
        data: the JSON file: an object or a list of pairs, or an object with the list `results`.
        source: its name, for messages.
        lesions: `Annotations.lesions`.

    Raises:
        SourceError: the file is no such JSON, or none of its pairs is among the rows.
    """
    ends: list[tuple[tuple[str, float, float], tuple[str, float, float]]] = []
    listed: list[Any] = []
    try:
        content = json.loads(data)
        if isinstance(content, dict) and isinstance(content.get("results"), list):
            content = content["results"]
        listed = list(content.values() if isinstance(content, dict) else content)
        for pair in listed:
            ends.append((_end(pair, "source"), _end(pair, "target")))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SourceError(
            "the file does not hold pairs of lesions",
            where=f"{source}, entry {len(ends) + 1}" if listed else source,
            value=f"{type(error).__name__}: {error}",
            allowed="JSON as DLT publishes it: 'source recist slice', 'source recist box', and of the target",
            remedy="use valid.json or test.json of DLT",
        ) from None
    rows = _rows_by_slice(lesions)
    found = [
        sorted({row for name, x, y in pair if (row := _join(rows, name, x, y)) is not None})
        for pair in ends
        if len({name.partition("_")[0] for name, _, _ in pair}) == 1
    ]
    joined = [(pair[0], pair[1]) for pair in found if len(pair) == 2]
    if not joined:
        raise SourceError(
            "no pair of the file is among the rows of the CSV",
            where=source,
            value=f"{len(listed)} pairs, {len(lesions)} rows",
            allowed="pairs whose slices and boxes are in the CSV",
            remedy="give the CSV that holds the split of these pairs",
        )
    return KnownPairs(tuple(sorted(set(joined))), len(listed), len(listed) - len(joined))


def _end(pair: Any, side: str) -> tuple[str, float, float]:
    name, box = pair[f"{side} recist slice"], pair[f"{side} recist box"]
    return str(name), float(box[0]), float(box[1])


def _rows_by_slice(lesions: pd.DataFrame) -> dict[str, list[tuple[int, float, float]]]:
    rows: dict[str, list[tuple[int, float, float]]] = {}
    columns = (lesions[name].tolist() for name in ("file_name", "lesion_id", "bbox_x1_px", "bbox_y1_px"))
    for file_name, lesion_id, x, y in zip(*columns, strict=True):
        series, _, last = file_name.rpartition("_")
        rows.setdefault(f"{series}/{last}", []).append((lesion_id, x - 1, y - 1))
    return rows


def _join(rows: dict[str, list[tuple[int, float, float]]], name: str, x: float, y: float) -> int | None:
    near = [
        lesion_id
        for lesion_id, left, top in rows.get(name, [])
        if all(abs(max(a, 0.0) - max(b, 0.0)) < TOLERANCE_PX for a, b in ((left, x), (top, y)))
    ]
    return near[0] if len(near) == 1 else None


def known_sequences(lesion_id: Ints, pairs: Iterable[tuple[int, int]]) -> Ints:
    """Return for each lesion the smallest lesion_id that pairs connect it with; -1 without a pair."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return np.array([root(int(i)) if int(i) in parent else -1 for i in lesion_id], np.int64)

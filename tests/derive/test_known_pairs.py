from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl.core.errors import SourceError
from etl.derive.known_pairs import known_sequences, read_known_pairs
from etl.release.annotations import parse_annotations


def rows(*entries: tuple[str, float, float]) -> pd.DataFrame:
    names, x, y = zip(*entries, strict=True)
    lesion_id = range(100, 100 + len(entries))
    return pd.DataFrame({"lesion_id": lesion_id, "file_name": names, "bbox_x1_px": x, "bbox_y1_px": y})


def pair(source: tuple[str, float, float], target: tuple[str, float, float]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for side, (name, x, y) in (("source", source), ("target", target)):
        made |= {f"{side} recist slice": name, f"{side} recist box": [x, y, 30.0, 20.0]}
    return made


LESIONS = rows(
    ("000004_02_01_013.png", 49.7, 192.6),
    ("000004_02_01_013.png", 149.7, 92.6),
    ("000004_03_01_1008.png", 79.14, 265.35),
    ("000004_04_01_008.png", 10.0, 10.0),
    ("000004_04_01_008.png", 10.0, 10.0),
    ("000005_01_01_013.png", 49.7, 192.6),
)
A, B = ("000004_02_01/013.png", 48.7, 191.6), ("000004_03_01/1008.png", 78.1, 264.4)


@pytest.mark.parametrize("as_list", [False, True])
def test_both_directions_are_one_pair_of_rows(as_list: bool) -> None:
    listed = [pair(A, B), pair(B, A)]
    data = json.dumps(listed if as_list else {"0001": listed[0], "0002": listed[1]}).encode()
    known = read_known_pairs(data, "valid.json", LESIONS)
    assert (known.pairs, known.listed, known.not_joined) == (((100, 102),), 2, 0)


def test_results_of_the_tracker_and_boxes_cut_at_the_edge_join() -> None:
    lesions = rows(("000004_02_01_013.png", -2.3, 192.6), ("000004_03_01_1008.png", 79.14, 0.4))
    cut = pair(("000004_02_01/013.png", 0.0, 191.6), ("000004_03_01/1008.png", 78.1, 0.0))
    known = read_known_pairs(json.dumps({"results": [cut], "name": "mix"}).encode(), "mix.json", lesions)
    assert (known.pairs, known.listed, known.not_joined) == (((100, 101),), 1, 0)


@pytest.mark.parametrize(
    "end",
    [
        ("000004_02_01/014.png", 48.7, 191.6),  # no such slice
        ("000004_02_01/013.png", 48.8, 191.6),  # a tenth of a pixel off
        ("000004_02_01/013.png", 49.7, 192.6),  # as printed, which counts from 1
        ("000004_04_01/008.png", 9.0, 9.0),  # two rows have this box
        ("000005_01_01/013.png", 48.7, 191.6),  # another patient's
        A,
    ],
)
def test_what_is_no_pair_of_two_rows_of_one_patient_is_counted(end: tuple[str, float, float]) -> None:
    data = json.dumps([pair(A, B), pair(A, end)]).encode()
    known = read_known_pairs(data, "valid.json", LESIONS)
    assert (known.pairs, known.listed, known.not_joined) == (((100, 102),), 2, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "does not hold pairs"),
        (b"[1, 2]", "does not hold pairs"),
        (b'{"a": {"source recist slice": "x"}}', "does not hold pairs"),
        (b"7", "does not hold pairs"),
        (json.dumps([pair(A, B), pair(A, B) | {"target recist box": None}]).encode(), "valid.json, entry 2"),
        (b"[]", "no pair of the file"),
        (json.dumps([pair(("x/1.png", 0, 0), B)]).encode(), "no pair of the file"),
    ],
)
def test_other_files_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read_known_pairs(data, "valid.json", LESIONS)


def test_sequences_are_what_pairs_connect() -> None:
    lesion_id = np.array([1, 2, 3, 4, 5, 9])
    assert known_sequences(lesion_id, [(3, 9), (1, 2), (2, 4)]).tolist() == [1, 1, 3, 1, -1, 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DL_info_part.csv", "DL_info_row_index.csv"])
def test_every_real_pair_finds_its_rows(real_release: Path, name: str) -> None:
    pairs = real_release.parent / "annotations" / "dlt" / "valid.json"
    if not pairs.is_file():
        pytest.skip("needs ../shared/annotations/dlt, which is not there")
    lesions = parse_annotations((real_release / name).read_bytes(), name).lesions
    known = read_known_pairs(pairs.read_bytes(), pairs.name, lesions)
    assert (known.listed, len(known.pairs), known.not_joined) == (906, 453, 0)
    study = dict(zip(lesions["lesion_id"], lesions["study_index"], strict=True))
    patient = dict(zip(lesions["lesion_id"], lesions["patient_index"], strict=True))
    assert sum(study[a] == study[b] for a, b in known.pairs) == 27
    assert all(patient[a] == patient[b] for a, b in known.pairs)

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from etl.core.errors import ConfigError
from etl.derive.known_pairs import KnownPairs
from etl.derive.lesion_arrays import lesion_arrays
from etl.derive.match_calibration import read_calibration
from etl.derive.match_fit import evaluate, known_patients
from etl.derive.match_measures import summarize
from etl.phantom import phantom_truth, write_phantom
from etl.release.annotations import parse_annotations


def test_followups_repeat_the_patients_and_change_their_lesions() -> None:
    once, thrice = phantom_truth(patients=3), phantom_truth(patients=3, followups=2)
    assert (len(once.lesions), len(thrice.lesions)) == (9, 27)
    assert thrice.slices == 3 * once.slices
    # Patient 1 has three lesions in one study; patient 2's liver lesion is in both of its two studies.
    assert once.sequences == ((0,), (1,), (2,), (3, 5), (4,), (6,), (7,), (8,))
    assert thrice.sequences[:4] == ((0, 3, 6), (1, 4, 7), (2, 5, 8), (9, 11, 12, 14, 15, 17))
    sizes = [thrice.lesions[lesion_id].diameter_mm for lesion_id in thrice.sequences[0]]
    assert all(0.96 / 1.04 < late / early / 1.2 < 1.04 / 0.96 for early, late in pairwise(sizes))
    assert [lesion.series_id for lesion in thrice.lesions[9:18:3]] == [
        "000002_01_01",
        "000002_03_01",
        "000002_05_01",
    ]
    assert thrice.lesions[:3] == once.lesions[:3]


def test_followups_have_bounds() -> None:
    with pytest.raises(ConfigError, match="wrong number of follow-ups"):
        phantom_truth(followups=4)


@pytest.mark.slow
def test_known_sequences_of_the_phantom_are_found(tmp_path: Path) -> None:
    truth = write_phantom(tmp_path, patients=2, archives=1, followups=2)
    lesions = parse_annotations((tmp_path / "DL_info.csv").read_bytes(), "DL_info.csv").lesions
    pairs = tuple(pair for sequence in truth.sequences for pair in pairwise(sequence))
    patients = known_patients(lesion_arrays(lesions), KnownPairs(pairs, len(pairs), 0))
    measured = summarize(evaluate(patients, read_calibration(), "mutual"))
    assert measured["known_pairs"] == 3 * 3 + 15 + 3
    assert measured["f"] >= 0.99
    assert measured["top1"] >= 0.99

from __future__ import annotations

from collections import Counter

import pytest

from etl.core.errors import ConfigError
from etl.phantom import phantom_truth
from etl.phantom.looks import BRIGHT, CHEST, DARK, HIPS


def test_types_are_told_by_look_or_by_place() -> None:
    alone, truth = phantom_truth(patients=1), phantom_truth(patients=1, looks=8)
    assert truth.lesions[:3] == alone.lesions
    added = truth.lesions[3:]
    assert len(added) == 8 * 8
    for lesion in added:
        if lesion.coarse_type in (BRIGHT, DARK):
            assert (lesion.hu > lesion.background_hu) == (lesion.coarse_type == BRIGHT)
    kinds = Counter(lesion.coarse_type for lesion in added)
    assert kinds[CHEST] == kinds[HIPS] == 16
    assert min(kinds[BRIGHT], kinds[DARK]) >= 8
    by_place = {
        kind: {(lesion.hu, lesion.background_hu) for lesion in added if lesion.coarse_type == kind}
        for kind in (CHEST, HIPS)
    }
    assert by_place[CHEST] == by_place[HIPS], "these look the same"
    assert len({lesion.diameter_mm > 15 for lesion in added}) == 2, "there are small and large ones"


def test_patients_with_looks_have_bounds() -> None:
    with pytest.raises(ConfigError, match="wrong number of patients with looks"):
        phantom_truth(looks=1000)

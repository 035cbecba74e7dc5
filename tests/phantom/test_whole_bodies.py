from __future__ import annotations

import pytest

from etl.core.errors import ConfigError
from etl.phantom import phantom_truth
from etl.phantom.plan import TEST, TRAIN, VAL, plan_release
from etl.phantom.whole_bodies import whole_body_patients


def test_whole_bodies_follow_the_other_patients() -> None:
    usual, more = plan_release(8, 0), plan_release(8, 0, further=whole_body_patients(5))
    assert more[: len(usual)] == usual
    added = more[len(usual) :]
    assert [series.key.patient for series in added] == [9, 10, 11, 12, 13]
    assert [series.patient.split for series in added] == [TRAIN, TRAIN, TEST, TRAIN, VAL]
    for series in added:
        (run,) = series.runs
        assert run.z_mm(run.plan.first) <= 30
        assert 530 <= run.z_mm(run.plan.last) <= 542
        assert len(run.lesions) == 15
        key_slices = [lesion.slice_index for lesion in run.plan.lesions]
        assert sorted(key_slices) == key_slices
        assert run.plan.first < key_slices[0] < key_slices[-1] <= run.plan.last


def test_whole_bodies_have_bounds() -> None:
    assert phantom_truth(whole_bodies=2).slices > phantom_truth().slices
    with pytest.raises(ConfigError, match="wrong number of whole bodies"):
        phantom_truth(whole_bodies=100)

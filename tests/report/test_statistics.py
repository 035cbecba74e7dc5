from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report import statistics
from tests.support.report_rows import lesions, slices, volumes


def test_types_are_counted_beside_what_is_published() -> None:
    table = statistics.type_counts(lesions({}, {"coarse_type": "bone"}, {"coarse_type": None}, {}))
    assert table["coarse_type"].tolist()[:2] == ["lung", "abdomen"]
    counts = dict(zip(table["coarse_type"], table["lesions"], strict=True))
    assert {name: count for name, count in counts.items() if count} == {"lung": 2, "bone": 1, "unlabelled": 1}
    assert table["published"].sum() == 9816


def test_the_last_bin_of_the_diameters_holds_the_rest() -> None:
    long = [0.0, 4.999, 5.0, 99.9, 100.0, 343.0]
    table = statistics.diameters(lesions(*({"long_diameter_mm": value} for value in long)))
    found = table[table["long_diameter"] > 0]
    assert found["from_mm"].tolist() == [0, 5, 95, 100]
    assert found["long_diameter"].tolist() == [2, 1, 1, 2]
    assert found["to_mm"].tolist()[-1] == np.inf
    assert table["short_diameter"].sum() == 6


def test_spacings_are_binned_and_intervals_counted_as_they_are() -> None:
    rows = volumes(
        {"source_spacing_x_mm": 0.49},
        {"source_spacing_x_mm": 0.6, "source_spacing_z_mm": 1.0},
        {"source_spacing_x_mm": 0.64, "source_spacing_z_mm": 1.0},
    )
    assert statistics.spacings(rows).to_dict("list") == {
        "from_mm": [0.45, 0.5, 0.55, 0.6],
        "to_mm": [0.5, 0.55, 0.6, 0.65],
        "volumes": [1, 0, 0, 2],
    }
    assert statistics.slice_intervals(rows).to_numpy().tolist() == [[1.0, 2], [5.0, 1]]


def test_a_spacing_beyond_the_last_bin_is_counted() -> None:
    assert statistics.spacings(volumes({"source_spacing_x_mm": 2.0}))["volumes"].tolist() == [1]


def test_ages_and_sexes_are_counted_by_split() -> None:
    rows = lesions(
        {"age_years": 0},
        {"age_years": 9, "split": "val"},
        {"age_years": 157, "sex": "M"},
        {"age_years": None, "split": "train"},
    )
    ages = statistics.ages(rows).set_index("age_years")
    assert ages.index[[0, 1, -2, -1]].tolist() == ["0 to 9", "10 to 19", "150 to 159", "missing"]
    assert ages.loc["0 to 9"].to_dict() == {"train": 0, "val": 1, "test": 1}
    assert ages.loc["missing"].to_dict() == {"train": 1, "val": 0, "test": 0}
    assert ages.to_numpy().sum() == 4
    assert statistics.sexes(rows).to_numpy().tolist() == [["F", 1, 1, 1], ["M", 0, 0, 1]]


@pytest.mark.parametrize(("share", "count"), [(0.5, 1500), (0.01, 1000), (1.0, 3000)])
def test_a_sample_of_places_is_the_same_every_time(share: float, count: int) -> None:
    rows = lesions(*[{}] * 3000)
    table = statistics.places(rows, share)
    assert len(table) == count
    assert table.equals(statistics.places(rows, share))
    assert table["lesion_id"].is_monotonic_increasing


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_every_voxel_and_slice_is_in_one_bin(values: list[int]) -> None:
    counted = statistics.voxel_hu([statistics.hu_counts(np.array([values], np.int16))] * 2)
    assert counted["voxels"].sum() == 2 * len(values)
    assert counted["percent"].sum() == pytest.approx(100, abs=0.01)
    means = statistics.slice_means(slices(*({"hu_mean": float(value)} for value in values)))
    assert (means["slices"] * 2).tolist() == counted["voxels"].tolist()


def test_a_bin_begins_at_its_lower_edge() -> None:
    counted = statistics.voxel_hu(
        [statistics.hu_counts(np.array([[-1024, -1000, 0, 49, 50, 3071]], np.int16))]
    )
    found = counted[counted["voxels"] > 0]
    assert found[["from_hu", "voxels"]].to_numpy().tolist() == [[-1000, 2], [0, 2], [50, 1], [1500, 1]]

"""Series of a folder, as trainings read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.core.errors import ConfigError
from etl.imaging.body_view import BodyView
from etl.learn.series import folder_series, patients_of
from tests.support.made_up_ct import write_ct_folder

VIEW = BodyView(8, 40.0)
HU, SPACING = np.zeros((2, 4, 4), np.int16), np.array([5.0, 1.0, 1.0])


def test_series_of_a_folder_with_their_patients_and_positions(tmp_path: Path) -> None:
    found = folder_series(str(write_ct_folder(tmp_path / "ct")), VIEW, val=["two"], test=["three"])
    assert patients_of(found) == {"train": ["one"], "val": ["two"], "test": ["three"]}
    assert [one.name for one in found] == ["one_a_chest", "one_chest", "three_pelvis", "two_b_abdomen"]
    for one in found:
        assert one.mm.tolist() == (5.0 * np.arange(12)).tolist()
        assert one.read().shape == (12, 8, 8)
        assert np.isnan(one.norm_z).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {"hu": HU},
        {"spacing_mm": SPACING},
        {"hu": HU[0], "spacing_mm": SPACING},
        {"hu": HU[:0], "spacing_mm": SPACING},
        {"hu": np.full(HU.shape, np.nan), "spacing_mm": SPACING},
        {"hu": HU.astype(str), "spacing_mm": SPACING},
        {"hu": HU.astype(object), "spacing_mm": SPACING},
        {"hu": HU, "spacing_mm": SPACING[:2]},
        {"hu": HU, "spacing_mm": SPACING * [np.nan, 1, 1]},
        {"hu": HU, "spacing_mm": SPACING * [1, -1, 1]},
        {"hu": HU, "spacing_mm": SPACING * [0, 1, 1]},
        {"hu": HU, "spacing_mm": SPACING.astype(str).astype("U9") + np.array("mm")},
    ],
)
def test_a_series_that_can_not_be_learned_from_is_named(tmp_path: Path, arrays: dict[str, Any]) -> None:
    folder = write_ct_folder(tmp_path / "ct")
    np.savez(folder / "odd_chest.npz", **arrays)
    with pytest.raises(ConfigError, match="a series can't be read") as error:
        folder_series(str(folder), VIEW)
    assert "odd_chest.npz" in str(error.value)


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    folder = write_ct_folder(tmp_path / "ct")
    path = folder / "one_chest.npz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConfigError, match="a series can't be read"):
        folder_series(str(folder), VIEW)

"""Series of a folder, as trainings read them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.core.errors import ConfigError
from etl.imaging.body_view import BodyView
from etl.learn.series import Series, ViewCache, folder_series, patients_of
from etl.learn.store_series import store_series
from etl.store import open_store
from tests.support.made_up_ct import write_ct_folder
from tests.support.made_up_series import bar_series
from tests.support.three_volumes import ROWS, built, variant
from tests.support.tiny_release import build_serial

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
        {"hu": np.full(HU.shape, 32768 + 40, np.uint16), "spacing_mm": SPACING},
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


@pytest.mark.parametrize("name", ["one.npz", "one_Chest.npz", "one_chest_2.npz", "two_chest.NPZ"])
def test_a_file_without_a_patient_in_its_name_is_not_passed_over(tmp_path: Path, name: str) -> None:
    folder = write_ct_folder(tmp_path / "ct")
    (folder / "README.md").write_text("which series these are")
    (folder / name).write_bytes((folder / "one_chest.npz").read_bytes())
    with pytest.raises(ConfigError, match="no patient is in the name") as error:
        folder_series(str(folder), VIEW)
    assert f"['{name}']" in str(error.value)
    assert "PATIENT_a_COVERS.npz" in str(error.value)


def check_kept_apart(folder: Path, *series: Series) -> None:
    """Check that a folder of a cache gives each series its own slices, and the same again."""
    for _ in range(2):
        for one in series:
            assert np.array_equal(ViewCache(str(folder)).of(one), one.read())
    assert len(list(folder.iterdir())) == len(series)


def test_a_cache_tells_volumes_of_other_builds_and_other_views_apart(tmp_path: Path) -> None:
    config = built(tmp_path, rows=[row | {"Train_Val_Test": "1"} for row in ROWS])
    views = [BodyView(8, 1.0), BodyView(8, 0.5), BodyView(16, 1.0)]
    found = [store_series(open_store(config.store), view)[0] for view in views]
    build_serial(variant(config, volume={"clip_hu": (-1024, 0)}))
    found.append(store_series(open_store(config.store), views[0])[0])
    assert len({one.name for one in found}) == 1
    check_kept_apart(tmp_path / "cache", *found)


def test_a_cache_tells_files_of_one_name_apart(tmp_path: Path) -> None:
    folder = write_ct_folder(tmp_path / "ct")
    found = [folder_series(str(folder), view)[0] for view in (VIEW, BodyView(4, 80.0))]
    np.savez(folder / "one_a_chest.npz", hu=HU, spacing_mm=SPACING)
    found.append(folder_series(str(folder), VIEW)[0])
    check_kept_apart(tmp_path / "cache", *found)


@pytest.mark.parametrize("count", [2, 5])
def test_processes_that_need_one_series_at_once_all_get_it(tmp_path: Path, count: int) -> None:
    views = np.arange(40 * 256 * 256, dtype=np.int16).reshape(40, 256, 256)
    together, found = threading.Barrier(count), list[bool]()

    def read() -> np.ndarray:
        together.wait(60)
        return views

    series = replace(bar_series(1), read=read)

    def use() -> None:
        found.append(np.array_equal(ViewCache(str(tmp_path)).of(series), views))

    threads = [threading.Thread(target=use) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * count

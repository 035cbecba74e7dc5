from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from etl.imaging.window import to_grey
from etl.report.planes import WINDOW_HU, PlaneRef, plane_pictures, plane_refs
from etl.report.quality import Check
from etl.report.statistics import hu_counts
from etl.report.voxels import sample_planes
from etl.store.reader import Store, open_store
from tests.support.report_rows import volumes

NAME = "000001_01_01_001-009"


def check(**columns: list[object]) -> Check:
    return Check("a", "", "", 1, pd.DataFrame({"volume_id": [NAME]} | columns))


@pytest.mark.parametrize(
    ("columns", "sight", "anchor", "view"),
    [
        ({"lesion_id": [7]}, PlaneRef(NAME, lesion_id=7), "lesion-7", f"{NAME}/7"),
        # 5 mm per slice, 1 mm per voxel
        ({"slice_index": [4]}, PlaneRef(NAME, plane=15, slice_index=4), f"plane-{NAME}-15", f"{NAME}/z=15"),
        # past the last voxel's centre
        ({"slice_index": [10]}, PlaneRef(NAME, plane=40, slice_index=10), f"plane-{NAME}-40", f"{NAME}/z=40"),
        ({"statistic": ["hu_mean"]}, PlaneRef(NAME, plane=20), f"plane-{NAME}-20", f"{NAME}/z=20"),
    ],
    ids=["a lesion", "a slice", "the last slice", "a volume"],
)
def test_a_row_leads_to_what_it_is_about(
    columns: dict[str, list[object]], sight: PlaneRef, anchor: str, view: str
) -> None:
    (found,) = plane_refs([check(**columns)], volumes({}))["a"]
    assert (found, found.anchor, found.view) == (sight, anchor, view)


def test_a_picture_is_the_stored_plane_and_each_is_drawn_once(store: Store) -> None:
    name = store.volumes()["volume_id"].iloc[0]
    wanted = [
        PlaneRef(name, plane=1),
        PlaneRef(name, lesion_id=0),
        PlaneRef(name, plane=1),
        PlaneRef(name, plane=2),
    ]
    pictures, failed = plane_pictures(store, wanted, store.volumes())
    assert failed == []
    assert [picture.ref.plane for picture in pictures] == [1, 2]
    plane = np.asarray(store.array(name)[1])
    grey = Image.fromarray(to_grey(plane, WINDOW_HU))
    grey.thumbnail((320, 320), Image.Resampling.BILINEAR)
    shown = np.asarray(Image.open(io.BytesIO(pictures[0].jpeg)))
    assert shown.shape == np.asarray(grey).shape
    assert np.abs(shown.astype(int) - np.asarray(grey)).mean() < 4
    row = store.volumes().iloc[0]
    assert pictures[0].size_mm == (
        plane.shape[0] * row["spacing_y_mm"],
        plane.shape[1] * row["spacing_x_mm"],
    )


@pytest.mark.slow
def test_what_is_gone_is_not_shown_as_air(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.objects.root, tmp_path / "store")
    damaged = open_store(str(tmp_path / "store"))
    entry = damaged.version["volumes"][0]
    (tmp_path / "store" / entry["path"] / "0/c/0/0/0").unlink()
    pictures, failed = plane_pictures(damaged, [PlaneRef(entry["volume_id"], plane=0)], damaged.volumes())
    assert (pictures, failed) == ([], [f"{entry['volume_id']}: a volume's voxels are missing"])
    sample = sample_planes(damaged, damaged.volumes())
    assert sample.failed == damaged.volumes()["shape_z"].iloc[0]
    assert len(sample.counts) == sample.planes - sample.failed


@pytest.mark.slow
def test_every_plane_of_a_small_store_is_counted(store: Store) -> None:
    """Key slices count like all other planes."""
    found = sample_planes(store, store.volumes())
    arrays = [store.array(name)[...] for name in store.volumes()["volume_id"]]
    assert len(found.counts) == found.planes == sum(map(len, arrays)) <= 240
    assert (np.sum(found.counts, axis=0) == np.sum([hu_counts(a) for a in arrays], axis=0)).all()


@pytest.mark.slow
def test_of_many_planes_some_are_drawn_evenly(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []

    def noted(_: Store, name: str, planes: list[int]) -> np.ndarray:
        read.extend((name, plane) for plane in planes)
        return np.zeros((len(planes), 2, 2), np.int16)

    monkeypatch.setattr("etl.report.voxels.read_planes", noted)
    drawn: dict[str, int] = {"long": 0, "short": 0}
    rows = volumes({"volume_id": "long", "shape_z": 300}, {"volume_id": "short", "shape_z": 100})
    rows["path"] = ""
    for seed in range(100):
        read.clear()
        assert len(sample_planes(store, rows, seed, count=9).counts) == 9
        assert len(set(read)) == 9
        for name, plane in read:
            assert 0 <= plane < {"long": 300, "short": 100}[name]
            drawn[name] += 1
    assert 0.7 < drawn["long"] / 900 < 0.8

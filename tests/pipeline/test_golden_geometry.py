"""The synthetic release's lesions are found in the stored voxels where the tables say."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray
from PIL import Image

from etl.phantom import PhantomLesion, PhantomTruth, phantom_truth
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.stored import build_store, config_data

LESIONS = phantom_truth().lesions
SPACINGS = [
    2.0,
    pytest.param(1.0, marks=pytest.mark.slow),
    pytest.param(0.8, marks=pytest.mark.campaign),
    pytest.param("native", marks=pytest.mark.slow),
    pytest.param([2, 1.2, 0.8], marks=pytest.mark.slow, id="each"),
]


@dataclass(frozen=True, eq=False)
class Built:
    """A published store of the synthetic release at one spacing."""

    root: Path
    spacing_mm: float | str | list[float]
    lesions: pd.DataFrame
    volumes: pd.DataFrame

    @cache  # noqa: B019 - a few small volumes, gone with the module
    def voxels(self, volume_id: str) -> NDArray[np.int16]:
        """Opened by nothing but Zarr and the path in the catalogue."""
        return np.asarray(
            zarr.open_array(self.root / self.volumes.at[volume_id, "path"] / "0", mode="r")[...]
        )


@pytest.fixture(scope="module", params=SPACINGS)
def built(
    request: pytest.FixtureRequest,
    phantom: tuple[Path, PhantomTruth],
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    root = tmp_path_factory.mktemp("golden")
    data = config_data(phantom[0], root, volume={"spacing_mm": request.param})
    build_store(data, SerialExecutor())
    store = open_store(str(root))
    return Built(
        root, request.param, store.lesions().set_index("lesion_id"), store.volumes().set_index("volume_id")
    )


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The voxels around a lesion that hold nothing but it and its background.

    Attributes:
        zyx: voxel coordinates, one row a voxel.
        weight: share of lesion in each voxel, noise included.
    """

    zyx: NDArray[np.float64]
    weight: NDArray[np.float64]


def spacing_of(built: Built, volume_id: str) -> NDArray[np.float64]:
    row = built.volumes.loc[volume_id]
    return np.array([row[f"spacing_{axis}_mm"] for axis in "zyx"])


def centre_vox(built: Built, truth: PhantomLesion) -> NDArray[np.float64]:
    """(z, y, x) of a lesion's centre: the box's from the lesions table, the height from the truth."""
    row = built.lesions.loc[truth.lesion_id]
    volume = built.volumes.loc[row["volume_id"]]
    z = (truth.centre_slice - volume["slice_first"]) * truth.spacing_mm[2] / volume["spacing_z_mm"]
    y, x = ((row[f"bbox_{axis}1_vox"] + row[f"bbox_{axis}2_vox"]) / 2 for axis in "yx")
    return np.array([z, y, x])


def surroundings(built: Built, truth: PhantomLesion) -> Surroundings:
    volume_id = built.lesions.at[truth.lesion_id, "volume_id"]
    voxels, spacing = built.voxels(volume_id), spacing_of(built, volume_id)
    offset = [
        (np.arange(n) - centre) * step
        for n, centre, step in zip(voxels.shape, centre_vox(built, truth), spacing, strict=True)
    ]
    z, y, x = np.ix_(*offset)
    # Interpolation mixes in the next slice, and in plane the next pixel or voxel.
    depth = truth.clear_half_depth_mm - truth.spacing_mm[2]
    radius = truth.clear_radius_mm - max(truth.spacing_mm[0], *spacing[1:])
    inside = (np.abs(z) < depth) & (np.hypot(y, x) < radius)
    share = (voxels[inside] - truth.background_hu) / (truth.hu - truth.background_hu)
    return Surroundings(np.argwhere(inside).astype(float), share)


@pytest.mark.slow
@pytest.mark.parametrize("truth", LESIONS, ids=lambda truth: truth.file_name)
def test_lesion_lies_where_the_tables_say(built: Built, truth: PhantomLesion) -> None:
    around = surroundings(built, truth)
    centroid = (around.zyx * around.weight[:, None]).sum(axis=0) / around.weight.sum()
    assert centroid == pytest.approx(centre_vox(built, truth), abs=0.5)


@pytest.mark.parametrize("truth", LESIONS, ids=lambda truth: truth.file_name)
def test_long_diameter_is_that_of_the_table(built: Built, truth: PhantomLesion) -> None:
    row = built.lesions.loc[truth.lesion_id]
    steps = spacing_of(built, row["volume_id"])[1:]
    around = surroundings(built, truth)
    plane = around.zyx[:, 0] == round(row["z_vox"])
    # Thin against the slice interval, it has less contrast; its outline is at half of what it has.
    weight = around.weight[plane]
    lesion = around.zyx[plane, 1:][weight > np.quantile(weight, 0.98) / 2]
    ends = lesion * steps
    long_mm = max(np.hypot(*(a - b)) for a, b in combinations(ends, 2)) + steps.mean()
    assert long_mm == pytest.approx(row["long_diameter_mm"], abs=1.5 * steps.max())


def test_key_slice_is_the_tables_z(built: Built) -> None:
    for truth in LESIONS:
        row = built.lesions.loc[truth.lesion_id]
        volume = built.volumes.loc[row["volume_id"]]
        assert (volume["slice_first"], volume["slice_last"]) == (truth.run_first, truth.run_last)
        assert row["z_mm"] == (truth.slice_index - truth.run_first) * truth.spacing_mm[2]
        assert row["z_vox"] == pytest.approx(row["z_mm"] / volume["spacing_z_mm"], rel=1e-12)


def test_release_has_the_cases_that_matter(built: Built) -> None:
    """Every lesion is checked above; here, that among them are the ones that a wrong reading would move."""
    with_lesion = built.volumes[built.volumes["lesion_count"] > 0]
    by_series = with_lesion.groupby(["patient_index", "study_index", "series_index"])
    gap = by_series.get_group((2, 1, 1))
    assert gap["slice_first"].iloc[1] == gap["slice_last"].iloc[0] + 2
    assert set(by_series.get_group((3, 1, 1))["source_spacing_z_mm"]) == {1.0, 5.0}
    assert set(by_series.get_group((4, 1, 1))["source_shape_y"]) == {768}
    assert set(by_series.get_group((5, 1, 1))["slice_last"]) == {1016}
    anisotropic = with_lesion["source_spacing_z_mm"] / with_lesion["source_spacing_x_mm"]
    assert anisotropic.max() > 6
    assert built.lesions["bbox_past_edge"].sum() == 1


@pytest.mark.parametrize("built", [pytest.param("native", marks=pytest.mark.slow)], indirect=True)
def test_native_is_lossless(built: Built, phantom: tuple[Path, PhantomTruth]) -> None:
    slices = {}
    for path in sorted(phantom[0].glob("Images_png_*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".png") and "._" not in name:
                    slices[name] = archive.read(name)
    compared = 0
    for volume_id, row in built.volumes.iterrows():
        assert isinstance(volume_id, str)
        voxels = built.voxels(volume_id)
        for number in range(row["slice_first"], row["slice_last"] + 1):
            name = f"Images_png/{volume_id[:12]}/{number:03d}.png"
            stored = np.asarray(Image.open(io.BytesIO(slices[name]))).astype(np.int32)
            plane = voxels[number - row["slice_first"]]
            np.testing.assert_array_equal(plane, np.clip(stored - 32768, -1024, 3071), err_msg=name)
            compared += 1
    assert compared == len(slices) == phantom[1].slices

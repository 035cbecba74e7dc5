"""Real DeepLesion slices and rows, from PNG files to a published store."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from etl.pipeline.build import Build
from etl.run.serial import SerialExecutor
from etl.store import LesionCrops, Store, open_store
from tests.support.stored import build_store, files_below, read_versions, table_bytes

SERIES = "000001_01_01"
VOLUME = f"{SERIES}_103-115"
SPACING_XYZ_MM = (0.488281, 0.488281, 5.0)


def config_data(real: Path, store: Path, **source: Any) -> dict[str, Any]:
    return {
        "store": str(store),
        "source": {"annotations": str(real / "DL_info_images.csv")} | source,
        # Most series are there in part only.
        "limits": {"rejects": 1.0},
        "volume": {"antialias": False},
        "cluster": "serial",
    }


@pytest.fixture(scope="module")
def built(real_release: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Store]:
    root = tmp_path_factory.mktemp("real")
    data = config_data(real_release, root, images=str(real_release / "Images_png"))
    return build_store(data, SerialExecutor()), open_store(str(root))


def slice_hu(real: Path, name: str) -> NDArray[np.int32]:
    return np.asarray(Image.open(real / "Images_png" / name)).astype(np.int32) - 32768


@pytest.mark.slow
def test_every_slice_and_row_is_accounted_for(built: tuple[Build, Store], real_release: Path) -> None:
    build, store = built
    names = [path for path in (real_release / "Images_png").rglob("*.png") if path.name[0] != "."]
    rows = pd.read_csv(real_release / "DL_info_images.csv")
    counts = build.published.counts
    assert len(names) == 39
    assert counts.rows_not_selected == counts.slices_not_selected == 0
    assert counts.lesions + counts.rows_rejected == len(rows)

    # Two series are slices without a row: their spacing is not known.
    series = set(rows["File_name"].str[:12])
    strangers = {path.parent.name for path in names} - series
    assert counts.slices == sum(path.parent.name in series for path in names) == 37
    rejects = store.rejects()
    assert set(rejects[rejects["reason"] == "slice_not_annotated"]["series_id"]) == strangers
    assert counts.slices_rejected == len(strangers) == 2

    # A row is in the store if its key slice is there, else it is rejected for just that.
    have = {f"{path.parent.name}_{path.name}" for path in names}
    kept = rows["File_name"].isin(have)
    assert counts.lesions == kept.sum() == 26
    assert store.lesions()["lesion_id"].tolist() == rows.index[kept].tolist()
    assert store.lesions()["file_name"].tolist() == rows["File_name"][kept].tolist()
    rejected_rows = rejects[rejects["kind"] == "row"]
    assert set(rejected_rows["reason"]) == {"key_slice_missing"}
    assert sorted(rejected_rows["lesion_id"]) == rows.index[~kept].tolist()
    assert set(rejects["reason"]) == {"key_slice_missing", "slice_missing", "slice_not_annotated"}


@pytest.mark.slow
def test_stored_voxels_are_those_of_an_independent_resampler(
    built: tuple[Build, Store], real_release: Path
) -> None:
    _, store = built
    voxels = np.asarray(store.array(VOLUME)[...])
    source = np.stack([slice_hu(real_release, f"{SERIES}/{number:03d}.png") for number in range(103, 116)])
    assert source.min() < -1024  # padding, which must not bleed into the tissue next to it
    image = SimpleITK.GetImageFromArray(np.clip(source, -1024, 3071).astype(np.float64))
    image.SetSpacing(SPACING_XYZ_MM)
    size = [int((n - 1) * mm / 1.0) + 1 for n, mm in zip(image.GetSize(), SPACING_XYZ_MM, strict=True)]
    assert voxels.shape == tuple(reversed(size)) == (61, 250, 250)
    grid = SimpleITK.Image(size, SimpleITK.sitkFloat64)
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkLinear)
    )
    assert np.abs(voxels - expected).max() <= 0.51


def test_lesion_of_the_whole_series_lies_in_its_volume(built: tuple[Build, Store]) -> None:
    _, store = built
    (row,) = store.lesions().query("file_name == '000001_01_01_109.png'").to_dict("records")
    assert row["volume_id"] == VOLUME
    assert (row["z_mm"], row["z_vox"]) == (30.0, 30.0)
    assert row["bbox_x1_px"] == 226.169
    assert row["bbox_x1_vox"] == pytest.approx((226.169 - 1) * 0.488281)
    assert (row["patient_index"], row["sex"], row["age_years"], row["split"]) == (1, "F", 62.0, "test")
    catalogue = store.volumes().set_index("volume_id").loc[VOLUME]
    assert (catalogue["slice_first"], catalogue["slice_last"]) == (103, 115)
    assert (catalogue["shape_z"], catalogue["shape_y"], catalogue["shape_x"]) == (61, 250, 250)
    slices = store.slices().query("volume_id == @VOLUME")
    assert slices["slice_index"].tolist() == list(range(103, 116))
    assert slices["hu_minimum"].min() == -3024


@pytest.mark.slow
def test_native_volumes_are_the_clipped_slices(real_release: Path, tmp_path: Path) -> None:
    data = config_data(real_release, tmp_path / "store", images=str(real_release / "Images_png"))
    data["volume"] = {"spacing_mm": "native"}
    build_store(data, SerialExecutor())
    store = open_store(str(tmp_path / "store"))
    compared = 0
    for _, volume in store.volumes().iterrows():
        voxels = np.asarray(store.array(volume["volume_id"])[...])
        for number in range(volume["slice_first"], volume["slice_last"] + 1):
            hu = slice_hu(real_release, f"{volume['volume_id'][:12]}/{number:03d}.png")
            np.testing.assert_array_equal(
                voxels[number - volume["slice_first"]],
                np.clip(hu, -1024, 3071),
                err_msg=f"{volume['volume_id']} {number}",
            )
            compared += 1
    assert compared == 37


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_zipped_slices_give_the_same_volumes(
    method: int, built: tuple[Build, Store], real_release: Path, tmp_path: Path
) -> None:
    _, store = built
    folder = real_release / "Images_png"
    with zipfile.ZipFile(tmp_path / "Images_png_01.zip", "w", method) as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"Images_png/{path.relative_to(folder).as_posix()}")
    data = config_data(real_release, tmp_path / "store", archives=[str(tmp_path / "*.zip")])
    build_store(data, SerialExecutor())
    assert files_below(tmp_path / "store" / "volumes") == files_below(Path(store.objects.root) / "volumes")
    (zipped,), (extracted,) = read_versions(tmp_path / "store"), read_versions(Path(store.objects.root))
    assert zipped["volumes"] == extracted["volumes"]
    assert zipped["counts"] == extracted["counts"]
    lesions = {
        name: content
        for name, content in table_bytes(tmp_path / "store", zipped).items()
        if name.startswith("lesions/")
    }
    assert lesions.items() <= table_bytes(Path(store.objects.root), extracted).items()
    assert lesions


def test_a_lesion_lies_in_the_middle_of_its_crop(built: tuple[Build, Store]) -> None:
    store = built[1]
    lesions = store.lesions().set_index("lesion_id")
    crops = LesionCrops(store)
    assert len(crops) == 26
    for sample in crops:
        lesion = lesions.loc[int(sample["lesion_id"])]
        x1, y1, x2, y2 = sample["boxes"][0]
        # A voxel is 1 mm.
        assert x2 - x1 == pytest.approx(lesion.bbox_x2_mm - lesion.bbox_x1_mm, abs=1e-4)
        assert y2 - y1 == pytest.approx(lesion.bbox_y2_mm - lesion.bbox_y1_mm, abs=1e-4)
        assert (x1 + x2) / 2 == pytest.approx(31.5, abs=0.5001)
        assert (y1 + y2) / 2 == pytest.approx(31.5, abs=0.5001)
        assert sample["boxes_z"][0] == pytest.approx(15.5, abs=0.5001)
        crop = store.crop(int(sample["lesion_id"]), size_mm=(32, 64, 64))
        assert np.array_equal(store.window(crop), sample["image"])

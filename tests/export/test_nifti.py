from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from etl.export.export import export
from etl.export.nifti import encode_nifti, nifti_affine
from etl.export.protocol import Selection
from etl.phantom import PhantomLesion, phantom_truth
from etl.store.reader import Store

LESIONS = phantom_truth().lesions


@pytest.fixture(scope="module")
def folder(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nifti")
    export(demo_store, out, "nifti", Selection())
    return out


def test_affine_is_the_official_converters() -> None:
    z, s = 5.0, 0.75
    official = [[0, -s, 0, 0], [-s, 0, 0, 0], [0, 0, -z, 0], [0, 0, 0, 1]]
    assert nifti_affine((z, s, s)).tolist() == official
    # Columns are along x: 0.5 mm apart; rows along y: 2 mm.
    assert nifti_affine((5.0, 2.0, 0.5))[:2, :2].tolist() == [[0, -0.5], [-2, 0]]


def test_names_are_the_official_converters(folder: Path, demo_store: Store) -> None:
    names = {path.name for path in folder.glob("*.nii.gz")}
    assert names == {f"{name}.nii.gz" for name in demo_store.volumes()["volume_id"]}
    assert {"000005_01_01_985-1016.nii.gz", "000006_01_02_001-016.nii.gz"} <= names


def test_the_same_voxels_give_the_same_bytes() -> None:
    voxels = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 1024
    data = encode_nifti(voxels, (5.0, 2.0, 0.5), "a test")
    assert data == encode_nifti(voxels, (5.0, 2.0, 0.5), "a test")
    header = gzip.decompress(data)[:352]
    assert header[344:348] == b"n+1\0"
    assert header[148:154] == b"a test"


def test_itk_sees_int16_hu(folder: Path, demo_store: Store) -> None:
    volume_id = demo_store.volumes()["volume_id"].iloc[0]
    image = SimpleITK.ReadImage(folder / f"{volume_id}.nii.gz")
    assert image.GetPixelID() == SimpleITK.sitkInt16
    voxels = np.asarray(demo_store.array(volume_id)[...])
    # SimpleITK's arrays reverse the axes of the file: slice, column, row.
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), voxels.transpose(0, 2, 1))


def lps_mm(truth: PhantomLesion) -> NDArray[np.float64]:
    """Return a lesion's centre, relative to the first voxel: left, posterior, superior in mm."""
    x, y = ((value - 1) * step for value, step in zip(truth.centre_px, truth.spacing_mm, strict=False))
    return np.array([x, y, -(truth.centre_slice - truth.run_first) * truth.spacing_mm[2]])


@pytest.mark.parametrize("truth", LESIONS, ids=lambda truth: truth.file_name)
def test_lesion_is_at_its_place_in_mm(folder: Path, truth: PhantomLesion) -> None:
    """Only the file and SimpleITK's coordinates of its voxels are used."""
    (path,) = folder.glob(f"{truth.series_id}_{truth.run_first:03d}-{truth.run_last:03d}.nii.gz")
    image = SimpleITK.ReadImage(path)
    expected = lps_mm(truth)
    # This range holds only the lesion and its background.
    depth = truth.clear_half_depth_mm - truth.spacing_mm[2]
    radius = truth.clear_radius_mm - 1
    centre = image.TransformPhysicalPointToContinuousIndex(expected.tolist())
    reach = math.ceil(max(depth, radius))
    ranges = [
        range(max(0, round(c) - reach), min(size, round(c) + reach + 1))
        for c, size in zip(centre, image.GetSize(), strict=True)
    ]
    block = SimpleITK.GetArrayViewFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    i, j, k = (axis.ravel() for axis in np.meshgrid(*ranges, indexing="ij"))
    places = np.array(image.GetOrigin()) + np.stack([i, j, k], axis=1) @ direction.T
    away = places - expected
    near = (np.hypot(away[:, 0], away[:, 1]) < radius) & (np.abs(away[:, 2]) < depth)
    share = (block[k, j, i][near] - truth.background_hu) / (truth.hu - truth.background_hu)
    centroid = (places[near] * share[:, None]).sum(axis=0) / share.sum()
    assert centroid == pytest.approx(expected, abs=0.5)


def test_the_stores_affine_says_the_same(folder: Path, demo_store: Store) -> None:
    for row in demo_store.volumes().itertuples():
        image = SimpleITK.ReadImage(folder / f"{row.volume_id}.nii.gz")
        metadata = json.loads(demo_store.objects.read(f"{row.path}/zarr.json"))
        affine = np.array(metadata["attributes"]["deeplesion"]["voxel_to_lps_mm"])
        z, y, x = 3, 20, 50
        place = image.TransformIndexToPhysicalPoint((y, x, z))
        assert place == pytest.approx((affine @ [z, y, x, 1])[:3])

from __future__ import annotations

import base64
import io
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import etl.store
from etl.core.config import Config
from etl.core.errors import StoreError
from etl.store import Store, open_store
from etl.tables.registry import BUILD_TABLES
from tests.support.processes import run
from tests.support.three_volumes import built
from tests.support.tiny_release import build_serial, csv_row, slice_hu

FIRST, SECOND = "000001_01_01", "000002_01_01"
FIRST_VOLUME, SECOND_VOLUME = f"{FIRST}_003-005", f"{SECOND}_001-002"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("reader")
    rows = (
        csv_row(SECOND, 2, (1, 2)),
        csv_row(FIRST, 4, (3, 5), Train_Val_Test="1", Coarse_lesion_type="-1", Patient_age=""),
        csv_row(FIRST, 4, (3, 5), Patient_gender="X"),
    )
    native = {"spacing_mm": "native", "pyramid_levels": 2}
    return built(folder, {FIRST: [3, 4, 5], SECOND: [1, 2]}, rows, volume=native)


@pytest.fixture(scope="module")
def store(config: Config) -> Store:
    return open_store(config.store)


def test_lesions(store: Store) -> None:
    lesions = store.lesions()
    assert list(lesions.columns) == [*BUILD_TABLES["lesions"].schema.names, "split"]
    assert lesions["lesion_id"].tolist() == [0, 1]
    assert lesions["volume_id"].tolist() == [SECOND_VOLUME, FIRST_VOLUME]
    assert lesions["split"].tolist() == ["val", "train"]
    assert lesions["coarse_type"].isna().tolist() == [False, True]
    assert lesions["age_years"].isna().tolist() == [False, True]


def test_volumes_slices_and_rejects(store: Store) -> None:
    volumes, slices, rejects = store.volumes(), store.slices(), store.rejects()
    assert volumes["volume_id"].tolist() == [FIRST_VOLUME, SECOND_VOLUME]
    assert slices["slice_index"].tolist() == [3, 4, 5, 1, 2]
    assert rejects[["kind", "reason", "lesion_id"]].values.tolist() == [["row", "unknown_sex", 2]]
    for name, frame in (("volumes", volumes), ("slices", slices), ("rejects", rejects)):
        assert list(frame.columns) == BUILD_TABLES[name].schema.names


def test_array(store: Store) -> None:
    expected = np.stack([slice_hu(FIRST, index) for index in (3, 4, 5)])
    array = store.array(FIRST_VOLUME)
    assert array.dtype == np.int16
    assert array.shape == (3, 16, 16)
    assert np.array_equal(array[:], expected)
    assert np.array_equal(array[1, 4:6, 2:9], expected[1, 4:6, 2:9])
    assert store.array(FIRST_VOLUME, level=1).shape == (2, 8, 8)


def test_the_statistics_are_those_of_the_voxels(store: Store) -> None:
    volumes = store.volumes().set_index("volume_id")
    for volume_id, row in volumes.iterrows():
        voxels = np.asarray(store.array(str(volume_id)), float)
        assert (row["hu_minimum"], row["hu_maximum"]) == (voxels.min(), voxels.max())
        assert row["hu_mean"] == pytest.approx(voxels.mean(), rel=1e-12)
        assert row["hu_standard_deviation"] == pytest.approx(voxels.std(), rel=1e-12)
        assert tuple(row[f"shape_{axis}"] for axis in "zyx") == voxels.shape


def test_an_unknown_volume_names_some_that_are_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no such volume in this version") as caught:
        store.array("000009_01_01_001-002")
    for part in ("000009_01_01_001-002", "version 1", "2 volume_ids", FIRST_VOLUME, "volumes()"):
        assert part in str(caught.value)


def test_an_unknown_level_is_a_store_error(store: Store) -> None:
    for opened in (store.array, store.volume):
        with pytest.raises(StoreError, match="no such level") as caught:
            opened(FIRST_VOLUME, level=2)
        assert "volume.pyramid_levels=3" in str(caught.value)
    assert store.volume(FIRST_VOLUME, level=1).shape == (2, 8, 8)


def test_an_unknown_version_names_those_that_are_there(config: Config) -> None:
    with pytest.raises(StoreError, match="no such version") as caught:
        open_store(config.store, version=3)
    assert "published: 1" in str(caught.value)


@pytest.mark.parametrize("place", ["absent", "."])
def test_where_no_store_is_the_remedy_is_to_build_one(tmp_path: Path, place: str) -> None:
    with pytest.raises(StoreError, match="no store here") as caught:
        open_store(str(tmp_path / place))
    assert "deeplesion build" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_open_store_stays_at_its_version(config: Config, tmp_path: Path) -> None:
    made = config.model_copy(update={"store": str(tmp_path / "store")})
    build_serial(made)
    opened = open_store(made.store)
    other = {"volume": made.volume.model_copy(update={"spacing_mm": 4.0})}
    build_serial(made.model_copy(update=other))
    assert opened.version["version"] == 1
    assert opened.array(FIRST_VOLUME).shape == (3, 16, 16)
    assert open_store(made.store).array(FIRST_VOLUME).shape == (2, 2, 2)


def test_lesions_of_a_split_a_type_and_some_columns(store: Store) -> None:
    assert store.lesions(split="train")["lesion_id"].tolist() == [1]
    assert store.lesions(split="test").empty
    assert store.lesions(type="lung")["lesion_id"].tolist() == [0]
    assert store.lesions(split="train", type="lung").empty
    few = store.lesions(split="val", type="lung", columns=["split", "z_mm"])
    assert few.columns.tolist() == ["split", "z_mm"]
    assert few.values.tolist() == [["val", 2.0]]
    assert store.lesions(split="test", columns=["z_mm"]).columns.tolist() == ["z_mm"]
    # Sorted by a column that isn't asked for.
    assert store.lesions(columns=["key_slice_index"])["key_slice_index"].tolist() == [2, 4]


def test_volumes_and_slices_of_some_rows_and_columns(store: Store) -> None:
    assert store.volumes(split="train", columns=["volume_id"]).values.tolist() == [[FIRST_VOLUME]]
    few = store.slices(volume_id=SECOND_VOLUME, columns=["z_mm", "slice_index"])
    assert few.values.tolist() == [[0.0, 1], [2.0, 2]]


@pytest.mark.parametrize(
    ("ask", "parts"),
    [
        (lambda store: store.lesions(split="training"), ("split", "'training'", "train, val, test")),
        (lambda store: store.volumes(split="all"), ("split", "'all'", "train, val, test")),
        (lambda store: store.lesions(type="brain"), ("coarse type", "'brain'", "allowed: lung")),
        (lambda store: store.lesions(columns=["zmm"]), ("column of `lesions`", "'zmm'", "z_mm", "split")),
        (lambda store: store.volumes(columns=["z_mm"]), ("column of `volumes`", "'z_mm'", "shape_z")),
        (lambda store: store.slices(volume_id="x"), ("volume", "'x'", FIRST_VOLUME)),
        (lambda store: store.volume("x"), ("volume", "'x'", FIRST_VOLUME)),
    ],
)
def test_what_is_not_there_is_named_and_what_is(
    store: Store, ask: Callable[[Store], Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(StoreError, match=f"no such {parts[0]} in this version") as caught:
        ask(store)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_pickled_it_is_a_place_and_a_number(store: Store) -> None:
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert pickle.loads(data) == store
    small = open_store(store.objects.root, cache_mb=5)
    assert pickle.loads(pickle.dumps(small)).cache_mb == 5
    with pytest.raises(ValueError, match="cache_mb is -1; allowed: 0 or more"):
        open_store(store.objects.root, cache_mb=-1)


def test_only_what_the_version_names_is_read(config: Config, tmp_path: Path) -> None:
    shutil.copytree(config.store, tmp_path / "store")
    made = open_store(str(tmp_path / "store"), version=1)
    before = made.lesions()
    for table in (tmp_path / "store" / "tables").glob("*/*/"):
        (table / "part-1.parquet").write_bytes(b"left by a run that was cut")
    (tmp_path / "store" / "versions" / "000002.json").write_bytes(b"not this one")
    again = open_store(str(tmp_path / "store"), version=1)
    assert again.lesions().equals(before)
    assert len(again.rejects()) == 1


def test_a_table_that_is_gone_is_a_store_error(config: Config, tmp_path: Path) -> None:
    shutil.copytree(config.store, tmp_path / "store")
    made = open_store(str(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store" / "tables")
    with pytest.raises(StoreError, match="a table's file is missing"):
        made.lesions()


def test_the_room_loads_nothing_until_a_reader_is_asked_for() -> None:
    snippet = (
        "import sys, etl.store; heavy = {'pandas', 'xarray', 'zarr', 'pyarrow', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy; from etl.store import open_store; "
        "heavy = {'numba', 's3fs', 'pandas', 'pyarrow', 'xarray', 'zarr', 'dask'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = run([sys.executable, "-c", snippet])
    assert done.returncode == 0, done.stderr
    assert set(etl.store.__all__) == {
        "KeySlabs",
        "LesionCrops",
        "Negatives",
        "Store",
        "VolumeCrops",
        "open_store",
    }
    with pytest.raises(ImportError):
        from etl.store import close_store  # type: ignore[attr-defined]  # noqa: F401


def test_a_store_is_one_line_in_a_prompt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(store.objects.root)
    assert repr(store).startswith(f"Store('{place}', version 1: 2 volumes, 2 lesions, ")
    monkeypatch.chdir(place.parent)
    assert repr(store).startswith("Store('store', version 1: ")


def test_a_notebook_shows_counts_and_a_lesion(store: Store, config: Config, tmp_path: Path) -> None:
    shown = store._repr_html_()
    assert "<th style='text-align:left'>lesions</th><td style='text-align:left'>2</td>" in shown
    (picture,) = re.findall(r"data:image/png;base64,([^']+)'", shown)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    is_box = (image == (255, 64, 64)).all(axis=2)
    # The box of lesion 0 is 4 mm wide: (4, 5) to (12, 13) in pixels of 0.5 mm, in a picture of 96 mm.
    assert np.ptp(np.flatnonzero(is_box.any(axis=0))) == pytest.approx(4 / 96 * image.shape[1], abs=2)
    shutil.copytree(config.store, tmp_path / "damaged")
    shutil.rmtree(tmp_path / "damaged" / "volumes")
    shown = open_store(tmp_path / "damaged")._repr_html_()
    assert "img" not in shown
    assert "volumes" in shown


def test_the_box_in_a_notebook_fits_pixels_that_are_no_squares(tmp_path: Path) -> None:
    volume = {"spacing_mm": [1.0, 0.7, 1.3]}
    config = built(tmp_path, {FIRST: [3, 4, 5]}, [csv_row(FIRST, 4, (3, 5))], volume=volume)
    (picture,) = re.findall(r"data:image/png;base64,([^']+)'", open_store(config.store)._repr_html_())
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    is_box = (image == (255, 64, 64)).all(axis=2)
    for axis in (0, 1):
        at = np.flatnonzero(is_box.any(axis=axis))
        # 4 mm in a picture of 96 mm, and in its middle to half a voxel.
        assert np.ptp(at) == pytest.approx(4 / 96 * image.shape[0], abs=2)
        assert at.mean() == pytest.approx(image.shape[0] / 2, abs=3)


def test_a_lesion_is_named_by_its_id_or_its_row(store: Store) -> None:
    lesions = store.lesions()
    row, named = lesions.iloc[1], next(lesions.iloc[1:].itertuples())
    expected = store.crop(1, 8)
    for lesion in (row, named, {"lesion_id": 1}, np.int64(1)):
        assert store.crop(lesion, 8).identical(expected)
    for wrong in (lesions, "1", 1.5, None, {}):
        with pytest.raises(ValueError, match="allowed: a lesion_id, or one row"):
            store.crop(wrong)


@pytest.mark.parametrize("size_mm", [(32, 64), 0, (8, 8, -1), (8, 8, 8, 8), float("nan"), float("inf")])
def test_sizes_are_one_number_or_three(store: Store, size_mm: Any) -> None:
    with pytest.raises(ValueError, match=r"allowed: above 0, one number for all edges or three"):
        store.crop(0, size_mm)


def test_a_version_may_be_text(config: Config) -> None:
    for version in ("1", "000001", np.int64(1), None):
        assert open_store(config.store, version).version["version"] == 1
    for wrong in ("-1", "", "1.0", 1.0, True):
        with pytest.raises(ValueError, match="allowed: a number, such as 1, a tag"):
            open_store(config.store, wrong)
    with pytest.raises(StoreError, match="no such tag"):
        open_store(config.store, "latest")


def test_the_face_has_the_same_names() -> None:
    import deeplesion_store

    assert all(getattr(deeplesion_store, n) is getattr(etl.store, n) for n in etl.store.__all__)
    assert deeplesion_store.__all__ == etl.store.__all__
    with pytest.raises(AttributeError, match="it has KeySlabs"):
        deeplesion_store.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["LesionCrops", "KeySlabs"])
def test_a_dataset_of_a_path_is_told_to_open_the_store(name: str, tmp_path: Path) -> None:
    for place in ("build/store", tmp_path):
        with pytest.raises(ValueError, match=rf"as in {name}\(open_store\("):
            getattr(etl.store, name)(place)

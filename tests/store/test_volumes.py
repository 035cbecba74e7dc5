from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05.image import Image

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.layout import SEAL_AT, receipt_path
from etl.store.level_voxels import open_level
from etl.store.sealed import is_intact, seal_of
from tests.support.processes import LIMIT_SECONDS, ROOT
from tests.support.tiny_volume import BIG, DESCRIPTION, ENCODING, PATH, pyramid, voxels, write


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return open_objects(str(tmp_path / "store"))


def group(objects: LocalObjects) -> zarr.Group:
    return zarr.open_group(f"{objects.root}/{PATH}", mode="r")


def contents(objects: LocalObjects) -> dict[str, bytes]:
    return {name: objects.read(name) for name in objects.list("volumes")}


@pytest.mark.parametrize("level_count", [1, 2, 3])
def test_it_opens_with_zarr_and_is_ome_zarr(objects: LocalObjects, level_count: int) -> None:
    levels = pyramid(level_count)
    write(objects, levels)
    image = Image.from_zarr(group(objects))
    (multiscale,) = image.ome_attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        (name, "space", "millimeter") for name in "zyx"
    ]
    assert [dataset.path for dataset in multiscale.datasets] == [str(n) for n in range(level_count)]
    for number, level in enumerate(levels):
        array = open_level(objects, PATH, number)
        assert (array.dtype, array.fill_value) == (np.dtype("<i2"), -1024)
        assert array.zarr_array().metadata.to_dict()["dimension_names"] == ("z", "y", "x")
        assert np.array_equal(array[:], level)


@pytest.mark.parametrize("level_count", [1, 3])
def test_each_level_is_one_shard_object(objects: LocalObjects, level_count: int) -> None:
    receipt = write(objects, pyramid(level_count))
    names = {"zarr.json", *(f"{n}/{name}" for n in range(level_count) for name in ("zarr.json", "c/0/0/0"))}
    assert {item.path for item in receipt.objects} == names
    assert set(objects.list("volumes")) == {*(f"{PATH}/{name}" for name in names), receipt_path(PATH)}
    assert open_level(objects, PATH).chunks == (8, 8, 8)
    assert open_level(objects, PATH).zarr_array().shards == (16, 16, 24)


def test_levels_shapes_scales_and_translations(objects: LocalObjects) -> None:
    write(objects, pyramid(3))
    (multiscale,) = Image.from_zarr(group(objects)).ome_attributes.multiscales
    found = [[t.model_dump() for t in d.coordinateTransformations] for d in multiscale.datasets]
    scale, translation = ({"type": kind} for kind in ("scale", "translation"))
    assert found == [
        [scale | {"scale": [1.0, 0.75, 0.5]}],
        [scale | {"scale": [2.0, 1.5, 1.0]}, translation | {"translation": [0.5, 0.375, 0.25]}],
        [scale | {"scale": [4.0, 3.0, 2.0]}, translation | {"translation": [1.5, 1.125, 0.75]}],
    ]
    assert [open_level(objects, PATH, n).shape for n in range(3)] == [(9, 13, 17), (5, 7, 9), (3, 4, 5)]


def test_a_voxel_of_a_coarser_level_is_where_its_metadata_says(objects: LocalObjects) -> None:
    """A linear ramp in mm is the same function of position on every level, but for the repeated odd end."""
    z, y, x = np.indices((16, 16, 16))
    ramp = (16 * z + 48 * y + 80 * x - 1000).astype(np.int16)
    write(objects, pyramid(3, ramp))
    (multiscale,) = Image.from_zarr(group(objects)).ome_attributes.multiscales
    for number, dataset in enumerate(multiscale.datasets):
        transforms = [t.model_dump() for t in dataset.coordinateTransformations]
        scale = np.array(transforms[0]["scale"])
        shift = np.array(transforms[1]["translation"]) if number else np.zeros(3)
        array = np.asarray(open_level(objects, PATH, number))
        position_mm = np.moveaxis(np.indices(array.shape), 0, -1) * scale + shift
        expected = position_mm @ (np.array([16, 48, 80]) / DESCRIPTION.spacing_mm) - 1000
        assert np.array_equal(array, np.rint(expected))


def test_the_affine_and_orientation(objects: LocalObjects) -> None:
    write(objects)
    attributes = json.loads(objects.read(f"{PATH}/zarr.json"))["attributes"]
    about = attributes["deeplesion"]
    affine = np.array(about["voxel_to_lps_mm"])
    # one step along slices goes to the feet, along rows to the back, along columns to the left
    assert (affine @ [2, 0, 0, 1]).tolist() == [0, 0, -2, 1]
    assert (affine @ [0, 2, 0, 1]).tolist() == [0, 1.5, 0, 1]
    assert (affine @ [0, 0, 2, 1]).tolist() == [1, 0, 0, 1]
    axes = attributes["ome"]["multiscales"][0]["axes"]
    assert [axis["orientation"] for axis in axes] == [
        {"type": "anatomical", "value": value}
        for value in ("superior-to-inferior", "anterior-to-posterior", "right-to-left")
    ]
    assert "assumption" in about["voxel_to_lps_mm_note"]
    assert {name: about[name] for name in ("slice_first", "slice_last", "source_spacing_mm", "unit")} == {
        "slice_first": 3,
        "slice_last": 7,
        "source_spacing_mm": [2.0, 0.5, 0.5],
        "unit": "HU",
    }


def test_a_volume_of_air_still_stores_its_shards(objects: LocalObjects) -> None:
    air = np.full((9, 9, 9), -1024, np.int16)
    receipt = write(objects, pyramid(2, air))
    for level in ("0", "1"):
        assert (objects.size(f"{PATH}/{level}/c/0/0/0") or 0) > 0
    assert len(receipt.objects) == 5
    assert np.unique(np.asarray(open_level(objects, PATH))).tolist() == [-1024]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 9), (8, 8, 8), (70, 3, 2)])
def test_any_shape_is_stored_exactly(objects: LocalObjects, shape: tuple[int, int, int]) -> None:
    levels = pyramid(2, voxels(shape))
    write(objects, levels)
    assert all(np.array_equal(open_level(objects, PATH, n)[:], level) for n, level in enumerate(levels))


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "lz4"},
        {"codec": "lz4hc", "level": 9},
        {"codec": "zlib", "level": 3},
        {"shuffle": "noshuffle"},
        {"shuffle": "shuffle"},
        {"chunk": (4, 16, 1024)},
    ],
    ids=str,
)
def test_every_encoding_gives_the_voxels_back(objects: LocalObjects, changes: dict[str, Any]) -> None:
    encoding = replace(ENCODING, **changes)
    write(objects, encoding=encoding)
    array = open_level(objects, PATH)
    assert np.array_equal(array[:], voxels())
    assert array.chunks == encoding.chunk
    codec = json.loads(objects.read(f"{PATH}/0/zarr.json"))["codecs"][0]["configuration"]["codecs"][1]
    settings = codec["configuration"]
    assert (settings["cname"], settings["clevel"], settings["shuffle"], settings["typesize"]) == (
        encoding.codec,
        encoding.level,
        encoding.shuffle,
        2,
    )


@pytest.mark.slow
def test_the_same_voxels_give_the_same_bytes(objects: LocalObjects) -> None:
    rng = np.random.default_rng(0)
    levels = pyramid(2, rng.integers(-1024, 3071, BIG).astype(np.int16))
    encoding = replace(ENCODING, chunk=BIG)
    write(objects, levels, encoding)
    first = contents(objects)
    for _ in range(3):
        write(objects, levels, encoding)
        assert contents(objects) == first
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in first.items()}

    code = (
        "import json, sys, hashlib, numcodecs.blosc, numpy as np\n"
        "from dataclasses import replace; from etl.io.opening import open_objects\n"
        "from tests.support.tiny_volume import BIG, ENCODING, pyramid, write\n"
        "levels = pyramid(2, np.random.default_rng(0).integers(-1024, 3071, BIG).astype(np.int16))\n"
        "objects = open_objects(sys.argv[1])\n"
        "numcodecs.blosc.use_threads = True\n"
        "write(objects, levels, replace(ENCODING, chunk=BIG))\n"
        "names = objects.list('volumes')\n"
        "print(json.dumps({n: hashlib.sha256(objects.read(n)).hexdigest() for n in names}))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, f"{objects.root}-other"],
        cwd=ROOT,
        env=os.environ | {"BLOSC_NTHREADS": "4"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    assert json.loads(other.stdout) == digests


@pytest.mark.parametrize(("path", "level"), [("volumes/none/none", 0), (PATH, 1), (PATH, -1)])
def test_a_level_that_is_not_there_is_a_store_error(objects: LocalObjects, path: str, level: int) -> None:
    write(objects)
    with pytest.raises(StoreError, match="no such volume") as caught:
        open_level(objects, path, level)
    assert f"{path}/{level}" in str(caught.value)


def test_viewers_are_told_its_name_and_window_and_zarr_finds_nothing_strange(objects: LocalObjects) -> None:
    write(objects, pyramid(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = group(objects)
        assert sorted(name for name, _ in opened.members()) == ["0", "1"]
    ome: Any = opened.attrs["ome"]
    assert ome["multiscales"][0]["name"] == ome["omero"]["name"] == DESCRIPTION.volume_id
    (channel,) = ome["omero"]["channels"]
    assert channel["color"] == "FFFFFF"  # six digits without `#`: of anything else ome-zarr-py drops all
    assert channel["window"] == {"min": -1024, "max": 3071, "start": -175, "end": 275}


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "1/zarr.json"])
def test_its_metadata_hold_their_own_checksum(objects: LocalObjects, name: str) -> None:
    write(objects, pyramid(2))
    content = json.loads(objects.read(f"{PATH}/{name}"))
    assert is_intact(content, SEAL_AT)
    assert content["attributes"]["deeplesion"]["sha256"] == seal_of(content, SEAL_AT)


def test_a_changed_chunk_is_an_error_when_it_is_read(objects: LocalObjects) -> None:
    write(objects)
    shard = bytearray(objects.read(f"{PATH}/0/c/0/0/0"))
    shard[20] ^= 1
    objects.write(f"{PATH}/0/c/0/0/0", bytes(shard))
    array = open_level(objects, PATH)
    assert np.array_equal(array[8:], voxels()[8:])  # the other chunks are as they were
    with pytest.raises(StoreError, match="voxels are damaged"):
        array[:8, :8, :8]
    with pytest.raises(ValueError, match="checksum"):
        array.zarr_array()[:8, :8, :8]

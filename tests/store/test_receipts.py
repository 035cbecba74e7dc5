from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.hounsfield import HuStatistics, statistics
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.layout import receipt_path, split_path, volume_path
from etl.store.receipts import SplitRecord, read_receipt, read_split, write_split
from etl.store.sealed import sealed
from tests.support.tiny_volume import FINGERPRINT, PATH, VOLUME_ID, pyramid, voxels, write


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return open_objects(str(tmp_path / "store"))


def contents(objects: LocalObjects) -> dict[str, bytes]:
    return {name: objects.read(name) for name in objects.list("volumes")}


def test_a_receipt_round_trips(objects: LocalObjects) -> None:
    receipt = write(objects, pyramid(2))
    found = read_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is not None
    assert found.to_bytes() == receipt.to_bytes() == objects.read(receipt_path(PATH))
    assert found.hu == statistics(voxels())
    assert found.slice_hu == tuple(HuStatistics(10 * n, 10 * n, 10.0 * n, 0.0) for n in range(5))
    assert (found.path, found.shape, found.spacing_mm) == (PATH, (9, 13, 17), (1.0, 0.75, 0.5))
    assert found.objects == receipt.objects
    for item in found.objects:
        data = objects.read(f"{PATH}/{item.path}")
        assert (item.bytes, item.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_volume_as_one_entry(objects: LocalObjects) -> None:
    info = write(objects).info()
    stored = contents(objects)
    assert info.path == PATH
    assert info.bytes == sum(map(len, stored.values()))
    assert info.sha256 == hashlib.sha256(stored[receipt_path(PATH)]).hexdigest()


def test_a_volume_s_entry_names_the_receipt_as_it_is_stored(objects: LocalObjects) -> None:
    """Laid out in another way too; a receipt with another value has another entry."""
    receipt = write(objects)
    assert dataclasses.replace(receipt, shape=(1, 2, 3)).info() != receipt.info()
    data = json.dumps(json.loads(receipt.to_bytes())).encode()
    objects.write(receipt_path(PATH), data)
    found = read_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is not None
    assert found.info().sha256 == hashlib.sha256(data).hexdigest()
    assert pickle.loads(pickle.dumps(found)).info() == found.info()


def test_the_receipt_is_written_last(objects: LocalObjects) -> None:
    written: list[str] = []

    class Watched(LocalObjects):
        def write(self, name: str, *pieces: bytes) -> None:
            written.append(name.removeprefix(f"{PATH}/"))
            super().write(name, *pieces)

    write(Watched(objects.root), pyramid(2))
    assert written[-1] == receipt_path(PATH)
    assert set(written[:2]) == {"0/c/0/0/0", "1/c/0/0/0"}
    assert written[-2] == "zarr.json"


def change_receipt(objects: LocalObjects, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads(objects.read(receipt_path(PATH)))
    change(fields)
    objects.write(receipt_path(PATH), json.dumps(sealed(fields)).encode())


@pytest.mark.parametrize(
    "damage",
    [
        lambda o: Path(o.root, receipt_path(PATH)).unlink(),
        lambda o: Path(o.root, PATH, "0/c/0/0/0").unlink(),
        lambda o: Path(o.root, PATH, "0/zarr.json").unlink(),
        lambda o: o.write(f"{PATH}/0/c/0/0/0", o.read(f"{PATH}/0/c/0/0/0")[:-1]),
        lambda o: o.write(f"{PATH}/zarr.json", o.read(f"{PATH}/zarr.json") + b" "),
        lambda o: o.write(f"{PATH}/0/c/0/0/0", o.read(f"{PATH}/0/c/0/0/0")[: len(voxels())]),
        lambda o: o.write(f"{PATH}/0/c/0/0/0", b""),
        lambda o: o.write(receipt_path(PATH), b""),
        lambda o: o.write(receipt_path(PATH), b"\xff\xfe garbage"),
        lambda o: o.write(receipt_path(PATH), b"[]"),
        lambda o: o.write(receipt_path(PATH), b"null"),
        lambda o: o.write(receipt_path(PATH), b"{}"),
        lambda o: o.write(receipt_path(PATH), b'{"slice_hu": "x"}'),
        lambda o: change_receipt(o, lambda f: f.update(volume_id="000001_01_01_003-008")),
        lambda o: change_receipt(o, lambda f: f.update(fingerprint="f" * 16)),
        lambda o: change_receipt(o, lambda f: f.update(objects=[])),
        lambda o: change_receipt(o, lambda f: f.pop("shape")),
        lambda o: change_receipt(o, lambda f: f["slice_hu"]["mean"].pop()),
        lambda o: change_receipt(o, lambda f: f.pop("slice_masks")),
        lambda o: change_receipt(o, lambda f: f["slice_masks"].pop("body")),
        lambda o: change_receipt(o, lambda f: f["slice_masks"]["body"]["area_px"].pop()),
        lambda o: change_receipt(o, lambda f: f["slice_masks"]["location"].update(area_px=[1.5] * 5)),
        lambda o: change_receipt(o, lambda f: f["slice_masks"]["location"].update(area_px=[2**31] * 5)),
        lambda o: change_receipt(o, lambda f: f["slice_masks"]["location"].update(row_sum=[2**63] * 5)),
        lambda o: change_receipt(o, lambda f: f["slice_masks"]["location"].update(row_sum=[None] * 5)),
        lambda o: change_receipt(o, lambda f: f["hu"].pop("mean")),
        lambda o: change_receipt(o, lambda f: f["objects"][0].update(extra=1)),
        lambda o: change_receipt(o, lambda f: f["objects"][0].update(path="../../../../x")),
        lambda o: change_receipt(o, lambda f: f["objects"][0].update(path="a\0b")),
    ],
    ids=[
        "no receipt",
        "no shard",
        "no metadata",
        "shard cut short",
        "metadata longer",
        "shard cut to its beginning",
        "empty shard",
        "empty receipt",
        "garbage",
        "a list",
        "null",
        "no fields",
        "text for columns",
        "another volume's",
        "another fingerprint's",
        "no objects",
        "no shape",
        "columns of unequal length",
        "no masks, as before they were measured",
        "no body",
        "masks of fewer slices",
        "half a pixel",
        "more pixels than a slice can have",
        "a sum of too many bits",
        "no sum",
        "no mean",
        "unknown field of an object",
        "an object outside the store",
        "an object of no possible name",
    ],
)
def test_a_volume_that_is_not_whole_has_no_receipt(
    objects: LocalObjects, damage: Callable[[LocalObjects], object]
) -> None:
    write(objects)
    assert read_receipt(objects, VOLUME_ID, FINGERPRINT) is not None
    damage(objects)
    assert read_receipt(objects, VOLUME_ID, FINGERPRINT) is None
    write(objects)
    assert read_receipt(objects, VOLUME_ID, FINGERPRINT) is not None


def test_existence_alone_never_counts(objects: LocalObjects) -> None:
    """All objects under the path of another fingerprint: with no receipt, another's, its own."""
    receipt = write(objects)
    other = volume_path(VOLUME_ID, "f" * 16)
    for item in receipt.objects:
        objects.write(f"{other}/{item.path}", objects.read(f"{PATH}/{item.path}"))
    assert read_receipt(objects, VOLUME_ID, "f" * 16) is None
    objects.write(receipt_path(other), receipt.to_bytes())
    assert read_receipt(objects, VOLUME_ID, "f" * 16) is None
    objects.write(receipt_path(other), dataclasses.replace(receipt, fingerprint="f" * 16).to_bytes())
    assert read_receipt(objects, VOLUME_ID, "f" * 16) is not None


def test_what_lies_beside_a_whole_volume_does_not_count(objects: LocalObjects) -> None:
    write(objects)
    objects.write(f"{PATH}/._zarr.json", b"x")
    objects.write(f"{PATH}/1/c/0/0/0", b"of a cut attempt with more levels")
    assert read_receipt(objects, VOLUME_ID, FINGERPRINT) is not None


@given(st.data())
def test_a_receipt_cut_or_changed_anywhere_raises_nothing(objects: LocalObjects, data: st.DataObject) -> None:
    name = receipt_path(PATH)
    whole = write(objects).to_bytes()
    place = data.draw(st.integers(0, len(whole) - 2))
    objects.write(name, whole[:place])
    assert read_receipt(objects, VOLUME_ID, FINGERPRINT) is None
    objects.write(name, whole[:place] + data.draw(st.binary(min_size=1, max_size=3)) + whole[place + 1 :])
    found = read_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is None or (found.volume_id, found.fingerprint) == (VOLUME_ID, FINGERPRINT)


def test_the_record_of_a_split_run_round_trips(objects: LocalObjects) -> None:
    record = SplitRecord(
        (("000001_01_01_003-004", "a" * 16), ("000001_01_01_006-007", "b" * 16)),
        ((5, "slice_not_png", "no PNG signature: µ"),),
    )
    assert read_split(objects, VOLUME_ID, FINGERPRINT) is None
    write_split(objects, VOLUME_ID, FINGERPRINT, record)
    assert read_split(objects, VOLUME_ID, FINGERPRINT) == record
    for garbage in (b"", b"[]", b"{}", b'{"parts": 1}', b'{"parts": [[1]], "unreadable": []}', b"\xff"):
        objects.write(split_path(VOLUME_ID, FINGERPRINT), garbage)
        assert read_split(objects, VOLUME_ID, FINGERPRINT) is None

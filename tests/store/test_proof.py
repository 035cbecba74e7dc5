"""A receipt proves a volume as long as it is the last that was written; else the bytes are read again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from etl.io.places import Objects
from etl.store.layout import receipt_path
from etl.store.receipts import find_receipt, prove, read_receipt
from tests.support.tiny_volume import FINGERPRINT, PATH, VOLUME_ID, write
from tests.support.written_times import move_written

RECEIPT, SHARD = receipt_path(PATH), f"{PATH}/0/c/0/0/0"
OBJECTS = 3


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, objects: Objects) -> Counter[str]:
    """Calls of the store by name, since the test cleared them."""
    counted: Counter[str] = Counter()

    def watched(name: str) -> Any:
        call = getattr(type(objects), name)

        def around(self: Objects, *args: Any) -> Any:
            counted[name] += 1
            return call(self, *args)

        return around

    for name in ("read", "read_range", "listed", "write"):
        monkeypatch.setattr(type(objects), name, watched(name))
    return counted


@pytest.fixture(autouse=True)
def whole(objects: Objects, calls: Counter[str]) -> None:
    write(objects)
    calls.clear()


def look(objects: Objects) -> bool:
    return read_receipt(objects, VOLUME_ID, FINGERPRINT) is not None


def test_a_receipt_that_is_the_last_proves_the_volume_unread(objects: Objects, calls: Counter[str]) -> None:
    assert look(objects)
    move_written(objects, SHARD, -3600)
    assert look(objects)
    assert calls == {"read": 2, "listed": 2}


@pytest.mark.parametrize("name", [SHARD, f"{PATH}/0/zarr.json", f"{PATH}/zarr.json"])
def test_damage_of_the_same_size_is_found(objects: Objects, name: str) -> None:
    data = bytearray(objects.read(name))
    data[len(data) // 2] ^= 1
    objects.write(name, bytes(data))
    move_written(objects, name, 2)
    before = objects.read(RECEIPT)
    assert not look(objects)
    assert not look(objects)
    assert objects.read(RECEIPT) == before
    write(objects)
    move_written(objects, RECEIPT, 4)
    assert look(objects)


@pytest.mark.slow
@pytest.mark.parametrize("piece_bytes", [64 << 20, 64])
def test_what_is_right_is_read_once(objects: Objects, calls: Counter[str], piece_bytes: int) -> None:
    """Receipts are older than their objects after a copy in any order, or if the store's clock went back."""
    move_written(objects, RECEIPT, -60)
    sizes, before = objects.sizes(PATH), objects.read(RECEIPT)
    calls.clear()
    found = find_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is not None
    assert prove(objects, found, piece_bytes)
    pieces = sum(-(-size // piece_bytes) for size in sizes.values())
    assert pieces == OBJECTS or piece_bytes == 64
    assert calls == {"read": 2, "listed": 1, "read_range": pieces, "write": 1}
    assert objects.read(RECEIPT) == before
    calls.clear()
    assert look(objects)
    assert calls == {"read": 1, "listed": 1}


def test_looking_alone_writes_nothing(objects: Objects, calls: Counter[str]) -> None:
    move_written(objects, RECEIPT, -60)
    found = find_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is not None
    assert not found.is_last
    assert calls == {"read": 1, "listed": 1}


def test_a_volume_that_is_deleted_meanwhile_is_not_there(objects: Objects) -> None:
    move_written(objects, RECEIPT, -60)
    found = find_receipt(objects, VOLUME_ID, FINGERPRINT)
    assert found is not None
    objects.remove(SHARD)
    assert not prove(objects, found)

"""Whatever the bytes are, a reader gives entries and rejects, or one of the project's errors."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.annotations.containers import unpack
from etl.annotations.entries import FaultyEntry, MaskEntry
from etl.annotations.sources import KINDS
from etl.annotations.uls23_masks import read_uls23_mask, read_uls23_splits
from etl.core.errors import EtlError, SourceError
from tests.annotations import documents
from tests.support.zips import zipped

READERS = {**{name: kind.read for name, kind in KINDS.items()}, "splits": read_uls23_splits}
MADE = {name: (kind, make()) for name, (kind, make) in documents.DOCUMENTS.items()}
MADE["splits"] = ("splits", documents.splits())
MASK = documents.mask()
MASK_NAME = "000001_01_01_109_lesion_01.nii.gz"


def read(kind: str, data: bytes) -> None:
    with contextlib.suppress(EtlError):
        READERS[kind](data, "a file")


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes replaced, cut out or put in at a few places."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(changed)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)


def replace_one(value: Any, draw: st.DrawFn) -> Any:
    """Return a document with one value in it replaced by any other."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: replace_one(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], replace_one(value[at], draw), *value[at + 1 :]]
    return draw(scalars)


@pytest.mark.parametrize("name", MADE)
def test_the_documents_are_sound(name: str) -> None:
    kind, data = MADE[name]
    reading = READERS[kind](data, "a file")
    assert reading.entries
    assert not reading.rejects


@pytest.mark.parametrize("kind", READERS)
def test_a_document_of_another_kind_is_one_error_with_a_remedy(kind: str) -> None:
    data = pickle.dumps(3) if kind in ("harvester_boxes", "manual_3d_boxes") else b"3"
    with pytest.raises(SourceError, match="a file") as caught:
        READERS[kind](data, "a file")
    assert caught.value.remedy


@pytest.mark.parametrize("kind", READERS)
@given(data=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(kind: str, data: bytes) -> None:
    read(kind, data)


@pytest.mark.parametrize("name", MADE)
@given(data=st.data())
@settings(deadline=None)
def test_damaged_documents(name: str, data: st.DataObject) -> None:
    kind, made = MADE[name]
    read(kind, data.draw(mutated(made)))


@pytest.mark.parametrize("name", ["lesanet", "mulan", "dlt", "coco", "splits"])
@given(data=st.data())
@settings(deadline=None)
def test_documents_with_other_values(name: str, data: st.DataObject) -> None:
    kind, made = MADE[name]

    @st.composite
    def document(draw: st.DrawFn) -> Any:
        return replace_one(json.loads(made), draw)

    read(kind, json.dumps(data.draw(document())).encode())


@given(data=st.one_of(st.binary(max_size=400), mutated(MASK)))
@settings(deadline=None)
def test_damaged_masks(data: bytes) -> None:
    found = read_uls23_mask(data, MASK_NAME)
    assert isinstance(found, (MaskEntry, FaultyEntry))


@given(name=st.text(max_size=60))
@settings(deadline=None)
def test_masks_of_any_name(name: str) -> None:
    assert isinstance(read_uls23_mask(MASK, name), (MaskEntry, FaultyEntry))


PACKED = {
    "masks.zip": zipped({MASK_NAME: MASK, "a/README": b"text"}),
    "masks.tar": documents.tarred({f"{MASK_NAME}.zip": zipped({MASK_NAME: MASK})}),
    f"{MASK_NAME}.zip": zipped({MASK_NAME: MASK}),
}


@pytest.mark.parametrize("name", PACKED)
@given(data=st.data())
@settings(deadline=None)
def test_damaged_archives(name: str, data: st.DataObject) -> None:
    changed = data.draw(st.one_of(st.binary(max_size=300), mutated(PACKED[name])))
    try:
        members = list(unpack(name, io.BytesIO(changed), len(changed)))
    except EtlError:
        return
    assert all(isinstance(member.data, bytes) for member in members)

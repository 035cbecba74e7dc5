"""Whatever bytes a store holds, verification finds what changed and raises nothing."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.io.places import object_info
from etl.store.layout import SEAL_AT, to_json
from etl.store.sealed import sealed
from tests.support.damage import (
    VERSION,
    VOLUME,
    edit_json,
    edit_version,
    problems_of,
    receipt_file,
    reseal,
    volume_folder,
)

# Each example leaves the store as it found it.


@pytest.mark.slow
@given(data=st.data())
def test_any_change_of_bytes_is_found_where_it_is(store: Path, data: st.DataObject) -> None:
    files = sorted(p for folder in ("volumes", "tables") for p in (store / folder).rglob("*") if p.is_file())
    path = data.draw(st.sampled_from(files).map(lambda p: p.relative_to(store).as_posix()))
    before = (store / path).read_bytes()
    start = data.draw(st.integers(0, len(before) - 1))
    stop = data.draw(st.integers(start, len(before)))
    after = before[:start] + data.draw(st.binary(max_size=20)) + before[stop:]
    if after == before:
        return
    (store / path).write_bytes(after)
    try:
        assert path in {problem.where for problem in problems_of(store)}
    finally:
        (store / path).write_bytes(before)


ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, -1, 7, 1.5, 10**30, "", "other", [], {}, [1]])


@pytest.mark.slow
@given(data=st.data())
def test_whatever_the_json_says_nothing_is_raised(store: Path, data: st.DataObject) -> None:
    paths = [VERSION, "store.json"] + [
        path.relative_to(store).as_posix()
        for path in (
            receipt_file(store),
            *(volume_folder(store) / name for name in ("zarr.json", "0/zarr.json")),
        )
    ]
    path = data.draw(st.sampled_from(paths))
    receipt = receipt_file(store)
    before = {place: place.read_bytes() for place in (store / path, receipt, store / VERSION)}
    content = json.loads(before[store / path])
    node: Any = content
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            node[key] = data.draw(ODD)
            break
        node = node[key]
    try:
        is_sealed = path in (VERSION, "store.json")
        (store / path).write_bytes(to_json(sealed(content) if is_sealed else content))
        if path.startswith("volumes/"):
            follow_digests(store, store / path)
        for problem in problems_of(store):
            assert "\n" not in str(problem)
    finally:
        for place, content in before.items():
            place.write_bytes(content)


def follow_digests(store: Path, changed: Path) -> None:
    """Let receipt and version name a changed object as it is, so that what it says is looked at."""
    folder = volume_folder(store)
    if changed != receipt_file(store):
        # The place of the checksum may be no object any more.
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            reseal(changed, SEAL_AT)
        info = object_info(changed.relative_to(folder).as_posix(), changed.read_bytes())
        edit_json(
            receipt_file(store),
            lambda receipt: next(o for o in receipt["objects"] if o["path"] == info.path).update(
                asdict(info)
            ),
        )
    reseal(receipt_file(store))
    sha256 = object_info("", receipt_file(store).read_bytes()).sha256
    edit_version(
        store,
        lambda version: next(e for e in version["volumes"] if e["volume_id"] == VOLUME).update(sha256=sha256),
    )

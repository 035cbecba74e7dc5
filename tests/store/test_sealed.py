"""A document with a checksum of its own: whatever changes in it is found by whoever reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.store.sealed import is_intact, read_sealed, seal_of, sealed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENT = st.dictionaries(st.text().filter(lambda key: key != "sha256"), JSON, max_size=4)


def test_the_checksum_is_that_of_compact_json_with_sorted_keys() -> None:
    # printf '{"a":1.5,"ä":[null,true]}' | sha256sum
    assert seal_of({"ä": [None, True], "a": 1.5}) == (
        "8e4da927a3e4d01edfa4e45ad74abc5d465b5bba650673b94373a15e9c8b2455"
    )


@given(CONTENT)
def test_a_sealed_document_is_intact_and_read_as_it_was(content: dict[str, Any]) -> None:
    document = sealed(content)
    assert list(document) == [*content, "sha256"]
    assert read_sealed(json.dumps(document, indent=1).encode("utf-8", "surrogatepass")) == document
    assert sealed(document) == document


@given(CONTENT, st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(content: dict[str, Any], data: st.DataObject) -> None:
    document = sealed(content)
    changed = bytearray(json.dumps(document, indent=1).encode("utf-8", "surrogatepass"))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_sealed(bytes(changed))
    except ValueError:
        return
    assert found == document


@pytest.mark.parametrize("at", [(), ("a",), ("a", "b")])
def test_the_seal_may_lie_within(at: tuple[str, ...]) -> None:
    document = sealed({"x": 1, "a": {"y": 2, "b": {"z": 3}}}, at)
    holder: Any = document
    for key in at:
        holder = holder[key]
    assert holder["sha256"] == seal_of(document, at)
    assert is_intact(document, at)
    assert not is_intact(document | {"x": 2}, at)
    assert not is_intact({"x": 1}, at)
    assert not is_intact({"x": 1, "a": 3}, at)


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"a":' * 100_000, b"", b"null", b"[]", b"{}", b"1" * 10_000, bytes(range(256))],
    ids=["lists", "objects", "empty", "null", "list", "no seal", "digits", "bytes"],
)
def test_what_is_no_sealed_document_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_sealed(data)


def test_a_document_that_is_nested_too_deeply_is_not_intact() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert not is_intact({"sha256": "0", "a": deep})

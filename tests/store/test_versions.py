from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from etl.core.errors import RunError, StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.layout import to_json
from etl.store.sealed import sealed
from etl.store.versions import Version, publish_version, read_version, version_numbers


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return open_objects(str(tmp_path))


def body(run_id: str) -> Version:
    """Content of the smallest version that can be read."""
    empty: dict[str, dict[str, str]] = {name: {} for name in ("annotations", "config", "code")}
    tables: dict[str, list[str]] = {name: [] for name in ("volumes", "lesions", "slices")}
    counts = dict.fromkeys(tables, 0)
    lists: dict[str, list[str]] = {"archives": [], "volumes": []}
    return (
        {"run_id": run_id, "created_at": "x", "counts": counts, "tables": tables, "schemas": tables}
        | empty
        | lists
    )


def file_sha256(objects: LocalObjects, number: int) -> str:
    return hashlib.sha256(objects.read(f"versions/{number:06d}.json")).hexdigest()


def publish(objects: LocalObjects, run_id: str) -> Version:
    return publish_version(objects, run_id, lambda parent: body(run_id))


def test_an_empty_store_has_no_version(objects: LocalObjects) -> None:
    assert version_numbers(objects) == []
    assert read_version(objects) is None
    with pytest.raises(StoreError, match="no such version") as caught:
        read_version(objects, 1)
    assert "published: none" in str(caught.value)


def test_versions_count_up_and_name_their_parents(objects: LocalObjects) -> None:
    for number in (1, 2, 3):
        assert publish(objects, f"run-{number}") == {
            "contract_version": 2,
            "version": number,
            "parent": number - 1 or None,
            "parent_sha256": file_sha256(objects, number - 1) if number > 1 else None,
            **body(f"run-{number}"),
            "sha256": json.loads(objects.read(f"versions/{number:06d}.json"))["sha256"],
        }
    assert version_numbers(objects) == [1, 2, 3]
    current, first = read_version(objects), read_version(objects, 1)
    assert (current or {})["run_id"] == "run-3"
    assert (first or {})["run_id"] == "run-1"


def test_numbers_go_on_after_a_gap_and_past_six_digits(objects: LocalObjects) -> None:
    publish(objects, "a")
    content = objects.read("versions/000001.json")
    objects.write("versions/999999.json", to_json(sealed(json.loads(content) | {"version": 999_999})))
    assert publish(objects, "b")["version"] == 1_000_000
    assert publish(objects, "c")["parent"] == 1_000_000
    assert version_numbers(objects) == [1, 999_999, 1_000_000, 1_000_001]


def test_other_files_beside_the_versions_are_no_versions(objects: LocalObjects) -> None:
    publish(objects, "a")
    for name in (
        "000002.json.tmp",
        "2.json",
        "latest.json",
        "000003.JSON",
        "old/000004.json",
        "000005.json\n",
    ):
        objects.write(f"versions/{name}", b"{}")
    assert version_numbers(objects) == [1]


def test_the_check_sees_the_parent_and_may_refuse(objects: LocalObjects) -> None:
    publish(objects, "a")
    seen: list[Version | None] = []

    def refuse(parent: Version | None) -> None:
        seen.append(parent)
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        publish_version(objects, "b", refuse)
    assert [(parent or {})["run_id"] for parent in seen] == ["a"]
    assert version_numbers(objects) == [1]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xff", b'"contract_version"'])
def test_a_damaged_version_is_named(objects: LocalObjects, content: bytes) -> None:
    publish(objects, "a")
    objects.write("versions/000002.json", content)
    with pytest.raises(StoreError, match="damaged") as caught:
        read_version(objects)
    assert "versions/000002.json" in str(caught.value)
    assert (read_version(objects, 1) or {})["run_id"] == "a"


def test_another_contract_is_refused_with_what_is_understood(objects: LocalObjects) -> None:
    objects.write("versions/000001.json", json.dumps({"contract_version": 3}).encode())
    with pytest.raises(StoreError, match="another contract") as caught:
        read_version(objects)
    assert "contract version 1 or 2" in str(caught.value)


def test_an_unknown_number_names_the_known(objects: LocalObjects) -> None:
    for run in "abc":
        publish(objects, run)
    with pytest.raises(StoreError, match="no such version") as caught:
        read_version(objects, 7)
    assert "published: 1, 2, 3" in str(caught.value)


@pytest.mark.parametrize("name", ["000003.json", "000009.json"])
def test_a_copied_version_file_ends_publishing_with_an_error(objects: LocalObjects, name: str) -> None:
    for run in "ab":
        publish(objects, run)
    objects.write(f"versions/{name}", objects.read("versions/000002.json"))
    with pytest.raises(StoreError, match="the version file is damaged") as caught:
        publish(objects, "c")
    assert f"version: 2 in a file that is named {name}" in str(caught.value)


def test_publishing_gives_up_when_the_next_number_is_always_taken(tmp_path: Path) -> None:
    class Overtaken(LocalObjects):
        def create(self, name: str, data: bytes) -> bool:
            if name.startswith("versions/"):
                publish(LocalObjects(self.root), f"other of {name}")
            return super().create(name, data)

    objects = Overtaken(str(tmp_path))
    with pytest.raises(RunError) as caught:
        publish_version(objects, "mine", lambda parent: body("mine"), attempts=3, wait_s=0)
    assert "version 2 is current, and 3 exists after 3 attempts" in str(caught.value)
    assert version_numbers(objects) == [1, 2, 3]

"""One check finds every fault of a version file, and everything that reads one says the same error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.store import open_store
from etl.store.history import rollback
from etl.store.layout import version_path
from etl.store.prune import prune
from etl.store.sealed import sealed
from etl.store.version_file import faults
from etl.store.versions import read_version
from etl.verify.verify import verify
from tests.support.three_volumes import PRESENT, ROWS, files_of
from tests.support.tiny_release import build_serial, tiny_config, write_release

STORE_V1 = Path(__file__).parents[1] / "contract" / "store_v1"
CONTENT: dict[str, Any] = json.loads((STORE_V1 / "versions/000001.json").read_bytes())
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another number": (lambda v: v.update(version=3), "version: 3 in a file that is named 000001.json"),
    "no number": (lambda v: v.update(version="1"), "version: "),
    "later parent": (lambda v: v.update(parent=1), "parent: 1, allowed: less than 1"),
    "no volumes": (lambda v: v.update(volumes=[]), "counts.volumes: 3, but 0"),
    "other counts": (lambda v: v["counts"].update(lesions=9), "counts.lesions: 9, but 3"),
    "an entry that is none": (lambda v: v["volumes"].append(3), "volumes.3: "),
    "a volume twice": (lambda v: v["volumes"].__setitem__(1, v["volumes"][0]), "is named more than once"),
    "a path out of the store": (
        lambda v: v["volumes"][0].update(path="volumes/../../etc"),
        "volumes.0.path: ",
    ),
    "another volume's path": (
        lambda v: v["volumes"][0].update(path=v["volumes"][1]["path"]),
        "path: volumes/000001_01_01_006-007/",
    ),
    "an absolute table": (lambda v: v["tables"]["slices"][0].update(path="/etc/x"), "tables.slices.0.path: "),
    "a digest cut": (lambda v: v["tables"]["slices"][0].update(sha256="ab"), "tables.slices.0.sha256: "),
    "a schema less": (lambda v: v["schemas"].pop("slices"), "tables: "),
}


def test_a_version_of_the_first_contract_has_no_fault() -> None:
    assert list(faults(CONTENT, 1)) == []


@pytest.mark.parametrize("name", CHANGES)
def test_each_fault_is_named(name: str) -> None:
    content = json.loads(json.dumps(CONTENT))
    CHANGES[name][0](content)
    found = list(faults(content, 1))
    assert any(CHANGES[name][1] in fault for fault in found), found


REQUIRED = [key for key in CONTENT if key != "rollback_of"]


@given(
    st.sampled_from(REQUIRED), st.none() | st.booleans() | st.integers(-9, -1) | st.just("x"), st.booleans()
)
@example("contract_version", True, False)
def test_a_key_that_is_lost_or_of_another_type_is_a_fault(key: str, value: Any, is_lost: bool) -> None:
    content = {name: old for name, old in CONTENT.items() if not (is_lost and name == key)}
    if not is_lost and (key, value) not in {("parent", None), ("run_id", "x"), ("created_at", "x")}:
        content[key] = value
    assert bool(list(faults(content, 1))) is (repr(content) != repr(CONTENT))


@pytest.mark.parametrize("name", ["another number", "no volumes", "an entry that is none", "a schema less"])
def test_every_reader_gives_the_same_error_and_writes_nothing(tmp_path: Path, name: str) -> None:
    write_release(tmp_path, PRESENT, ROWS)
    config = tiny_config(tmp_path, tmp_path / "store")
    content = json.loads(json.dumps(build_serial(config).published.version))
    CHANGES[name][0](content)
    path = Path(config.store, version_path(1))
    path.write_text(json.dumps(sealed(content)))
    objects, before = open_objects(config.store), files_of(config.store)
    before = {name: data for name, data in before.items() if "runs/" not in name}
    for read in (
        lambda: read_version(objects),
        lambda: open_store(config.store),
        lambda: rollback(objects, 1, "back"),
        lambda: prune(objects, 1, 0),
        lambda: build_serial(config),
    ):
        with pytest.raises(StoreError, match="the version file is damaged") as caught:
            read()
        assert str(path) in caught.value.where
        assert {name: data for name, data in files_of(config.store).items() if "runs/" not in name} == before
    (problem,) = verify(objects, 1).problems
    assert problem.what == "the version file is damaged"

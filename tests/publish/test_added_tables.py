"""Tables that a job adds to a published version, through the life of a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config import Config
from etl.core.errors import EtlError
from etl.export.export import export
from etl.export.protocol import Selection
from etl.io.opening import open_objects
from etl.publish.add_tables import NewTable, add_tables
from etl.publish.carry import Units, carry_table, written
from etl.store import Store, open_store
from etl.store.history import rollback
from etl.store.parquet import encode_table, read_table
from etl.store.prune import prune
from etl.store.versions import Version
from etl.tables.table import INT, TEXT, Partition, Table, Unit, field
from etl.verify.verify import verify
from tests.support.s3_server import Bucket
from tests.support.three_volumes import PRESENT, ROWS, SECOND, built, files_of
from tests.support.tiny_release import build_serial, tiny_config, write_release
from tests.support.toy_derivations import PLANES

MEANS = replace(PLANES, name="plane_means", made_by="jobs/toy.py")


def add_means(store: Store, volume_ids: Iterable[str]) -> tuple[Version, bool]:
    """Compute the table for some volumes of a version, and publish it."""
    covered = sorted(volume_ids)
    means = [(name, z, float(plane.mean())) for name in covered for z, plane in enumerate(store.volume(name))]
    columns = zip(("volume_id", "plane", "mean_hu"), zip(*means, strict=True), strict=True)
    return add_tables(store.objects, store.version, [NewTable(MEANS, MEANS.rows(dict(columns)), covered)])


@pytest.mark.slow
def test_a_table_of_a_job_through_the_life_of_a_store(tmp_path: Path) -> None:
    config = built(tmp_path)
    volumes = open_store(config.store).volumes()["volume_id"]
    version, is_new = add_means(open_store(config.store), volumes)
    assert (version["version"], is_new) == (2, True)
    assert version["added_tables"]["plane_means"]["coverage"] == {"covered": 3, "of": 3}
    assert add_means(open_store(config.store), volumes) == (version, False)

    assert build_serial(config).published.is_new is False  # the nightly build
    write_release(tmp_path, PRESENT | {SECOND: [2]}, ROWS)
    changed = build_serial(tiny_config(tmp_path, tmp_path / "store")).published.version
    assert (changed["version"], changed["parent"]) == (3, 2)
    assert changed["added_tables"]["plane_means"]["coverage"] == {"covered": 2, "of": 3}
    now = open_store(config.store)
    kept = now.table("plane_means", ["volume_id", "mean_hu"])
    assert set(kept["volume_id"]) == now.covered("plane_means") == set(volumes[:2])
    whole = open_store(config.store, version=2).table("plane_means", ["volume_id", "mean_hu"])
    assert kept.equals(whole[whole["volume_id"].isin(volumes[:2])].reset_index(drop=True))

    missing = set(now.volumes()["volume_id"]) - now.covered("plane_means")
    version, _ = add_means(now, missing)
    assert version["added_tables"]["plane_means"]["coverage"] == {"covered": 3, "of": 3}
    assert version["tables"]["plane_means"][0] == changed["tables"]["plane_means"][0]
    assert problems(config, 4) == []
    (_, damaged) = (tmp_path / "store" / entry["path"] for entry in version["tables"]["plane_means"])
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9] + b"x" + content[-8:])
    assert problems(config, 4) == [f"{damaged.relative_to(tmp_path / 'store')}: SHA-256 is wrong"]
    damaged.write_bytes(content)

    export(open_store(config.store), tmp_path / "out", "croissant", Selection())
    (described,) = [
        records
        for records in json.loads((tmp_path / "out" / "croissant.json").read_bytes())["recordSet"]
        if records["@id"] == "plane_means"
    ]
    assert [f["description"] for f in described["field"]] == [
        "volume",
        "index along z",
        "mean of the plane (HU)",
    ]
    back, _ = rollback(open_objects(config.store), 2, "back")
    assert open_store(config.store).table("plane_means", ["volume_id", "mean_hu"]).equals(whole)
    prune(open_objects(config.store), keep=1, grace_s=0)
    assert problems(config, back["version"]) == []
    assert open_store(config.store).table("plane_means", ["volume_id", "mean_hu"]).equals(whole)


def problems(config: Config, number: int) -> list[str]:
    found = verify(open_objects(config.store), number).problems
    return [f"{problem.where}: {problem.what}" for problem in found]


PAIRS = Table(
    "pairs",
    "pairs of lesions",
    pa.schema([field("first", INT, "lesion"), field("second", INT, "lesion", nullable=True)]),
    key=("first", "second"),
    unit="lesion",
    unit_columns=("first", "second"),
    partition=Partition("split", ("train", "val"), "of the first"),
    made_by="jobs/toy.py",
)
NAMES = Table(
    "names", "of the store as a whole", pa.schema([field("name", TEXT, "any")]), made_by="jobs/toy.py"
)


def new_pairs(rows: list[tuple[int, int | None]], covered: Iterable[int]) -> NewTable:
    first, second = zip(*rows, strict=True) if rows else ((), ())
    columns = {"first": first, "second": second, "split": ["val"] * len(first)}
    return NewTable(PAIRS, PAIRS.rows(columns), set(covered))


def pairs(store: Store) -> list[tuple[int, int | None]]:
    rows = store.table("pairs").astype(object).where(store.table("pairs").notna(), None)
    return sorted(zip(rows["first"], rows["second"], strict=True), key=str)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, config: Config) -> Config:
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        return config.model_copy(update={"store": f"{bucket.url}/store"})
    return config


@pytest.mark.slow
def test_a_row_of_two_lesions_goes_when_one_of_them_changes(place: Config, release: Path) -> None:
    """Lesion 1 gets another box: its pair goes, and lesion 0 is not covered any more, for it lost a row."""
    build_serial(place)
    store = open_store(place.store)
    names = NewTable(NAMES, NAMES.rows({"name": ["a", "b"]}))
    version, _ = add_tables(store.objects, store.version, [new_pairs([(0, 1), (2, None)], range(3)), names])
    added = version["added_tables"]
    assert (added["pairs"]["coverage"], added["names"]["coverage"]) == ({"covered": 3, "of": 3}, None)
    moved = ROWS[1] | {"Bounding_boxes": "5, 5, 12, 13"}
    write_release(release, PRESENT, (ROWS[0], moved, ROWS[2]))
    now = build_serial(place).published.version
    assert now["added_tables"]["pairs"]["coverage"] == {"covered": 1, "of": 3}
    assert now["tables"]["names"] == version["tables"]["names"]
    store = open_store(place.store)
    assert (pairs(store), store.covered("pairs")) == ([(2, None)], {2})
    assert store.table("names")["name"].tolist() == ["a", "b"]
    assert problems(place, 3) == []
    again, _ = add_tables(store.objects, store.version, [new_pairs([(1, 0)], {0, 1})])
    assert again["added_tables"]["pairs"]["coverage"] == {"covered": 3, "of": 3}
    assert pairs(open_store(place.store)) == [(1, 0), (2, None)]
    assert problems(place, 4) == []


@pytest.mark.slow
def test_a_lost_file_is_left_out_of_the_next_version(config: Config, release: Path) -> None:
    build_serial(config)
    first, second = sorted(open_store(config.store).volumes()["volume_id"])[:2]
    add_means(open_store(config.store), [first])
    version, _ = add_means(open_store(config.store), [second])
    lost, kept = version["tables"]["plane_means"]
    Path(config.store, lost["path"]).unlink()
    assert build_serial(config).published.is_new is False
    write_release(release, PRESENT | {SECOND: [2]}, ROWS)
    now = build_serial(config).published.version
    assert now["tables"]["plane_means"] == [kept]
    assert now["added_tables"]["plane_means"]["coverage"] == {"covered": 1, "of": 3}
    assert problems(config, 4) == []


@pytest.mark.slow
def test_a_build_that_publishes_meanwhile_loses_nothing(config: Config, release: Path) -> None:
    build_serial(config)
    before = open_store(config.store)
    write_release(release, PRESENT | {SECOND: [2]}, ROWS)
    build_serial(config)
    version, _ = add_means(before, before.volumes()["volume_id"])
    assert (version["version"], version["parent"]) == (3, 2)
    assert version["added_tables"]["plane_means"]["coverage"] == {"covered": 2, "of": 3}
    assert problems(config, 3) == []
    with ThreadPoolExecutor(2) as pool:
        store = open_store(config.store)
        missing = set(store.volumes()["volume_id"]) - store.covered("plane_means")
        done = (
            pool.submit(add_means, store, missing),
            pool.submit(add_tables, store.objects, store.version, [new_pairs([], range(3))]),
        )
        assert sorted(job.result()[0]["version"] for job in done) == [4, 5]
    last = open_store(config.store).version["added_tables"]
    assert {name: last[name]["coverage"]["covered"] for name in last} == {"plane_means": 3, "pairs": 3}
    assert problems(config, 5) == []


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (new_pairs([(0, 9)], {0, 9}), "covers a lesion that the version lacks"),
        (new_pairs([(0, 1)], {0}), "has rows of a lesion that is not covered"),
        (new_pairs([(0, 1), (0, 1)], {0, 1}), "has a key more than once"),
        (NewTable(NAMES, pa.table({"name": [1]})), "has rows of another schema"),
        (NewTable(replace(NAMES, name="lesions"), NAMES.rows({"name": []})), "is made by every build"),
    ],
)
def test_rows_that_contradict_the_declaration_are_refused(
    config: Config, new: NewTable, message: str
) -> None:
    build_serial(config)
    store, before = open_store(config.store), files_of(config.store)
    with pytest.raises(EtlError, match=message):
        add_tables(store.objects, store.version, [new])
    assert files_of(config.store) == before


UNITS = st.integers(0, 5)


@pytest.mark.slow
@given(
    st.lists(st.tuples(UNITS, st.none() | UNITS), unique=True, max_size=12),
    st.sets(UNITS),
    st.sets(UNITS),
    st.integers(1, 4),
)
def test_the_rows_that_stay_are_those_of_unchanged_units(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int | None]],
    changed: set[int],
    replaced: set[int],
    parts: int,
) -> None:
    """Held against sets, for any rows in any files."""
    objects = open_objects(str(tmp_path_factory.mktemp("carry")))
    entries = []
    for part in range(parts):
        new = new_pairs(rows[part::parts], [unit for unit in range(6) if unit % parts == part])
        for file in encode_table(PAIRS, new.rows, new.covered, part):
            entry, data = written(file, "old")
            objects.write(entry["path"], data)
            entries.append(entry)
    old, now = Tokens(dict.fromkeys(range(6), "same")), Tokens({u: str(u in changed) for u in range(6)})
    now.tokens |= {unit: "same" for unit in range(6) if unit not in changed}
    kept, files, coverage = carry_table(
        objects, PAIRS, entries, {"covered": 6, "of": 6}, old, now, "new", replaced
    )
    for path, data in files:
        objects.write(path, data)
    found = read_table(objects, kept, PAIRS).select(["first", "second"]).to_pydict()
    gone = changed | replaced
    expected = {row for row in rows if not gone & set(row)}
    assert set(zip(found["first"], found["second"], strict=True)) == expected
    lost = {unit for row in rows if changed & set(row) for unit in row}
    assert coverage == {"covered": len(set(range(6)) - gone - lost), "of": 6}
    untouched = [entry for entry in entries if entry in kept]
    assert (len(untouched) == len(entries)) or gone


class Tokens(Units):
    """Units with given tokens."""

    def __init__(self, tokens: dict[Any, Any]) -> None:
        self.tokens = tokens

    def of(self, unit: Unit) -> dict[Any, Any]:
        return self.tokens

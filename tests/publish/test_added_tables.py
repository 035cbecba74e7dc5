"""Tables that a job adds to a published version, through the life of a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from etl.core.config import Config
from etl.export.export import export
from etl.export.selection import Selection
from etl.io.opening import open_objects
from etl.publish.add_tables import NewTable, add_tables
from etl.store import open_store
from etl.store.history import rollback
from etl.store.prune import prune
from etl.store.reader import Store
from etl.store.versions import Version
from etl.tables.table import FLOAT, INT, TEXT, Table, field
from etl.verify.verify import verify
from tests.support.three_volumes import PRESENT, ROWS, SECOND
from tests.support.tiny_release import build_serial, tiny_config, write_release

MEANS = Table(
    "plane_means",
    "mean of each plane of a volume",
    pa.schema(
        [
            field("volume_id", TEXT, "volume"),
            field("plane", INT, "index along z"),
            field("mean_hu", FLOAT, "mean of the plane", "HU"),
        ]
    ),
    key=("volume_id", "plane"),
    unit="volume",
    unit_columns=("volume_id",),
    made_by="jobs/toy.py",
)


def add_means(store: Store, volume_ids: Iterable[str]) -> tuple[Version, bool]:
    """Compute the table for some volumes of a version, and publish it."""
    covered = sorted(volume_ids)
    means = [(name, z, float(plane.mean())) for name in covered for z, plane in enumerate(store.volume(name))]
    columns = zip(("volume_id", "plane", "mean_hu"), zip(*means, strict=True), strict=True)
    return add_tables(store.objects, store.version, [NewTable(MEANS, MEANS.rows(dict(columns)), covered)])


def test_a_table_of_a_job_through_the_life_of_a_store(tmp_path: Path) -> None:
    write_release(tmp_path, PRESENT, ROWS)
    config = tiny_config(tmp_path, tmp_path / "store")
    build_serial(config)
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

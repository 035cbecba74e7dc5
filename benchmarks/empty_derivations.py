"""Throughput of a derived table whose rows cost nothing: the framework alone, with the real executor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import peak_mib, volumes_row
from etl.core.config import Config
from etl.derive.volume_table import Derivation, StoredVolume, VolumeRow
from etl.io.opening import open_objects
from etl.io.places import Objects, object_info
from etl.phantom import write_phantom
from etl.pipeline.build import build, load_plan
from etl.pipeline.derive import derive
from etl.run.cluster_kinds import Local
from etl.run.clusters import connect
from etl.run.serial import SerialExecutor
from etl.store.layout import tables_path
from etl.store.parquet import encode_table
from etl.store.reader import open_store
from etl.store.versions import Version, new_run_id, publish_version, under_new_run
from etl.tables.body_positions import BODY_POSITIONS
from etl.tables.registry import TABLES

COUNTS = (2_000, 20_000)


@dataclass(frozen=True)
class NoRows:
    """A function that opens a volume, and makes no rows of it."""

    def __call__(self, volume: StoredVolume) -> Mapping[str, Any]:
        """Return columns without rows; the shape is of the opened volume."""
        if tuple(volume.hu.shape) != tuple(volume.row.shape):
            raise ValueError(f"{volume.row.volume_id}: {volume.hu.shape}")
        return {name: [] for name in BODY_POSITIONS.schema.names}

    def memory_bytes(self, row: VolumeRow) -> int:
        """Return 0: a planned volume needs no memory."""
        return 0


def measure(folder: Path, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Measure volumes per second, and the memory of driver and scheduler, by number of volumes.

    Args:
        counts: numbers of volumes, of which all have the voxels of one; the first also runs once before,
            untimed.
    """
    write_phantom(folder / "release", patients=1, archives=1)
    rows = []
    with connect(Local(kind="local")) as executor:
        workers = len(executor.everywhere(os.getpid))
        for number, count in enumerate((counts[0], *counts)):
            root = str(folder / f"store-{number}")
            _make_store(folder / "release", root, count)
            store = open_store(root)
            rows.append(
                volumes_row(count, partial(derive, store, Derivation(BODY_POSITIONS, NoRows(), 1), executor))
            )
            covered = open_store(root).version["added_tables"]["body_positions"]["coverage"]["covered"]
            if covered != count:
                raise ValueError(f"{covered} of {count} volumes are covered")
    return {
        "derivation_workers": workers,
        "empty_derivations_per_second": rows[-1]["per_second"],
        "empty_derivations": rows[1:],
        "derivation_peak_mib": peak_mib(),
    }


def _make_store(release: Path, root: str, count: int) -> None:
    """Build a store of one volume, and publish a version that names its voxels `count` times."""
    source: dict[str, Any] = {
        "annotations": str(release / "DL_info.csv"),
        "archives": (str(release / "Images_png_*.zip"),),
    }
    data: dict[str, Any] = {"store": root, "source": source, "cluster": "serial", "report": False}
    config = Config.model_validate(data)
    build(config, load_plan(config), SerialExecutor())
    objects, run_id = open_objects(root), new_run_id()
    publish_version(objects, run_id, lambda parent: _repeated(objects, run_id, parent, count))


def _repeated(objects: Objects, run_id: str, parent: Version | None, count: int) -> Version:
    assert parent is not None
    names = [f"{number // 99 + 2:06d}_{number % 99 + 1:02d}_01_103-115" for number in range(count)]
    (volume,) = parent["volumes"]
    own, path = Path(objects.root, "volumes", volume["volume_id"]).resolve(), volume["path"].split("/")
    for name in names:
        Path(objects.root, "volumes", name).symlink_to(own, target_is_directory=True)
    paths = ["/".join([path[0], name, *path[2:]]) for name in names]
    store = open_store(objects.root)
    row = store.volumes().to_dict("list")
    table = TABLES["volumes"]
    rows = table.rows(
        {name: values * count for name, values in row.items()} | {"volume_id": names, "path": paths}
    )
    entries = []
    for file in encode_table(table, rows):
        path = f"{tables_path(run_id)}/{file.path}"
        objects.write(path, file.data)
        entries.append(asdict(object_info(path, file.data)) | {"rows": file.rows})
    named = zip(names, paths, strict=True)
    return under_new_run(parent, run_id) | {
        "volumes": [volume | {"volume_id": name, "path": place} for name, place in named],
        "counts": parent["counts"] | {"volumes": count},
        "tables": {**parent["tables"], "volumes": entries},
    }

"""Built volumes -> tables and one new version, or a refusal by name. Nothing is published in part."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from etl.convert.results import Conversion
from etl.core.config import Config
from etl.core.errors import GuardError
from etl.core.rejects import Kind, Reject
from etl.io.places import Objects, object_info
from etl.plan.plan import Plan
from etl.publish.assemble import Counts, make_tables
from etl.publish.carry import Units, carry, written
from etl.publish.guards import check_archives, check_locations, check_parent, check_rejects
from etl.store.layout import ROOT, path_in_tables, root_metadata, tables_path
from etl.store.named import carried
from etl.store.parquet import EncodedTable, Entry, encode_table
from etl.store.versions import Version, now_text, publish_version, read_version
from etl.tables.locations import agreement
from etl.tables.registry import BUILD_TABLES
from etl.tables.table import schema_columns

logger = logging.getLogger(__name__)

Files = Mapping[str, Sequence[EncodedTable]]
"""The files of each table that a build makes, by the table's name."""


@dataclass(frozen=True, eq=False)
class Published:
    """The version that holds what was built.

    Attributes:
        version: the version file's content.
        is_new: False where the current version held the same already, so that none was added.
        counts: of this build.
    """

    version: Version
    is_new: bool
    counts: Counts


def publish(
    objects: Objects,
    config: Config,
    plan: Plan,
    conversions: Sequence[Conversion],
    run_id: str,
    before_create: Callable[[Version], None] = lambda version: None,
    lost: Sequence[Reject] = (),
) -> Published:
    """Write the tables and publish the next version.

    Args:
        before_create: called with the version's content right before its file is created; raises to refuse.
        lost: archives that could be planned with and not be read later on; their slices are in `conversions`.

    Raises:
        GuardError: a guard refused; no version was added and what was converted stays for the next run.
        OSError: the store can't be written.
    """
    made = make_tables(plan, conversions)
    counts, tables = made.counts, made.tables
    unread = [reject for reject in plan.rejects if reject.kind is Kind.ARCHIVE]
    check_archives([*unread, *lost], len(plan.index.containers), config.limits)
    check_rejects(counts, config.limits, made.rejects)
    lesions = tables["lesions"].to_pandas()
    locations = agreement(lesions, config.source.complete and not plan.rows_not_selected)
    check_locations(locations, lesions, config.limits)
    if not counts.volumes:
        raise GuardError(
            "not one volume could be built; nothing was published",
            value=", ".join(f"{reason} {count}" for reason, count in counts.rejects_by_reason.items()),
            remedy="the log says why each slice was rejected; mend the source",
        )

    files = {name: encode_table(table, tables[name]) for name, table in BUILD_TABLES.items()}
    volumes = _volume_entries(conversions)
    parent = read_version(objects)
    if parent is not None and _content(parent) == (_digests(files), volumes):
        objects.create(ROOT, root_metadata())
        _mend_tables(objects, parent, files)
        return Published(parent, False, counts)

    body: dict[str, Any] = {
        "run_id": run_id,
        "created_at": now_text(),
        "rollback_of": None,
        "counts": asdict(counts),
        "locations": locations.as_json(),
        "annotations": {
            "name": plan.annotations.source,
            "rows": plan.annotations.row_count,
            "bytes": plan.annotations.bytes,
            "sha256": plan.annotations.sha256,
        },
        "archives": [
            {"name": c.name, "bytes": c.bytes, "slices": c.slice_count, "directory_sha256": c.sha256 or None}
            for c in plan.index.containers
        ],
        "config": config.recorded(),
        "code": code_versions(),
        "schemas": {name: schema_columns(table.schema) for name, table in BUILD_TABLES.items()},
        "tables": {name: [written(file, run_id)[0] for file in own] for name, own in files.items()},
        "volumes": volumes,
    }
    check_parent(parent, body, config.limits)
    for own in files.values():
        for file in own:
            objects.write(f"{tables_path(run_id)}/{file.path}", file.data)
    units = Units(objects, body, tables["lesions"])

    def body_on(current: Version | None) -> Version:
        check_parent(current, body, config.limits)
        added = carry(objects, current, units, run_id, BUILD_TABLES.keys())
        for path, data in added.files:
            objects.write(path, data)
        whole = added.merged_into(body) | carried(current, volumes)
        before_create(whole)
        return whole

    return Published(publish_version(objects, run_id, body_on), True, counts)


def code_versions() -> dict[str, str]:
    """Return the versions of everything that decides bytes: this package, Python, and its libraries."""
    names = (
        "deeplesion-store",
        "numpy",
        "numba",
        "zarr",
        "numcodecs",
        "imageio",
        "pillow",
        "pyarrow",
        "pandas",
    )
    return {"python": platform.python_version()} | {name: installed_version(name) for name in names}


@cache
def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, read once per process."""
    return importlib.metadata.version(distribution)


def _mend_tables(objects: Objects, version: Version, files: Files) -> None:
    """Write again the files of a published version that are lost or damaged: they have the same bytes."""
    data = {file.path: file.data for own in files.values() for file in own}
    for entry in _build_entries(version):
        path, expected = entry["path"], data[path_in_tables(entry["path"])]
        if objects.size(path) != len(expected) or objects.read(path) != expected:
            logger.warning("%s was lost or damaged and is written again", path)
            objects.write(path, expected)


def _volume_entries(conversions: Sequence[Conversion]) -> list[dict[str, Any]]:
    built = sorted(
        ((p.series, p.first, receipt) for c in conversions for p, receipt in c.built), key=lambda b: b[:2]
    )
    return [{"volume_id": receipt.volume_id} | asdict(receipt.info()) for _, _, receipt in built]


def _digests(files: Files) -> dict[str, str]:
    return {file.path: object_info(file.path, file.data).sha256 for own in files.values() for file in own}


def _content(version: Version) -> tuple[dict[str, str], list[dict[str, Any]]]:
    digests = {path_in_tables(entry["path"]): entry["sha256"] for entry in _build_entries(version)}
    return digests, list(version["volumes"])


def _build_entries(version: Version) -> list[Entry]:
    """Return the table files of a version that a build made."""
    return [entry for name in BUILD_TABLES for entry in version["tables"].get(name, ())]

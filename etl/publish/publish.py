"""What was built -> tables and one new version, or a refusal by name. Nothing is published in part."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etl.convert.results import Conversion
from etl.core.config import Config
from etl.core.errors import GuardError
from etl.core.rejects import Kind, Reject
from etl.io.places import Objects, object_info
from etl.plan.plan import Plan
from etl.publish.assemble import Counts, make_tables
from etl.publish.guards import check_archives, check_locations, check_parent, check_rejects
from etl.publish.locations import agreement
from etl.store.layout import ROOT, path_in_tables, root_metadata, tables_path
from etl.store.parquet import EncodedTable, encode_tables, schema_columns
from etl.store.versions import Version, now_text, publish_version, read_version, table_entries
from etl.tables.fields import TABLES

logger = logging.getLogger(__name__)


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
    joined = make_tables(plan, conversions)
    files = encode_tables(joined.tables, joined.splits)
    volumes = _volume_entries(conversions)
    counts = joined.counts
    schemas = {name: schema_columns(name) for name in TABLES}
    unread = [reject for reject in plan.rejects if reject.kind is Kind.ARCHIVE]
    check_archives([*unread, *lost], len(plan.index.containers), config.limits)
    check_rejects(counts, config.limits)
    lesions = joined.tables["lesions"].to_pandas()
    locations = agreement(lesions, config.source.complete and not plan.rows_not_selected)
    check_locations(locations, lesions, config.limits)
    if not counts.volumes:
        raise GuardError(
            "not one volume could be built; nothing was published",
            value=", ".join(f"{reason} {count}" for reason, count in counts.rejects_by_reason.items()),
            remedy="the log tells why each slice was rejected; mend the source",
        )

    objects.create(ROOT, root_metadata())
    parent = read_version(objects)
    if parent is not None and _content(parent) == (_digests(files), volumes):
        _mend_tables(objects, parent, files)
        return Published(parent, False, counts)

    base = tables_path(run_id)
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
        "config": config.resolved(),
        "code": code_versions(),
        "schemas": schemas,
        "tables": {
            name: [
                asdict(object_info(f"{base}/{file.path}", file.data)) | {"rows": file.rows}
                for file in files
                if file.path.startswith(f"{name}/")
            ]
            for name in TABLES
        },
        "volumes": volumes,
    }
    check_parent(parent, body, config.limits)
    for file in files:
        objects.write(f"{base}/{file.path}", file.data)

    def check(current: Version | None) -> None:
        check_parent(current, body, config.limits)
        before_create(body)

    version = publish_version(objects, body, check)
    return Published(version, True, counts)


def code_versions() -> dict[str, str]:
    """Versions of what decides bytes: this package, Python, and the libraries that decode and encode."""
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
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _mend_tables(objects: Objects, version: Version, files: Sequence[EncodedTable]) -> None:
    """Write those files of a published version anew that are lost or damaged: they have the same bytes."""
    data = {file.path: file.data for file in files}
    for entry in table_entries(version):
        path, expected = entry["path"], data[path_in_tables(entry["path"])]
        if objects.size(path) != len(expected) or objects.read(path) != expected:
            logger.warning("%s was lost or damaged and is written anew", path)
            objects.write(path, expected)


def _volume_entries(conversions: Sequence[Conversion]) -> list[dict[str, Any]]:
    built = sorted(
        ((p.series, p.first, receipt) for c in conversions for p, receipt in c.built), key=lambda b: b[:2]
    )
    return [{"volume_id": receipt.volume_id} | asdict(receipt.info()) for _, _, receipt in built]


def _digests(files: Sequence[EncodedTable]) -> dict[str, str]:
    return {file.path: object_info(file.path, file.data).sha256 for file in files}


def _content(version: Version) -> tuple[dict[str, str], list[dict[str, Any]]]:
    digests = {path_in_tables(entry["path"]): entry["sha256"] for entry in table_entries(version)}
    return digests, list(version["volumes"])

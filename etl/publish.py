"""What was built -> tables and one new version, or a refusal by name. Nothing is published in part."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from etl.config import Config, Limits
from etl.convert import Conversion
from etl.errors import GuardError
from etl.join import Counts, make_tables
from etl.locations import Agreement, agreement
from etl.plan import Plan
from etl.store.fields import TABLES
from etl.store.layout import ROOT, path_in_tables, root_metadata, tables_path
from etl.store.objects import Objects, object_info
from etl.store.tables import EncodedTable, encode_tables, schema_columns
from etl.store.versions import Version, now_text, publish_version, read_version, table_entries

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
) -> Published:
    """Write the tables and publish the next version.

    Args:
        before_create: called with the version's content right before its file is created; raises to refuse.

    Raises:
        GuardError: a guard refused; no version was added and what was converted stays for the next run.
        OSError: the store can't be written.
    """
    joined = make_tables(plan, conversions)
    files = encode_tables(joined.tables, joined.splits)
    volumes = _volume_entries(conversions)
    counts = joined.counts
    schemas = {name: schema_columns(name) for name in TABLES}
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


def check_rejects(counts: Counts, limits: Limits) -> None:
    """Raises GuardError where a larger share of rows or slices is rejected than `limits.rejects`."""
    promised = counts.slices + counts.slices_rejected + counts.slices_missing
    for noun, rejected, total in (
        ("rows", counts.rows_rejected, counts.lesions + counts.rows_rejected),
        ("slices", counts.slices_rejected + counts.slices_missing, promised),
    ):
        share = rejected / total if total else 0.0
        if share > limits.rejects:
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts.rejects_by_reason.items())
            raise GuardError(
                f"too many {noun} are rejected; nothing was published, the converted volumes are kept",
                value=f"{rejected} of {total} ({share:.2%}): {reasons}",
                allowed=f"limits.rejects = {limits.rejects:.2%}",
                remedy="mend the source, or raise the limit by name: --set limits.rejects=SHARE",
            )


def check_locations(found: Agreement, lesions: pd.DataFrame, limits: Limits) -> None:
    """Raises GuardError where a larger share of lesions than the limit is not on the slice that it tells of.

    Args:
        lesions: of the `lesions` table, with pandas' types.
    """
    disagreeing = found.compared - found.agreeing
    share = disagreeing / found.compared if disagreeing else 0.0
    if share <= limits.location_disagreement:
        return
    names = lesions["file_name"][lesions["location_agrees"].eq(False)].tolist()
    raise GuardError(
        "too many published locations are not those of their key slices; nothing was published, the "
        "converted volumes are kept",
        where=", ".join(names[:5]) + (" ..." if len(names) > 5 else ""),
        value=f"{disagreeing} of {found.compared} lesions ({share:.2%})",
        allowed=f"limits.location_disagreement = {limits.location_disagreement:.2%}",
        remedy="see that the CSV and the archives are of one release and no slice is under another's name, "
        "or raise the limit by name: --set limits.location_disagreement=SHARE",
    )


def check_parent(parent: Version | None, body: Version, limits: Limits) -> None:
    """Raises GuardError where the new version would take away what the parent has."""
    if parent is None:
        return
    for noun, allowed in (("volumes", limits.allow_fewer_volumes), ("lesions", limits.allow_fewer_lesions)):
        before, now = parent["counts"][noun], body["counts"][noun]
        if now < before and not allowed:
            raise GuardError(
                f"fewer {noun} than version {parent['version']}; nothing was published",
                value=f"{now}, before {before}",
                allowed=f"at least {before}",
                remedy=f"mend the source, or allow it by name: --set limits.allow_fewer_{noun}=true",
            )
    before, now = parent["schemas"], body["schemas"]
    changed = [name for name in before | now if before.get(name) != now.get(name)]
    if changed and not limits.allow_schema_change:
        raise GuardError(
            f"the schema of {', '.join(changed)} differs from version {parent['version']}; not published",
            remedy="allow it by name: --set limits.allow_schema_change=true",
        )


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

"""Are a version's tables whole, of the contract's schema, and in agreement with each other and its counts?"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.rejects import Kind, Reason
from etl.imaging.geometry import output_shape
from etl.io.places import ObjectInfo
from etl.store.parquet import SPLITS, schema_columns
from etl.store.versions import Version
from etl.tables.fields import SCHEMAS, TABLES
from etl.verify.problems import CountedReads, Problem, Repair, describe, differences, read_whole
from etl.verify.volume import VolumeFacts, digest

# Positions in voxels are quotients of floats.
TOLERANCE_VOX = 1e-6


@dataclass(frozen=True, eq=False)
class TableRows:
    """The rows of a table's whole files; `complete` if that is all of its files."""

    rows: pd.DataFrame
    complete: bool


def read_tables(reads: CountedReads, version: Version) -> tuple[dict[str, TableRows], list[Problem]]:
    """All four tables as a version names them, and what is wrong with their files."""
    tables, problems = {}, []
    for name in TABLES:
        declared = _declared(version, name)
        parts, complete = [declared.empty_table().to_pandas()], True
        for entry in version["tables"][name]:
            rows, wrong = _read_file(reads, name, entry, declared)
            problems += wrong
            complete = complete and not wrong
            if rows is not None and len(rows):
                parts.append(rows)
        tables[name] = TableRows(pd.concat(parts[1:] or parts, ignore_index=True), complete)
    return tables, problems


def _read_file(
    reads: CountedReads, name: str, entry: Mapping[str, Any], declared: pa.Schema
) -> tuple[pd.DataFrame | None, list[Problem]]:
    path = str(entry.get("path"))
    try:
        info = ObjectInfo(path, entry["bytes"], entry["sha256"])
        data, wrong = read_whole(reads, info, Repair.TABLE)
        if data is None:
            return None, list(wrong)
        table = pq.read_table(io.BytesIO(data))
        if not table.schema.equals(declared):
            found, expected = _columns_apart(table.schema, declared)
            return None, [Problem("schema is not the version's", path, Repair.CONTENT, found, expected)]
        problems = list(differences(path, Repair.CONTENT, [("number of rows", len(table), entry["rows"])]))
        rows = table.to_pandas()
        if name == "lesions":
            rows["split"] = split = path.split("split=")[-1].split("/")[0]
            if split not in SPLITS:
                problems.append(Problem("split is unknown", path, Repair.CONTENT, split, ", ".join(SPLITS)))
    except Exception as error:
        return None, [Problem("can't be read", path, Repair.CONTENT, describe(error))]
    return rows, problems


def _columns_apart(found: pa.Schema, expected: pa.Schema) -> tuple[str, str]:
    """Columns that only the one schema has and only the other; all where just their order differs."""
    one, other = (
        [f"{field.name} {field.type}{' nullable' if field.nullable else ''}" for field in schema]
        for schema in (found, expected)
    )
    only = [name for name in one if name not in other], [name for name in other if name not in one]
    left, right = only if any(only) else (one, other)
    return "; ".join(left) or "none", "; ".join(right) or "none"


def _declared(version: Version, name: str) -> pa.Schema:
    """The contract's schema of a table, of the columns that the version declares: later ones it may lack."""
    names = [column for column, _ in version["schemas"][name] if column in SCHEMAS[name].names]
    return pa.schema([SCHEMAS[name].field(column) for column in names])


def check_schemas(version: Version, where: str) -> Iterator[Problem]:
    """Every column that the version file declares is one of the contract's."""
    for name in TABLES:
        known = schema_columns(name)
        strange = [column for column in version["schemas"][name] if column not in known]
        yield from differences(where, Repair.CONTENT, [(f"schema of {name}", strange, [])])


def check_catalogue(
    tables: Mapping[str, TableRows], version: Version, facts: Mapping[str, VolumeFacts]
) -> Iterator[Problem]:
    """`volumes` names what the version file names, and says of each volume what its receipt says.

    Args:
        facts: by volume_id, of the volumes that were looked at and whose receipt is right.
    """
    entries = {entry["volume_id"]: entry for entry in version["volumes"]}
    rows = {row["volume_id"]: row for row in tables["volumes"].rows.to_dict("records")}
    if tables["volumes"].complete:
        yield from _repeated(tables["volumes"].rows["volume_id"], "volumes: volume_id")
        for volume_id in sorted(entries.keys() ^ rows.keys()):
            missing = "the table `volumes`" if volume_id in entries else "the version file"
            yield Problem(f"volume is not in {missing}", volume_id, Repair.CONTENT)
    for volume_id in sorted(entries.keys() & rows.keys()):
        row, entry, where = rows[volume_id], entries[volume_id], f"volumes: {volume_id}"
        values = [(name, row[name], entry[name]) for name in ("path", "bytes", "sha256")]
        shape, spacing, source_shape, source_spacing = (
            tuple(row[pattern.format(axis)] for axis in "zyx")
            for pattern in ("shape_{}", "spacing_{}_mm", "source_shape_{}", "source_spacing_{}_mm")
        )
        values.append(("shape (z, y, x)", shape, output_shape(source_shape, source_spacing, spacing)))
        if volume_id in facts:
            own = facts[volume_id]
            values.append(("fingerprint", row["fingerprint"], own.fingerprint))
            values.append(("shape (z, y, x), by its receipt,", shape, own.shape))
            values.append(("spacing (z, y, x) in mm", spacing, own.spacing_mm))
            values += [(f"hu_{name}", row[f"hu_{name}"], value) for name, value in asdict(own.hu).items()]
        yield from differences(where, Repair.CONTENT, values)


def check_lesions(tables: Mapping[str, TableRows], version: Version) -> Iterator[Problem]:
    """Each lesion has a number of its own and lies inside a volume of this version."""
    lesions, volumes = tables["lesions"].rows, tables["volumes"].rows
    yield from _repeated(lesions["lesion_id"], "lesions: lesion_id")
    for lesion_id in sorted(set(lesions["lesion_id"]) & set(tables["rejects"].rows["lesion_id"].dropna())):
        yield Problem("row is rejected as well", f"lesions: lesion_id {lesion_id}", Repair.CONTENT)
    known = {entry["volume_id"] for entry in version["volumes"]}
    for lesion_id, volume_id in lesions[~lesions["volume_id"].isin(known)][["lesion_id", "volume_id"]].values:
        where = f"lesions: lesion_id {lesion_id}"
        yield Problem("its volume is not in this version", where, Repair.CONTENT, volume_id)

    placed = lesions.merge(
        volumes.drop_duplicates("volume_id"), on="volume_id", suffixes=("", "_of_volume"), validate="m:1"
    )
    first, last = placed["slice_first_of_volume"], placed["slice_last_of_volume"]
    yield from _outside(placed, "key_slice_index", placed["key_slice_index"], first, last)
    per_pixel = {a: placed[f"source_spacing_{a}_mm"] / placed[f"spacing_{a}_mm_of_volume"] for a in "zyx"}
    # The last slice's centre: it may lie past the last stored voxel's, by less than a voxel.
    yield from _outside(placed, "z_vox", placed["z_vox"], 0, (placed["source_shape_z"] - 1) * per_pixel["z"])
    for axis in "yx":
        voxels_per_pixel = per_pixel[axis]
        # Pixels reach half of one to either side of their centre.
        low, high = -voxels_per_pixel / 2, (placed[f"source_shape_{axis}"] - 0.5) * voxels_per_pixel
        near, far = placed[f"bbox_{axis}1_vox"], placed[f"bbox_{axis}2_vox"]
        within = ~placed["bbox_past_edge"]
        for name, values in ((f"bbox_{axis}1_vox", near), (f"bbox_{axis}2_vox", far)):
            yield from _outside(placed[within], name, values[within], low[within], high[within])
        # A box past the edge may have its middle outside, but shares voxels with the plane.
        yield from _outside(placed[~within], f"bbox_{axis}1_vox", near[~within], -np.inf, high[~within])
        yield from _outside(placed[~within], f"bbox_{axis}2_vox", far[~within], low[~within], np.inf)


def check_slices(tables: Mapping[str, TableRows], facts: Mapping[str, VolumeFacts]) -> Iterator[Problem]:
    """Each volume has a row in `slices` for every one of its slices, with what its receipt measured."""
    if not (tables["slices"].complete and tables["volumes"].complete):
        return
    slices = dict(list(tables["slices"].rows.groupby("volume_id", sort=True)))
    columns = ["volume_id", "slice_first", "slice_last", "source_shape_z"]
    for volume_id, first, last, count in tables["volumes"].rows[columns].itertuples(index=False):
        rows, where = slices.pop(volume_id, None), f"slices: {volume_id}"
        indices = [] if rows is None else rows["slice_index"].tolist()
        values: list[tuple[str, Any, Any]] = [
            ("list of slices", indices, list(range(first, last + 1))),
            ("source_shape_z of the volume", count, last - first + 1),
        ]
        own = facts.get(volume_id)
        if own is not None and rows is not None and "body_mask_area_px" in rows:
            values.append(("number of slices with masks in its receipt", own.mask_count, own.slice_count))
        yield from differences(where, Repair.CONTENT, values)
        if own is not None and rows is not None and len(rows) == own.slice_count:
            for name, expected in own.slice_digests.items():
                if name in rows and digest(rows[name].to_numpy(float)) != expected:
                    measured = "what its receipt measured"
                    yield Problem(f"{name} is wrong", where, Repair.CONTENT, expected=measured)
    for volume_id in slices:
        yield Problem("its volume is not in the table `volumes`", f"slices: {volume_id}", Repair.CONTENT)


def check_counts(tables: Mapping[str, TableRows], version: Version, where: str) -> Iterator[Problem]:
    """The version's counts are those of its tables, and every row and slice found went somewhere."""
    counts = version["counts"]
    values: list[tuple[str, Any, Any]] = [
        ("counts.volumes", counts["volumes"], len(version["volumes"])),
        (
            "counts.rows_found",
            counts["rows_found"],
            counts["lesions"] + counts["rows_rejected"] + counts["rows_not_selected"],
        ),
        (
            "counts.slices_found",
            counts["slices_found"],
            counts["slices"] + counts["slices_rejected"] + counts["slices_not_selected"],
        ),
        ("annotations.rows", version["annotations"]["rows"], counts["rows_found"]),
    ]
    rows = {name: table.rows for name, table in tables.items() if table.complete}
    values += [(f"counts.{n}", counts[n], len(rows[n])) for n in ("lesions", "slices") if n in rows]
    if "volumes" in rows:
        values.append(("counts.patients", counts["patients"], rows["volumes"]["patient_index"].nunique()))
    if "rejects" in rows:
        kind, missing = rows["rejects"]["kind"], rows["rejects"]["reason"] == Reason.SLICE_MISSING
        values += [
            ("counts.rows_rejected", counts["rows_rejected"], int((kind == Kind.ROW).sum())),
            (
                "counts.slices_rejected",
                counts["slices_rejected"],
                int(((kind == Kind.SLICE) & ~missing).sum()),
            ),
            ("counts.slices_missing", counts["slices_missing"], int(missing.sum())),
            (
                "counts.rejects_by_reason",
                counts["rejects_by_reason"],
                dict(sorted(Counter(rows["rejects"]["reason"]).items())),
            ),
        ]
    yield from differences(where, Repair.CONTENT, values)
    if "lesions" in rows and "volumes" in rows:
        lesion_counts = Counter(rows["lesions"]["volume_id"])
        for volume_id, count in rows["volumes"][["volume_id", "lesion_count"]].itertuples(index=False):
            value = ("lesion_count", count, lesion_counts[volume_id])
            yield from differences(f"volumes: {volume_id}", Repair.CONTENT, [value])


def _repeated(values: pd.Series[Any], where: str) -> Iterator[Problem]:
    for value in values[values.duplicated()].unique():
        yield Problem("occurs more than once", f"{where} {value}", Repair.CONTENT)


def _outside(lesions: pd.DataFrame, name: str, values: Any, low: Any, high: Any) -> Iterator[Problem]:
    """A problem for each lesion whose value is not from `low` to `high`; NaN is not either."""
    ends = [np.broadcast_to(np.asarray(end, dtype=float), len(lesions)) for end in (low, high)]
    inside = (values >= ends[0] - TOLERANCE_VOX) & (values <= ends[1] + TOLERANCE_VOX)
    columns = (lesions["lesion_id"], values, *ends, ~inside)
    for lesion_id, value, least, most, bad in zip(*(np.asarray(c) for c in columns), strict=True):
        if bad:
            where, allowed = f"lesions: lesion_id {lesion_id}", f"{least:g} to {most:g}"
            yield Problem(f"{name} is outside its volume", where, Repair.CONTENT, f"{value:g}", allowed)

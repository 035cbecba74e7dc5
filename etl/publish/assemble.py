"""Annotations + what was built -> the rows of the store's tables. Pure: nothing is read or written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from etl.convert.results import Conversion
from etl.core.errors import EtlError
from etl.core.rejects import Kind, Reason, Reject
from etl.imaging.geometry import mm_to_voxel, pixel_to_mm
from etl.imaging.location import Line
from etl.plan.plan import Plan, PlannedVolume
from etl.publish.locations import Built, lesion_columns, predicted_z, slice_columns, volume_z_columns, z_lines
from etl.release.names import SeriesKey, file_name
from etl.store.parquet import to_table
from etl.tables.fields import POINT_AXES, SCHEMAS


@dataclass(frozen=True)
class Counts:
    """Where every row and slice of the release went."""

    volumes: int
    patients: int
    lesions: int
    rows_rejected: int
    rows_not_selected: int
    rows_found: int
    slices: int
    slices_rejected: int
    slices_not_selected: int
    slices_found: int
    slices_missing: int
    rejects_by_reason: dict[str, int]

    def check(self) -> None:
        """Raises EtlError where a row or a slice is lost or counted twice."""
        for noun, parts, found in (
            ("rows", (self.lesions, self.rows_rejected, self.rows_not_selected), self.rows_found),
            ("slices", (self.slices, self.slices_rejected, self.slices_not_selected), self.slices_found),
        ):
            if sum(parts) != found:
                raise EtlError(
                    f"{noun} built, rejected and not selected don't add up to {noun} found: a fault here",
                    value=f"{' + '.join(map(str, parts))} != {found}",
                    remedy="report it with the release's files; nothing was published",
                )


@dataclass(frozen=True, eq=False)
class Tables:
    """The four tables, the split of each lesion, and the counts."""

    tables: dict[str, pa.Table]
    splits: list[str]
    counts: Counts


def make_tables(plan: Plan, conversions: Sequence[Conversion]) -> Tables:
    """Join the annotations to the built volumes.

    Args:
        conversions: one a planned volume, in any order.

    Raises:
        EtlError: the counts don't add up.
    """
    built = sorted((pair for c in conversions for pair in c.built), key=lambda b: (b[0].series, b[0].first))
    rejects = [*plan.rejects, *(reject for c in conversions for reject in c.rejects)]
    lesions, positions, row_rejects = _place(plan, built, rejects)
    rejects = sorted([*rejects, *row_rejects])
    splits = lesions["split"].tolist()
    lines = z_lines(lesions, built)
    tables = {
        "lesions": _lesions_table(lesions, [built[p] for p in positions]),
        "volumes": _volumes_table(plan, built, positions, splits, lines),
        "slices": _slices_table(plan, built, lines),
        "rejects": _rejects_table(rejects),
    }
    counts = _counts(plan, tables, rejects)
    counts.check()
    return Tables(tables, splits, counts)


def _place(
    plan: Plan, built: Sequence[Built], rejects: Sequence[Reject]
) -> tuple[pd.DataFrame, list[int], list[Reject]]:
    """(lesions whose key slice is in a volume, that volume's position in `built`, rejects for the others)."""
    by_series: dict[SeriesKey, list[int]] = defaultdict(list)
    for position, (volume, _) in enumerate(built):
        by_series[volume.series].append(position)
    bad_slices = {
        (r.series_id, r.slice_index): r
        for r in rejects
        if r.kind is Kind.SLICE and r.reason is not Reason.SLICE_MISSING
    }
    frame = plan.annotations.lesions
    frame = frame[frame["lesion_id"].isin(plan.selected_lesion_ids)]
    keep: list[bool] = []
    positions: list[int] = []
    row_rejects: list[Reject] = []
    columns = ("lesion_id", "patient_index", "study_index", "series_index", "key_slice_index")
    for lesion_id, *numbers, key_slice in zip(*(frame[c].tolist() for c in columns), strict=True):
        series = SeriesKey(*numbers)
        runs = by_series.get(series, [])
        holding = [p for p in runs if built[p][0].first <= key_slice <= built[p][0].last]
        keep.append(bool(holding))
        positions += holding
        if holding:
            continue
        bad = bad_slices.get((str(series), key_slice))
        reason = Reason.KEY_SLICE_REJECTED if bad else Reason.KEY_SLICE_MISSING
        message = (
            f"its key slice is rejected: {bad.reason}" if bad else "its key slice is in no archive or folder"
        )
        where = f"{plan.annotations.source} row {lesion_id}: {file_name(series, key_slice)}"
        row_rejects.append(Reject(Kind.ROW, reason, where, message, str(series), key_slice, lesion_id))
    return frame[np.array(keep, dtype=bool)], positions, row_rejects


def _lesions_table(lesions: pd.DataFrame, built: Sequence[Built]) -> pa.Table:
    columns: dict[str, object] = {name: lesions[name] for name in lesions.columns}
    columns["volume_id"] = [volume.volume_id for volume, _ in built]
    source = np.array([volume.source_spacing_mm for volume, _ in built], dtype=float).reshape(-1, 3)
    stored = np.array([volume.spacing_mm for volume, _ in built], dtype=float).reshape(-1, 3)
    first = np.array([volume.first for volume, _ in built], dtype=float)
    place = {"z": 0, "y": 1, "x": 2}
    mm: dict[str, np.ndarray] = {}
    for name, axis in POINT_AXES.items():
        mm[name] = pixel_to_mm(lesions[f"{name}_px"].to_numpy(), source[:, place[axis]])
        columns[f"{name}_mm"] = mm[name]
        columns[f"{name}_vox"] = mm_to_voxel(mm[name], stored[:, place[axis]])
    z_mm = (lesions["key_slice_index"].to_numpy() - first) * source[:, 0]
    columns["z_mm"] = z_mm
    columns["z_vox"] = mm_to_voxel(z_mm, stored[:, 0])
    for side in ("long", "short"):
        dx = mm[f"recist_{side}_x2"] - mm[f"recist_{side}_x1"]
        dy = mm[f"recist_{side}_y2"] - mm[f"recist_{side}_y1"]
        columns[f"{side}_diameter_mm"] = np.hypot(dx, dy)
    columns |= lesion_columns(lesions, built)
    return to_table("lesions", columns)


def _volumes_table(
    plan: Plan,
    built: Sequence[Built],
    positions: Sequence[int],
    splits: Sequence[str],
    lines: Sequence[tuple[Line, float] | None],
) -> pa.Table:
    lesion_count = Counter(positions)
    by_position: dict[int, set[str]] = defaultdict(set)
    for position, split in zip(positions, splits, strict=True):
        by_position[position].add(split)
    rows = []
    for position, (volume, receipt) in enumerate(built):
        info = receipt.info()
        found = by_position[position]
        row = {
            "volume_id": volume.volume_id,
            "path": receipt.path,
            **_numbers(volume.series),
            "slice_first": volume.first,
            "slice_last": volume.last,
            "split": next(iter(found)) if len(found) == 1 else None,
            "bytes": info.bytes,
            "sha256": info.sha256,
            "fingerprint": volume.fingerprint,
            **{f"hu_{name}": value for name, value in asdict(receipt.hu).items()},
            "source_archives": _archives(plan, volume),
            "lesion_count": lesion_count[position],
        }
        for number, axis in enumerate("zyx"):
            row[f"shape_{axis}"] = receipt.shape[number]
            row[f"spacing_{axis}_mm"] = receipt.spacing_mm[number]
            row[f"source_shape_{axis}"] = volume.source_shape[number]
            row[f"source_spacing_{axis}_mm"] = volume.source_spacing_mm[number]
        rows.append(row)
    z_columns = volume_z_columns(lines)
    own = [name for name in SCHEMAS["volumes"].names if name not in z_columns]
    return to_table("volumes", {name: [row[name] for row in rows] for name in own} | z_columns)


def _slices_table(plan: Plan, built: Sequence[Built], lines: Sequence[tuple[Line, float] | None]) -> pa.Table:
    slices = np.concatenate([plan.index.slices[:0], *(volume.slices for volume, _ in built)])
    names = np.array([container.name for container in plan.index.containers], dtype=object)
    z_mm = [np.arange(len(volume.slices)) * volume.source_spacing_mm[0] for volume, _ in built]
    statistics = [row for _, receipt in built for row in receipt.slice_hu]
    columns: dict[str, object] = {
        "volume_id": [volume.volume_id for volume, _ in built for _ in range(len(volume.slices))],
        "patient_index": slices["patient"],
        "study_index": slices["study"],
        "series_index": slices["series"],
        "slice_index": slices["index"],
        "archive": names[slices["container"]],
        "bytes": slices["bytes"],
        "crc32": slices["crc32"],
        "z_mm": np.concatenate([np.zeros(0), *z_mm]),
        "norm_z_predicted": predicted_z(lines, z_mm),
        **slice_columns(built),
    }
    for name in ("minimum", "maximum", "mean", "standard_deviation"):
        columns[f"hu_{name}"] = [getattr(row, name) for row in statistics]
    return to_table("slices", columns)


def _rejects_table(rejects: Sequence[Reject]) -> pa.Table:
    columns: dict[str, object] = {
        name: [str(getattr(r, name)) for r in rejects] for name in ("kind", "reason", "found_in", "message")
    }
    columns["series_id"] = [r.series_id or None for r in rejects]
    for name in ("slice_index", "lesion_id"):
        values = [getattr(r, name) for r in rejects]
        columns[name] = [None if value < 0 else value for value in values]
    return to_table("rejects", columns)


def _counts(plan: Plan, tables: dict[str, pa.Table], rejects: Sequence[Reject]) -> Counts:
    kinds = Counter((r.kind, r.reason is Reason.SLICE_MISSING) for r in rejects)
    return Counts(
        volumes=tables["volumes"].num_rows,
        patients=len(set(tables["volumes"]["patient_index"].to_pylist())),
        lesions=tables["lesions"].num_rows,
        rows_rejected=kinds[Kind.ROW, False],
        rows_not_selected=plan.rows_not_selected,
        rows_found=plan.annotations.row_count,
        slices=tables["slices"].num_rows,
        slices_rejected=kinds[Kind.SLICE, False],
        slices_not_selected=plan.slices_not_selected,
        slices_found=plan.index.found_count,
        slices_missing=kinds[Kind.SLICE, True],
        rejects_by_reason=dict(sorted(Counter(str(r.reason) for r in rejects).items())),
    )


def _numbers(series: SeriesKey) -> dict[str, int]:
    return {"patient_index": series.patient, "study_index": series.study, "series_index": series.series}


def _archives(plan: Plan, volume: PlannedVolume) -> list[str]:
    return [plan.index.containers[number].name for number in sorted(volume.container_numbers)]

"""Annotations and built volumes -> rows of the tables that every build makes. Nothing is read or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from etl.convert.results import Conversion
from etl.core.errors import EtlError
from etl.core.rejects import Kind, Reason, Reject
from etl.plan.plan import Plan, PlannedVolume
from etl.store.receipts import Receipt
from etl.tables.built import BuiltVolume
from etl.tables.lesions import lesion_rows, place
from etl.tables.rejects import reject_rows
from etl.tables.slices import slice_rows
from etl.tables.volumes import volume_rows, z_lines


@dataclass(frozen=True)
class Counts:
    """The numbers of rows and slices of the release by where they went."""

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
        """Raise EtlError where a row or a slice is lost or counted twice."""
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
    """Whole rows of every table that a build makes, by name, the counts, and all rejects, sorted."""

    tables: dict[str, pa.Table]
    counts: Counts
    rejects: Sequence[Reject]


def make_tables(plan: Plan, conversions: Sequence[Conversion]) -> Tables:
    """Join the annotations to the built volumes.

    Args:
        conversions: one a planned volume, in any order.

    Raises:
        EtlError: the counts don't add up.
    """
    pairs = sorted((pair for c in conversions for pair in c.built), key=lambda b: (b[0].series, b[0].first))
    archives = [container.name for container in plan.index.containers]
    built = [_built_volume(volume, receipt, archives) for volume, receipt in pairs]
    rejects = [*plan.rejects, *(reject for c in conversions for reject in c.rejects)]
    selected = plan.annotations.lesions
    selected = selected[selected["lesion_id"].isin(plan.selected_lesion_ids)]
    lesions, positions, row_rejects = place(selected, built, rejects, plan.annotations.source)
    rejects = sorted([*rejects, *row_rejects])
    lines = z_lines(lesions, built)
    tables = {
        "lesions": lesion_rows(lesions, [built[position] for position in positions]),
        "volumes": volume_rows(built, positions, lesions["split"].tolist(), lines),
        "slices": slice_rows(built, archives, lines),
        "rejects": reject_rows(rejects),
    }
    counts = _counts(plan, tables, rejects)
    counts.check()
    return Tables(tables, counts, rejects)


def _built_volume(planned: PlannedVolume, receipt: Receipt, archives: Sequence[str]) -> BuiltVolume:
    info = receipt.info()
    return BuiltVolume(
        volume_id=planned.volume_id,
        path=receipt.path,
        fingerprint=planned.fingerprint,
        bytes=info.bytes,
        sha256=info.sha256,
        series=planned.series,
        slices=planned.slices,
        source_shape=planned.source_shape,
        source_spacing_mm=planned.source_spacing_mm,
        shape=receipt.shape,
        spacing_mm=receipt.spacing_mm,
        archives=tuple(archives[number] for number in sorted(planned.container_numbers)),
        hu=receipt.hu,
        slice_hu=receipt.slice_hu,
        slice_masks=receipt.slice_masks,
    )


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

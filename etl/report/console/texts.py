"""Configs, plans, builds and verifications as text for a terminal and a log."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etl.core.counted import bytes_text, counted, first_of
from etl.run.task_memory import WORKER_BYTES, TaskMemory
from etl.store.history import flattened
from etl.store.layout import version_path

if TYPE_CHECKING:
    from etl.core.config import Config
    from etl.pipeline.build import Build
    from etl.pipeline.preview import Preview
    from etl.verify.verify import Verification


NAMES_LISTED = 5
"""Volumes and archives that a plan names; it counts the others."""


def config_line(path: str, config: Config) -> str:
    """Return one line: the config's file, the store, and the values that differ from the defaults."""
    given = flattened(config.model_dump(mode="json", exclude_defaults=True))
    values = ", ".join(f"{key}={_value(value)}" for key, value in given.items() if key != "store")
    return f"config {path}: store {config.store}; {values} (--show-config prints all values)"


def plan_text(preview: Preview, workers: int) -> str:
    """Return what a build would do: counts, sizes, memory and known rejects.

    Args:
        workers: of the cluster, each with one task at a time.
    """
    config, plan, free = preview.config, preview.plan, preview.free_bytes
    too_large, todo = preview.too_large, preview.to_convert
    count = Counter(preview.fates.values())
    held = [v for v in plan.volumes if preview.fates[v.volume_id] != "reject"]
    memory = sorted(((v.peak_bytes, v) for v in held), key=lambda m: -m[0])
    archives = {number for v in plan.volumes for number in v.container_numbers}
    rows = [
        ("store", config.store),
        (
            "volumes",
            f"{len(plan.volumes):,}: {len(todo):,} to convert, {count['reuse']:,} to reuse"
            + (f", {count['check']:,} to read and reuse if right" if count["check"] else "")
            + (f", {count['reject']:,} to reject" if count["reject"] else ""),
        ),
        (
            "slices",
            f"{plan.slice_count:,} of {plan.index.found_count:,} ({plan.slices_not_selected:,} not selected)",
        ),
        (
            "rows of the CSV",
            f"{len(plan.selected_lesion_ids):,} of {plan.annotations.row_count:,} "
            f"({plan.rows_not_selected:,} not selected)",
        ),
        ("archives", f"{len(archives):,} of {len(plan.index.containers):,} touched"),
        *_fetch_rows(preview),
        ("bytes in", f"{bytes_text(sum(v.source_bytes for v in todo))} of PNG files"),
        ("bytes out", f"{bytes_text(sum(v.output_bytes for v in todo))} of voxels before compression"),
        ("free at the store", bytes_text(free) if free is not None else "unknown"),
    ]
    if memory:
        peak, largest = memory[0]
        in_all = sum(size for size, _ in memory[:workers]) + workers * WORKER_BYTES
        rows += [
            ("peak memory a task", f"{bytes_text(peak)} ({largest.volume_id}, {_shape(largest.shape)})"),
            ("peak memory in all", f"{bytes_text(in_all)} with {counted(workers, 'worker')}"),
        ]
    rows.append(("memory for a task", _memory_text(preview.memory)))
    lines = _table(rows)
    lines += _reasons("rejects known so far", Counter(str(r.reason) for r in preview.rejects))
    if too_large:
        lines.append("too large for any worker:")
        lines += [f"  {c.planned_id}: {c.rejects[0].message}" for c in too_large[:NAMES_LISTED]]
    if len(too_large) > NAMES_LISTED:
        lines.append(f"  and {len(too_large) - NAMES_LISTED:,} more")
    return "\n".join(lines)


def _memory_text(known: TaskMemory) -> str:
    return known.note if known.most_bytes is None else f"{bytes_text(known.most_bytes)} {known.note}"


def _fetch_rows(preview: Preview) -> list[tuple[str, str]]:
    config, plan, numbers = preview.config, preview.plan, preview.to_fetch
    unread = plan.index.unread
    rows = []
    if numbers and config.source.staging:
        in_all = sum(plan.index.containers[number].bytes for number in numbers)
        there = sum(preview.staged_bytes.get(number, 0) for number in numbers)
        size = bytes_text(in_all - there) if there < in_all else "nothing"
        more = f"; {bytes_text(there)} is there already" if there else ""
        rows.append(
            ("to fetch", f"{size} of {counted(len(numbers), 'archive')} into {config.source.staging}{more}")
        )
    elif numbers:
        rows.append(
            ("to fetch", f"nothing: {counted(len(numbers), 'remote archive')} read in place, by range")
        )
    if unread:
        names = first_of([archive.name for archive in unread], NAMES_LISTED)
        size = bytes_text(sum(archive.bytes or 0 for archive in unread))
        why = "their server does not answer ranges, so they are fetched before planning"
        if not config.source.keep_archives:
            why += "; only their directories are kept, and they are fetched again for their volumes"
        rows.append(
            ("not known yet", f"the content of {counted(len(unread), 'archive')} ({names}; {size}): {why}")
        )
    return rows


def volume_lines(preview: Preview) -> list[str]:
    """Return one line per planned volume: name, what happens to it, shapes, bytes to read."""
    volumes = preview.plan.volumes
    width = max((len(v.volume_id) for v in volumes), default=0)
    return [
        f"{v.volume_id:{width}}  {preview.fates[v.volume_id]:7}  "
        f"{_shape(v.source_shape)} at {_spacing(v.source_spacing_mm)} mm -> "
        f"{_shape(v.shape)} at {_spacing(v.spacing_mm)} mm, {bytes_text(v.source_bytes)}"
        for v in volumes
    ]


def build_text(config: Config, build: Build) -> str:
    """Return what was built, where it is, and how to open it."""
    version, counts = build.published.version, build.published.counts
    number = version["version"]
    seconds = max(build.seconds, 1e-9)
    stored = sum(volume["bytes"] for volume in version["volumes"])
    if build.published.is_new:
        published = f"{number}, new: {version_path(number)}"
    else:
        published = f"{number}, as before: it already holds the same, so no new version was published"
    rows = [
        ("store", config.store),
        ("version", published),
        ("volumes", f"{counts.volumes:,}: converted {build.converted:,}, reused {build.reused:,}"),
        (
            "slices",
            f"{counts.slices:,} in volumes, {counts.slices_rejected:,} rejected, "
            f"{counts.slices_not_selected:,} not selected, {counts.slices_missing:,} promised and missing",
        ),
        (
            "lesions",
            f"{counts.lesions:,} of {counted(counts.patients, 'patient')}, "
            f"{counts.rows_rejected:,} rejected, {counts.rows_not_selected:,} not selected",
        ),
        *location_rows(version["locations"]),
        ("stored", bytes_text(stored)),
    ]
    if build.converted:
        slices, megabytes = build.converted_slices, build.source_bytes / 1e6
        speed = f"{slices / seconds:,.0f} slices/s, {megabytes / seconds:,.1f} MB/s of PNG files"
        rows.append(("speed", f"{counted(slices, 'slice')} in {seconds:.1f} s: {speed}"))
    lines = _table(rows)
    lines += _reasons("rejects (table `rejects`)", counts.rejects_by_reason)
    first = version["volumes"][0]["volume_id"]
    lines += [
        "",
        f"open it with {_python()}:",
        "  from deeplesion_store import open_store",
        f"  store = open_store({config.store!r})",
        f"  lesions, voxels_hu = store.lesions(), store.array({first!r})[:]",
    ]
    return "\n".join(lines)


def verification_text(title: str, result: Verification, seconds: float) -> str:
    """Return the faults that a verification found, and what repairs them.

    Args:
        title: names the version and its store.
    """
    share = result.checked / result.volumes if result.volumes else 1.0
    sample = "" if share == 1 else f", a sample of {share:.1%} of {result.volumes:,}; all tables"
    read = (
        f"{counted(result.checked, 'volume')}{sample}, {counted(result.objects, 'object')}, "
        f"{bytes_text(result.bytes)}, {seconds:.1f} s"
    )
    if not result.problems:
        return f"all right: {title} ({read})"
    return "\n".join(
        [
            f"{counted(len(result.problems), 'fault')} in {title} ({read}):",
            *(f"  {problem}" for problem in result.problems),
            "repair as follows, then verify again:",
            *(f"  - {repair.value}" for repair in dict.fromkeys(p.repair for p in result.problems)),
        ]
    )


def location_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a version records about published locations, a name and a sentence each.

    Args:
        found: `locations` in the version file.
    """
    shares = (
        f"{found['agreeing']:,} of {found['compared']:,} published locations agree with their key slice "
        f"({found['share']:.2%}) within {found['tolerance']:g}; "
        f"{found['exact']:,} within {found['exact_tolerance']:g}"
    )
    rows = [("checked", shares)]
    for axis, refit in (found["refit"] or {}).items():
        if refit is not None:
            holds = "the constants hold" if refit["constants_hold"] else "NOT the constants in use"
            line = f"slope {refit['slope']:.6f}, intercept {refit['intercept']:.6f}"
            usual = "" if refit["residual"] is None else f"{refit['residual']:.1e}, "
            residual = f"residual {usual}{refit['largest_residual']:.1e} at most"
            # Version files of older builds lack this number.
            left_out = f", {refit['left_out']:,} lesions left out" if refit.get("left_out") else ""
            rows.append((f"refit {axis}", f"{line}, {residual}{left_out}: {holds}"))
    return rows


def _python() -> str:
    """Return the command that starts this Python, relative to the working folder if it lies there."""
    relative = os.path.relpath(sys.executable)
    return sys.executable if relative.startswith("..") else relative


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > NAMES_LISTED:
        return f"[{_value(value[0])}, ... {len(value)} values]"
    return value if isinstance(value, str) else json.dumps(value)


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}" for name, value in rows]


def _reasons(title: str, reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return [f"{title}: none"]
    return [f"{title}:", *(f"  {count:7,}  {reason}" for reason, count in sorted(reasons.items()))]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _spacing(spacing_mm: Sequence[float]) -> str:
    return " x ".join(f"{s:g}" for s in spacing_mm)

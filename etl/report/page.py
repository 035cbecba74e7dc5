"""The page: one self-contained HTML file. The template escapes every text from the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from etl.core.counted import bytes_text
from etl.export.protocol import TYPES, UNLABELLED
from etl.report.body import Body
from etl.report.gallery import Figure, Gallery
from etl.report.outlines import edge_path
from etl.report.over_time import OverTime
from etl.report.overlays import mark_paths
from etl.report.pictures import Picture
from etl.report.planes import WINDOW_HU, PlanePicture, PlaneRef
from etl.report.quality import Check
from etl.report.summary import Summary
from etl.report.templates import PAGES, source
from etl.report.voxels import data_url
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL
from etl.store.reader import Store
from etl.tables.annotation_sources import ANNOTATION_SOURCES
from etl.tables.lesions import SPLITS


@dataclass(frozen=True, eq=False)
class Content:
    """The parts of the page.

    Attributes:
        refs: by name of the check, the picture of each listed row.
        planes: those of these pictures that show no lesion.
        failed: for each such picture that could not be read, the reason.
        over_time: None where lesions were not matched over time.
        body: None for a version without models and positions.
    """

    summary: Summary
    release: Sequence[Picture]
    hu: Sequence[Picture]
    checks: Sequence[Check]
    gallery: Gallery
    refs: Mapping[str, Sequence[PlaneRef]]
    planes: Sequence[PlanePicture]
    failed: Sequence[str]
    over_time: OverTime | None
    body: Body | None


def render(store: Store, content: Content) -> bytes:
    """Return the page as HTML."""
    lesions = {int(lesion.lesion_id) for figure in content.gallery.figures for lesion in figure.image.lesions}
    planes = {picture.ref.anchor: picture for picture in content.planes}
    anchors = planes.keys() | {f"lesion-{lesion_id}" for lesion_id in lesions}
    summary = content.summary
    text = PAGES.get_template("page.html").render(
        number=store.version["version"],
        root=store.objects.root,
        style=source("page.css") + source("lesion_pages.css"),
        script=source("page.js"),
        summary=summary,
        **_run(summary.throughput.records),
        rejects=_cells(summary.rejects),
        annotations=_annotation_sources(store),
        archives=[(row.name, bytes_text(row.bytes), f"{row.slices:,}") for row in _rows(summary.archives)],
        release=[_drawn(picture) for picture in content.release],
        hu=[_drawn(picture) for picture in content.hu],
        checks=[_check(check, content.refs[check.name], anchors, planes) for check in content.checks],
        planes_failed=content.failed,
        figures=[_figure(figure) for figure in content.gallery.figures],
        key_slices=content.gallery.key_slices,
        failed=content.gallery.failed,
        masked=any(mask is not None for figure in content.gallery.figures for mask in figure.masks),
        lined=any(line for figure in content.gallery.figures for line in figure.lines),
        over_time=content.over_time,
        body=content.body,
        positions=[_drawn(picture) for picture in content.body.pictures] if content.body else [],
        types=TYPES,
        splits=SPLITS,
        source=SOURCE_URL,
        acknowledgement=ACKNOWLEDGEMENT,
        citation=CITATION,
    )
    return text.encode()


def _run(records: Sequence[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Return the record of a run in words: what happened, and in which environment."""
    named = [(name.replace("_", " ").replace(".", ": "), value) for name, value in records]
    environment = "environment: "
    return {
        "measures": [row for row in named if not row[0].startswith(environment)],
        "environment": [
            (name.removeprefix(environment), value) for name, value in named if name.startswith(environment)
        ],
    }


def _drawn(picture: Picture) -> dict[str, Any]:
    listed = picture.table[list(picture.listed)]
    drawing = Markup(picture.drawing)
    return vars(picture) | {"drawing": drawing, "columns": _headings(listed), "rows": _cells(listed)}


def _check(
    check: Check, refs: Sequence[PlaneRef], anchors: Set[str], planes: dict[str, PlanePicture]
) -> dict[str, Any]:
    """Return a check with its first rows; remove its pictures from `planes`, so that each is drawn once."""
    cells = _cells(check.found.head(len(refs)))
    rows = [
        {"anchor": ref.anchor if ref.anchor in anchors else None, "view": ref.view, "cells": row}
        for ref, row in zip(refs, cells, strict=True)
    ]
    own = [planes.pop(anchor) for anchor in dict.fromkeys(ref.anchor for ref in refs) if anchor in planes]
    shown = {"planes": [_plane(picture) for picture in own], "rows": rows}
    return vars(check) | {"total": len(check.found), "columns": _headings(check.found)} | shown


def _plane(picture: PlanePicture) -> dict[str, Any]:
    ref, (height_mm, width_mm) = picture.ref, picture.size_mm
    of_slice = "" if ref.slice_index is None else f"slice {ref.slice_index}, "
    return {
        "anchor": ref.anchor,
        "view": ref.view,
        "name": f"{ref.volume_id}: {of_slice}plane {ref.plane}",
        "window": f"{WINDOW_HU[0]:g} to {WINDOW_HU[1]:g}",
        "width": round(width_mm, 2),
        "height": round(height_mm, 2),
        "data_url": data_url(picture.jpeg),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    image = figure.image
    (height, width), (height_mm, width_mm) = image.shape, image.spacing_mm
    first = figure.marks[0]
    return {
        "split": image.lesions[0].split,
        "volume_id": image.volume_id,
        "name": image.lesions[0].file_name,
        "window": f"{image.window_hu[0]:g} to {image.window_hu[1]:g}",
        "width": round(width * width_mm, 2),
        "height": round(height * height_mm, 2),
        "data_url": data_url(figure.jpeg),
        "x": round(((first.box[0] + first.box[2]) / 2 + 0.5) / width * 100, 1),
        "y": round(((first.box[1] + first.box[3]) / 2 + 0.5) / height * 100, 1),
        "drawing": Markup(_overlay(figure)),
        "lesions": [
            {
                "id": int(lesion.lesion_id),
                "type": lesion.coarse_type if isinstance(lesion.coarse_type, str) else UNLABELLED,
                "long_mm": round(float(lesion.long_diameter_mm), 1),
                "short_mm": round(float(lesion.short_diameter_mm), 1),
            }
            for lesion in image.lesions
        ],
    }


def _overlay(figure: Figure) -> str:
    """Return the marks as SVG over the plane, in its voxels; the centre of a voxel is a whole number."""
    height, width = figure.image.shape
    parts = []
    for marks, line, mask in zip(figure.marks, figure.lines, figure.masks, strict=True):
        if mask is not None:
            parts.append(f'<path class="cyan" d="{edge_path(mask)}"/>')
        if line is not None:
            x, y = line
            parts.append(f'<path class="blue" d="M{x:.1f} -0.5v{height}M-0.5 {y:.1f}h{width}"/>')
        parts += mark_paths(marks)
    box = f"-0.5 -0.5 {width} {height}"
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples(index=False))


def _headings(table: pd.DataFrame) -> list[str]:
    """Return column names as words: `long_diameter_mm` as `long diameter (mm)`."""
    words = [re.sub(r"_(mm|px|years)$", r" (\1)", str(name)) for name in table.columns]
    return [word.replace("_", " ").replace("hu ", "HU ") for word in words]


def _annotation_sources(store: Store) -> list[list[str]]:
    """Return the account of each source of annotations; none where the version has no such table."""
    if ANNOTATION_SOURCES.name not in store.version["tables"]:
        return []
    names = [name for name in ANNOTATION_SOURCES.schema.names if name not in ("lesion_ids", "problem")]
    return _cells(store.table(ANNOTATION_SOURCES.name, names))


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Return every value as text; empty for a missing one."""
    columns = [
        [_cell(value, is_identifier=str(name).endswith(("_id", "_index"))) for value in table[name]]
        for name in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _cell(value: Any, *, is_identifier: bool) -> str:
    if pd.isna(value):
        return ""
    if pd.api.types.is_integer(value) and not is_identifier:
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The page itself: one self-contained HTML file. Every text from the data is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from etl.export.key_slices import Marks, Segment
from etl.export.protocol import TYPES, UNLABELLED
from etl.report.console.texts import bytes_text
from etl.report.gallery import Figure, Gallery
from etl.report.pictures import Picture
from etl.report.planes import WINDOW_HU, PlanePicture, Sight
from etl.report.quality import Check
from etl.report.summary import Summary
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL
from etl.store.parquet import SPLITS
from etl.store.reader import Store

_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("etl.report", "template"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, eq=False)
class Content:
    """What the page shows; each attribute is a part of it.

    Attributes:
        sights: of the rows of each check that are listed, by its name.
        planes: pictures of those that are of no lesion.
        failed: why others of them could not be read.
    """

    summary: Summary
    release: Sequence[Picture]
    hu: Sequence[Picture]
    checks: Sequence[Check]
    gallery: Gallery
    sights: Mapping[str, Sequence[Sight]]
    planes: Sequence[PlanePicture]
    failed: Sequence[str]


def render(store: Store, content: Content) -> bytes:
    """The page as HTML."""
    lesions = {int(lesion.lesion_id) for figure in content.gallery.figures for lesion in figure.image.lesions}
    planes = {picture.sight.anchor: picture for picture in content.planes}
    anchors = planes.keys() | {f"lesion-{lesion_id}" for lesion_id in lesions}
    summary = content.summary
    text = _PAGES.get_template("page.html").render(
        number=store.version["version"],
        root=store.objects.root,
        style=Markup(_source("page.css")),
        script=Markup(_source("page.js")),
        summary=summary,
        rejects=_cells(summary.rejects),
        archives=[(row.name, bytes_text(row.bytes), f"{row.slices:,}") for row in _rows(summary.archives)],
        release=[_drawn(picture) for picture in content.release],
        hu=[_drawn(picture) for picture in content.hu],
        checks=[_check(check, content.sights[check.name], anchors, planes) for check in content.checks],
        planes_failed=content.failed,
        figures=[_figure(figure) for figure in content.gallery.figures],
        key_slices=content.gallery.key_slices,
        failed=content.gallery.failed,
        lined=any(line for figure in content.gallery.figures for line in figure.lines),
        types=TYPES,
        splits=SPLITS,
        source=SOURCE_URL,
        acknowledgement=ACKNOWLEDGEMENT,
        citation=CITATION,
    )
    return text.encode()


def _source(name: str) -> str:
    loader = _PAGES.loader
    assert loader is not None
    return loader.get_source(_PAGES, name)[0]


def _drawn(picture: Picture) -> dict[str, Any]:
    columns = list(picture.table.columns)
    rows = _cells(picture.table) if picture.listed else []
    return vars(picture) | {"drawing": Markup(picture.drawing), "columns": columns, "rows": rows}


def _check(
    check: Check, sights: Sequence[Sight], anchors: Set[str], planes: dict[str, PlanePicture]
) -> dict[str, Any]:
    """A check with its first rows; its pictures are taken out of `planes`, so that each is drawn once."""
    cells = _cells(check.found.head(len(sights)))
    rows = [
        {"anchor": s.anchor if s.anchor in anchors else None, "view": s.view, "cells": row}
        for s, row in zip(sights, cells, strict=True)
    ]
    own = [planes.pop(anchor) for anchor in dict.fromkeys(s.anchor for s in sights) if anchor in planes]
    shown = {"planes": [_plane(picture) for picture in own], "rows": rows}
    return vars(check) | {"total": len(check.found), "columns": list(check.found.columns)} | shown


def _plane(picture: PlanePicture) -> dict[str, Any]:
    sight, (height_mm, width_mm) = picture.sight, picture.size_mm
    of_slice = "" if sight.slice_index is None else f"slice {sight.slice_index}, "
    return {
        "anchor": sight.anchor,
        "view": sight.view,
        "name": f"{sight.volume_id}: {of_slice}plane {sight.plane}",
        "window": f"{WINDOW_HU[0]:g} to {WINDOW_HU[1]:g}",
        "width": round(width_mm, 2),
        "height": round(height_mm, 2),
        "data_url": picture.data_url,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    image = figure.image
    (height, width), (height_mm, width_mm) = image.shape, image.spacing_mm
    return {
        "split": image.split,
        "volume_id": image.volume_id,
        "name": image.lesions[0].file_name,
        "window": f"{image.window_hu[0]:g} to {image.window_hu[1]:g}",
        "width": round(width * width_mm, 2),
        "height": round(height * height_mm, 2),
        "data_url": figure.data_url,
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
    """The marks as SVG over the plane, in its voxels: a voxel's centre is a whole number."""
    height, width = figure.image.shape
    parts = []
    for marks, line in zip(figure.marks, figure.lines, strict=True):
        if line is not None:
            x, y = line
            parts.append(f'<path class="blue" d="M{x:.1f} -0.5v{height}M-0.5 {y:.1f}h{width}"/>')
        parts += _marks(marks)
    box = f"-0.5 -0.5 {width} {height}"
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _marks(marks: Marks) -> list[str]:
    x1, y1, x2, y2 = marks.box
    box = f"M{x1:.1f} {y1:.1f}H{x2:.1f}V{y2:.1f}H{x1:.1f}Z"
    centre = f"M{(x1 + x2) / 2:.1f} {(y1 + y2) / 2:.1f}h0"
    diameters = "".join(map(_segment, (marks.long_diameter, marks.short_diameter)))
    return [
        f'<path class="green" d="{box}"/>',
        f'<path class="red" d="{diameters}"/>',
        f'<path class="yellow" d="{centre}"/>',
    ]


def _segment(segment: Segment) -> str:
    x1, y1, x2, y2 = segment
    return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples(index=False))


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Every value as text; empty where there is none."""
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

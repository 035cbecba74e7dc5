"""Drawings of a patient's lesions over studies: pictures joined by kept links, and the graph of all links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pandas as pd
from markupsafe import escape

from etl.report.lesion_pictures import LesionPicture

EDGE, COLUMN, ROW, TOP = 120, 200, 172, 30
COLOURS = ("blue", "orange", "green", "vermilion", "purple", "sky")
_GRAPH_COLUMN, _GRAPH_ROW = 150, 40

Links = Mapping[tuple[int, int], Any]


def pictures_drawing(
    sequences: pd.DataFrame, links: pd.DataFrame, pictures: Mapping[int, LesionPicture]
) -> str:
    """Return SVG: a column for each study, a band for each sequence, lines with distances between them.

    Args:
        sequences: a patient's rows of `sequences`.
        links: its rows of `links`.
        pictures: by lesion_id.
    """
    column = {study: at for at, study in enumerate(sorted(set(sequences["study_index"])))}
    places: dict[int, tuple[float, float]] = {}
    by_pair = _by_pair(links)
    lines: list[str] = []
    row = 0
    for colour, (_, members) in zip(_colours(sequences), _ordered(sequences), strict=True):
        by_study = {study: rows["lesion_id"].tolist() for study, rows in members.groupby("study_index")}
        for study, lesion_ids in by_study.items():
            for at, lesion_id in enumerate(lesion_ids):
                places[lesion_id] = (column[study] * COLUMN + 10, TOP + (row + at) * ROW)
        groups = list(by_study.values())
        for earlier, later in pairwise(groups):
            for lesion_id in later:
                lines.append(
                    _joined(_nearest(lesion_id, earlier, by_pair), lesion_id, places, by_pair, colour)
                )
        for group in groups:
            for above, below in pairwise(group):
                lines.append(_joined(above, below, places, by_pair, colour))
        row += max(map(len, groups))
    width, height = len(column) * COLUMN, TOP + row * ROW
    heads = [
        f'<text class="head" x="{at * COLUMN + 10 + EDGE / 2:g}" y="18">study {study}</text>'
        for study, at in column.items()
    ]
    shown = [_lesion(pictures[lesion_id], *place) for lesion_id, place in places.items()]
    return (
        f'<svg class="sequences" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Lesions by study, joined where they are one lesion">'
        f"{''.join(heads + lines + shown)}</svg>"
    )


def graph_drawing(sequences: pd.DataFrame, links: pd.DataFrame) -> str:
    """Return SVG: a point for each lesion, by study and published z, and a line for each link.

    Args:
        sequences: a patient's rows of `sequences`, with norm_z and long_diameter_mm.
        links: its rows of `links`.
    """
    studies = sorted(set(sequences["study_index"]))
    colour: dict[str, str] = {}
    for name, chosen in zip((name for name, _ in _ordered(sequences)), _colours(sequences), strict=True):
        colour[name] = chosen
    places: dict[int, tuple[float, float]] = {}
    points = []
    ordered = sequences.sort_values(["study_index", "norm_z", "lesion_id"])
    for row in ordered.itertuples(index=False):
        column = studies.index(row.study_index)
        above = sum(1 for x, _ in places.values() if x == column * _GRAPH_COLUMN + 30)
        x, y = column * _GRAPH_COLUMN + 30, TOP + 24 + above * _GRAPH_ROW
        places[int(row.lesion_id)] = (x, y)
        radius = 3 + min(row.long_diameter_mm, 100) ** 0.5
        points.append(
            f'<circle class="{colour[row.sequence_id]}" cx="{x}" cy="{y}" r="{radius:.1f}"><title>'
            f"lesion {row.lesion_id}, sequence {escape(row.sequence_id)}, {row.long_diameter_mm:.1f} mm"
            "</title></circle>"
            f'<text class="id" x="{x}" y="{y - radius - 3:.1f}">{row.lesion_id}</text>'
        )
    of_lesion = dict(zip(sequences["lesion_id"], sequences["sequence_id"], strict=True))
    lines = []
    for link in links.sort_values(["kept", "lesion_id", "other_lesion_id"]).itertuples(index=False):
        (x1, y1), (x2, y2) = places[link.lesion_id], places[link.other_lesion_id]
        bend = 26 if x1 == x2 else 0
        kind = colour[of_lesion[link.lesion_id]] if link.kept else "left"
        lines.append(
            f'<path class="link {kind}" d="M{x1} {y1}Q{(x1 + x2) / 2 + bend:g} {(y1 + y2) / 2:g} {x2} {y2}">'
            f"<title>{link.lesion_id} and {link.other_lesion_id}: distance {link.distance:.3g}, "
            f"{'kept' if link.kept else 'not kept'}: {escape(link.reason)}</title></path>"
        )
    heads = [
        f'<text class="head" x="{at * _GRAPH_COLUMN + 30}" y="18">study {study}</text>'
        for at, study in enumerate(studies)
    ]
    width = len(studies) * _GRAPH_COLUMN + 20
    height = max((y for _, y in places.values()), default=0) + _GRAPH_ROW
    return (
        f'<svg class="graph" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Graph of all links">{"".join(heads + lines + points)}</svg>'
    )


def _ordered(sequences: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return sequences, those over most studies first."""
    groups = [(str(name), rows.sort_values("lesion_id")) for name, rows in sequences.groupby("sequence_id")]
    return sorted(groups, key=lambda group: (-int(group[1]["studies"].iloc[0]), group[0]))


def _colours(sequences: pd.DataFrame) -> list[str]:
    """Return a colour for each of `_ordered`; grey for a lesion of one study."""
    return [
        f"colour-{COLOURS[at % len(COLOURS)]}" if rows["studies"].iloc[0] > 1 else "colour-grey"
        for at, (_, rows) in enumerate(_ordered(sequences))
    ]


def _by_pair(links: pd.DataFrame) -> Links:
    found: defaultdict[tuple[int, int], Any] = defaultdict(lambda: None)
    for link in links.itertuples(index=False):
        found[int(link.lesion_id), int(link.other_lesion_id)] = link
    return found


def _nearest(lesion_id: int, earlier: list[int], links: Links) -> int:
    """Return the lesion of the earlier study with the smallest distance; the first where none is known."""
    known = [
        (link.distance, other)
        for other in earlier
        if (link := links[min(lesion_id, other), max(lesion_id, other)])
    ]
    return min(known)[1] if known else earlier[0]


def _joined(
    one: int, other: int, places: Mapping[int, tuple[float, float]], links: Links, colour: str
) -> str:
    (x1, y1), (x2, y2) = places[one], places[other]
    link = links[min(one, other), max(one, other)]
    text = "" if link is None else f"{link.distance:.2g}"
    if x1 == x2:
        x, start, end = x1 + EDGE + 12, y1 + EDGE / 2, y2 + EDGE / 2
        path = f"M{x1 + EDGE} {start:g}H{x:g}V{end:g}H{x2 + EDGE}"
        label = (x + 16, (start + end) / 2)
    else:
        path = f"M{x1 + EDGE} {y1 + EDGE / 2:g}L{x2} {y2 + EDGE / 2:g}"
        label = (x2 - (COLUMN - EDGE) / 2, (y1 + y2 + EDGE) / 2 - 6)
    return (
        f'<path class="link {colour}" d="{path}"/>'
        f'<text class="distance" x="{label[0]:g}" y="{label[1]:g}">{text}</text>'
    )


def _lesion(picture: LesionPicture, x: float, y: float) -> str:
    middle = x + EDGE / 2
    return (
        picture.drawn_at(x, y, EDGE)
        + f'<text x="{middle:g}" y="{y + EDGE + 15:g}">{picture.lesion_id}: {escape(picture.type)}</text>'
        + f'<text x="{middle:g}" y="{y + EDGE + 31:g}">{picture.size}</text>'
    )

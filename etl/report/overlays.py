"""Measurements of a lesion as SVG paths over a picture of its key slice."""

from __future__ import annotations

from etl.export.key_slices import Marks, Segment


def mark_paths(marks: Marks, dx: float = 0.0, dy: float = 0.0) -> list[str]:
    """Return the box in green, both diameters in red and the box's centre in yellow.

    Args:
        marks: in voxels of the plane.
        dx, dy: column and row of the plane at which the picture begins.
    """
    x1, y1, x2, y2 = _moved(marks.box, dx, dy)
    box = f"M{x1:.1f} {y1:.1f}H{x2:.1f}V{y2:.1f}H{x1:.1f}Z"
    centre = f"M{(x1 + x2) / 2:.1f} {(y1 + y2) / 2:.1f}h0"
    diameters = "".join(_line(_moved(ends, dx, dy)) for ends in (marks.long_diameter, marks.short_diameter))
    return [
        f'<path class="green" d="{box}"/>',
        f'<path class="red" d="{diameters}"/>',
        f'<path class="yellow" d="{centre}"/>',
    ]


def _moved(segment: Segment, dx: float, dy: float) -> Segment:
    x1, y1, x2, y2 = segment
    return x1 - dx, y1 - dy, x2 - dx, y2 - dy


def _line(segment: Segment) -> str:
    x1, y1, x2, y2 = segment
    return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"

"""The curves of a training as CSV, and as SVG for a report or a card."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 640, 240, 40


def write_curves(curve: Sequence[Any], folder: Path) -> None:
    """Write curves.csv and curves.svg into a folder, each whole or not at all.

    Args:
        curve: points of a `Loop`; the last number of each is the measure of the val split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("curves.csv", csv_text(curve)), ("curves.svg", svg_text(curve))):
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


def csv_text(curve: Sequence[Any]) -> str:
    """Return one line a point; a value that was not measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if curve:
        writer.writerow(asdict(curve[0]))
    for point in curve:
        values = asdict(point).values()
        writer.writerow("" if isinstance(v, float) and math.isnan(v) else f"{v:.6g}" for v in values)
    return text.getvalue()


def svg_text(curve: Sequence[Any]) -> str:
    """Return loss and measure over steps, each on its own scale."""
    lines = []
    measure = list(asdict(curve[0]))[-1] if curve else "measure"
    for name, colour in (("loss", "#b3433b"), (measure, "#2b6cb0")):
        found = [(p.step, getattr(p, name)) for p in curve if not math.isnan(getattr(p, name))]
        if len(found) < 2:
            continue
        low, high = min(v for _, v in found), max(v for _, v in found)
        last = found[-1][0]
        points = " ".join(
            f"{MARGIN + (WIDTH - 2 * MARGIN) * step / last:.1f},"
            f"{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / ((high - low) or 1):.1f}"
            for step, value in found
        )
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        y = 16 if name == "loss" else 32
        lines.append(
            f'<text x="{MARGIN}" y="{y}" font-size="12" fill="{colour}">'
            f"{name}: {found[-1][1]:.4g} at step {last}, {low:.4g} to {high:.4g}</text>"
        )
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>loss and {measure} over training steps</title>\n{body}\n</svg>\n"
    )

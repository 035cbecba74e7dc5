"""Bar and scatter charts as inline SVG, from numbers. Colours are classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH = 440
BARS_HEIGHT, SCATTER_HEIGHT = 270, 400
_LEFT, _RIGHT, _TOP = 66, 10, 10
_SLANTED_MARGIN = 84
_CHARACTER = 8.0
"""Approximate width of a character of a tick."""
_MANY_POINTS = 1000
"""From this number on, points are drawn smaller."""


@dataclass(frozen=True)
class Group:
    """Bars of one colour: a value for each label, None for no bar.

    Attributes:
        name: text in the legend.
        colour: class of the page's style sheet, such as `colour-blue`.
    """

    name: str
    values: Sequence[float | None]
    colour: str


@dataclass(frozen=True)
class Points:
    """Points of one colour at (x, y)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str


@dataclass(frozen=True)
class _Frame:
    height: int
    margin: int = 52

    @property
    def bottom(self) -> int:
        return self.height - self.margin

    def y(self, share: float) -> float:
        return _TOP + (1 - share) * (self.bottom - _TOP)

    def axes(self, x_title: str, y_title: str) -> list[str]:
        right = WIDTH - _RIGHT
        return [
            f'<path class="axis" d="M{_LEFT} {_TOP}V{self.bottom}H{right}"/>',
            f'<text class="title" x="{(_LEFT + right) / 2}" y="{self.height - 6}">{escape(x_title)}</text>',
            f'<text class="title" transform="translate(14 {(_TOP + self.bottom) / 2}) rotate(-90)">'
            f"{escape(y_title)}</text>",
        ]

    def y_ticks(self, values: Sequence[float], place: Callable[[float], float]) -> list[str]:
        parts = []
        for value in values:
            y = place(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4:.1f}">{value:,.6g}</text>')
        return parts

    def x_tick(self, x: float, text: str, *, slanted: bool = False) -> str:
        y = self.bottom + 18
        if slanted:
            turned = f'transform="translate({x + 4:.1f} {y - 4}) rotate(-28)"'
            return f'<text class="tick end" {turned}>{escape(text)}</text>'
        return f'<text class="tick" x="{x:.1f}" y="{y}">{escape(text)}</text>'


def bars(
    labels: Sequence[str],
    groups: Sequence[Group],
    x_title: str,
    y_title: str,
    *,
    labels_at: Literal["middle", "start"] = "middle",
) -> str:
    """Return a chart with one bar of each group at each label.

    Args:
        labels: in order; some are left out if there is no room for all.
        groups: each has one value per label.
        x_title, y_title: titles of the axes, with units.
        labels_at: `start` if a label is the lower end of a bin.
    """
    ticks = _count_ticks(max((value or 0 for group in groups for value in group.values), default=0))
    top = ticks[-1]
    step = (WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    gap = step * 0.08
    width = (step - 2 * gap) / max(len(groups), 1)
    longest = max((len(label) for label in labels), default=1) * _CHARACTER
    slanted = labels_at == "middle" and longest > step
    frame = _Frame(BARS_HEIGHT, _SLANTED_MARGIN) if slanted else _Frame(BARS_HEIGHT)
    parts = frame.y_ticks(ticks, lambda value: frame.y(value / top))
    for number, group in enumerate(groups):
        for place, value in enumerate(group.values):
            if value is None:
                continue
            x, y = _LEFT + place * step + gap + number * width, frame.y(value / top)
            tooltip = escape(": ".join(filter(None, [labels[place], group.name])) + f": {value:,.6g}")
            parts.append(
                f'<rect class="{group.colour}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                f'height="{frame.y(0) - y:.1f}"><title>{tooltip}</title></rect>'
            )
    every = 1 if slanted else max(1, math.ceil((longest + _CHARACTER) / step))
    for place, label in enumerate(labels):
        if place % every == 0:
            x = _LEFT + (place + (0.5 if labels_at == "middle" else 0)) * step
            parts.append(frame.x_tick(x, label, slanted=slanted))
    parts += frame.axes(x_title, y_title)
    return _svg(frame, parts, f"{y_title} by {x_title}") + _legend([(g.name, g.colour) for g in groups])


def scatter(
    points: Sequence[Points],
    x_title: str,
    y_title: str,
    *,
    edges: Sequence[float] = (),
) -> str:
    """Return a chart of points, on axes that include 0 to 1 and all points; y is 0 at the top.

    Args:
        points: drawn in this order, the last one on top.
        edges: values of x at which a dashed vertical line is drawn.
    """
    frame = _Frame(SCATTER_HEIGHT)
    x_low, x_high = _reach([x for group in points for x in group.x])
    y_low, y_high = _reach([y for group in points for y in group.y])

    def across(value: float) -> float:
        return _LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def along(value: float) -> float:
        return frame.y(1 - (value - y_low) / (y_high - y_low))

    parts = frame.y_ticks([y_low + (y_high - y_low) * number / 5 for number in range(6)], along)
    for number in range(6):
        value = x_low + (x_high - x_low) * number / 5
        parts.append(frame.x_tick(across(value), f"{value:.3g}"))
    parts += [f'<path class="edge" d="M{across(x):.1f} {_TOP}V{frame.bottom}"/>' for x in edges]
    size = 6 if sum(len(group.x) for group in points) < _MANY_POINTS else 3
    for group in points:
        path = "".join(f"M{across(x):.1f} {along(y):.1f}h0" for x, y in zip(group.x, group.y, strict=True))
        parts.append(f'<path class="dots {group.colour}" stroke-width="{size}" d="{path}"/>')
    parts += frame.axes(x_title, y_title)
    legend = _legend([(f"{group.name} ({len(group.x):,})", group.colour) for group in points])
    return _svg(frame, parts, f"{y_title} against {x_title}") + legend


def _svg(frame: _Frame, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {frame.height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    keys = "".join(
        f'<li><span class="key {colour}"></span>{escape(name)}</li>' for name, colour in entries if name
    )
    return f'<ul class="legend">{keys}</ul>' if keys else ""


def _count_ticks(largest: float) -> list[int]:
    """Return about four steps of 1, 2 or 5 times a power of ten, from 0 to at least the largest value."""
    power = 10 ** max(math.floor(math.log10(max(largest, 1) / 4)), 0)
    step = next(power * n for n in (1, 2, 5, 10) if power * n * 4 >= largest or n == 10)
    return [step * number for number in range(max(math.ceil(largest / step), 1) + 1)]


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """Return the range 0 to 1, widened in tenths to include every value."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return min(0.0, math.floor(low * 10) / 10), max(1.0, math.ceil(high * 10) / 10)

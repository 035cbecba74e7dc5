"""Charts as inline SVG: bars and scatters with axes, units and counts. Numbers in, text out.

Colours come from the page's style by class, so that a chart reads in light and dark and in print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 16, 58
_TICKS = 6


@dataclass(frozen=True)
class Group:
    """Bars of one colour: a value for every place on the axis.

    Attributes:
        name: in the legend.
        colour: class of the page's style, `colour-1` ...
    """

    name: str
    values: Sequence[float]
    colour: str


@dataclass(frozen=True)
class Points:
    """Points of one colour at (x, y)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str


def bars(labels: Sequence[str], groups: Sequence[Group], x_title: str, y_title: str) -> str:
    """Bars side by side at each label.

    Args:
        labels: of the places, in order; where they are many, some are left out.
        groups: each has one value a label.
        x_title, y_title: with units.
    """
    top = _nice_top(max((value for group in groups for value in group.values), default=0))
    step = (WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    width = step * 0.84 / max(len(groups), 1)
    parts = _frame(x_title, y_title)
    parts += _y_ticks([top * number / 4 for number in range(5)], lambda value: _y(value / top))
    for number, group in enumerate(groups):
        for place, value in enumerate(group.values):
            x, y = _LEFT + place * step + step * 0.08 + number * width, _y(value / top)
            name = escape(f"{labels[place]}: {group.name} {value:,.6g}")
            parts.append(
                f'<rect class="{group.colour}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                f'height="{_y(0) - y:.1f}"><title>{name}</title></rect>'
            )
    longest = max((len(label) for label in labels), default=1)
    every = max(1, math.ceil(longest * 6.6 / step)) if longest < 8 else 1
    for place, label in enumerate(labels):
        if place % every == 0:
            parts.append(_x_label(_LEFT + (place + 0.5) * step, label, slanted=longest * 6.6 > step * every))
    return _svg(parts, [(group.name, group.colour) for group in groups], f"{y_title} by {x_title}")


def scatter(
    points: Sequence[Points], x_title: str, y_title: str, *, y_downwards: bool = False, size: float = 2.2
) -> str:
    """Points between 0 and 1 on both axes, or as far as they reach.

    Args:
        y_downwards: 0 is at the top.
        size: diameter of a point, in the chart's units (the chart is 640 wide).
    """
    x_low, x_high = _reach([x for group in points for x in group.x])
    y_low, y_high = _reach([y for group in points for y in group.y])

    def across(value: float) -> float:
        return _LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def along(value: float) -> float:
        share = (value - y_low) / (y_high - y_low)
        return _y(1 - share if y_downwards else share)

    parts = _frame(x_title, y_title)
    parts += _y_ticks([y_low + (y_high - y_low) * number / 5 for number in range(6)], along)
    for number in range(_TICKS):
        value = x_low + (x_high - x_low) * number / (_TICKS - 1)
        parts.append(_x_label(across(value), f"{value:.3g}"))
    for group in points:
        path = "".join(f"M{across(x):.1f} {along(y):.1f}h0" for x, y in zip(group.x, group.y, strict=True))
        parts.append(f'<path class="dots {group.colour}" stroke-width="{size}" d="{path}"/>')
    legend = [(f"{group.name} ({len(group.x):,})", group.colour) for group in points]
    return _svg(parts, legend, f"{y_title} against {x_title}")


def _svg(parts: Sequence[str], legend: Sequence[tuple[str, str]], label: str) -> str:
    keys = "".join(
        f'<li><span class="key {colour}"></span>{escape(name)}</li>' for name, colour in legend if name
    )
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
    return drawing + (f'<ul class="legend">{keys}</ul>' if keys else "")


def _frame(x_title: str, y_title: str) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    middle = (_TOP + bottom) / 2
    return [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>',
        f'<text class="title" x="{(_LEFT + right) / 2}" y="{HEIGHT - 6}">{escape(x_title)}</text>',
        f'<text class="title" transform="translate(14 {middle}) rotate(-90)">{escape(y_title)}</text>',
    ]


def _y_ticks(values: Sequence[float], place: Callable[[float], float]) -> list[str]:
    parts = []
    for value in values:
        y = place(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4:.1f}">{value:,.6g}</text>')
    return parts


def _x_label(x: float, text: str, *, slanted: bool = False) -> str:
    y = HEIGHT - _BOTTOM + 16
    if slanted:
        return f'<text class="tick end" transform="translate({x + 4:.1f} {y - 4}) rotate(-28)">{escape(text)}</text>'
    return f'<text class="tick" x="{x:.1f}" y="{y}">{escape(text)}</text>'


def _y(share: float) -> float:
    return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)


def _nice_top(value: float) -> float:
    """The least of 1, 2, 4, 6, 8 or 10 times a power of ten that is not less."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 2, 4, 6, 8, 10) if power * n >= value * (1 - 1e-12))


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """0 to 1, wider in tenths where values lie outside."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return min(0.0, math.floor(low * 10) / 10), max(1.0, math.ceil(high * 10) / 10)

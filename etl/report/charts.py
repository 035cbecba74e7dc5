"""Charts as inline SVG: bars and scatters with axes, units and counts. Numbers in, text out.

Colours come from the page's style by class, so that a chart reads in light and dark and in print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH = 440
BARS_HEIGHT, SCATTER_HEIGHT = 270, 470
_LEFT, _RIGHT, _TOP = 62, 10, 10
_SLANTED_MARGIN = 76
_CHARACTER = 7.0
"""Width of a tick's character, about."""
_MANY = 1000
"""Points; fewer are drawn larger."""


@dataclass(frozen=True)
class Group:
    """Bars of one colour: a value for every place on the axis; None draws nothing there.

    Attributes:
        name: in the legend.
        colour: class of the page's style, such as `colour-blue`.
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
    margin: int = 48

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
        y = self.bottom + 16
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
    """Bars side by side at each label.

    Args:
        labels: of the places, in order; where they are many, some are left out.
        groups: each has one value a label.
        x_title, y_title: with units.
        labels_at: `start` where a label is the lower end of a bin.
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
            told = escape(": ".join(filter(None, [labels[place], group.name])) + f": {value:,.6g}")
            parts.append(
                f'<rect class="{group.colour}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                f'height="{frame.y(0) - y:.1f}"><title>{told}</title></rect>'
            )
    every = 1 if slanted else max(1, math.ceil((longest + _CHARACTER) / step))
    for place, label in enumerate(labels):
        if place % every == 0:
            x = _LEFT + (place + (0.5 if labels_at == "middle" else 0)) * step
            parts.append(frame.x_tick(x, label, slanted=slanted))
    parts += frame.axes(x_title, y_title)
    return _svg(frame, parts, f"{y_title} by {x_title}") + _legend([(g.name, g.colour) for g in groups])


def scatter(points: Sequence[Points], x_title: str, y_title: str, *, y_downwards: bool = False) -> str:
    """Points, on axes from 0 to 1 or as far as they reach.

    Args:
        points: drawn in their order, the last one on top.
        y_downwards: 0 is at the top.
    """
    frame = _Frame(SCATTER_HEIGHT)
    x_low, x_high = _reach([x for group in points for x in group.x])
    y_low, y_high = _reach([y for group in points for y in group.y])

    def across(value: float) -> float:
        return _LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def along(value: float) -> float:
        share = (value - y_low) / (y_high - y_low)
        return frame.y(1 - share if y_downwards else share)

    parts = frame.y_ticks([y_low + (y_high - y_low) * number / 5 for number in range(6)], along)
    for number in range(6):
        value = x_low + (x_high - x_low) * number / 5
        parts.append(frame.x_tick(across(value), f"{value:.3g}"))
    size = 4.5 if sum(len(group.x) for group in points) < _MANY else 2.6
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
    """About four steps of 1, 2 or 5 times a power of ten, from 0 to at least the largest value."""
    power = 10 ** max(math.floor(math.log10(max(largest, 1) / 4)), 0)
    step = next(power * n for n in (1, 2, 5, 10) if power * n * 4 >= largest or n == 10)
    return [step * number for number in range(max(math.ceil(largest / step), 1) + 1)]


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """0 to 1, wider in tenths where values lie outside."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return min(0.0, math.floor(low * 10) / 10), max(1.0, math.ceil(high * 10) / 10)

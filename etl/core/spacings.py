"""The spacing that a config asks for: one number, the source's own, or one of these for each axis."""

from __future__ import annotations

from typing import Any, Literal

AxisSpacing = float | Literal["native"]
WantedSpacing = AxisSpacing | tuple[AxisSpacing, AxisSpacing, AxisSpacing]
"""mm of all axes or of (z, y, x); `native` keeps the source's."""


def parse_spacing(value: Any) -> Any:
    """Return a value that a config may have as a spacing.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_of_an_axis, value)):
        # Equal ones are one number, so that the volumes are those of a config that gives one.
        return value[0] if len(set(value)) == 1 else tuple(value)
    if not isinstance(value, list | tuple) and _is_of_an_axis(value):
        return value
    raise ValueError(
        "a number of millimetres from 0.05 to 100, `native` to keep the source's spacing, or three of these "
        "for (z, y, x), such as [2, 0.8, 0.8] or [2, native, native]"
    )


def _is_of_an_axis(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value == "native" or (is_number and 0.05 <= value <= 100)


def target_mm(wanted: WantedSpacing, source_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the spacing (z, y, x) of a volume whose source has `source_mm`."""
    each = wanted if isinstance(wanted, tuple) else (wanted,) * 3
    z, y, x = (own if asked == "native" else asked for own, asked in zip(source_mm, each, strict=True))
    return z, y, x

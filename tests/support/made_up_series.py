"""Series whose slices tell where they lie: a bright bar that moves down the image from head to feet."""

from __future__ import annotations

import numpy as np

from etl.learn.series import TRAIN, VAL, Series

PIXELS = 32


def bar_series(number: int, slices: int = 24, apart_mm: float = 5.0, split: str = TRAIN) -> Series:
    """One series; its slices begin elsewhere for each number, and every fourth has a published z."""
    random = np.random.default_rng(number)
    first = int(random.integers(0, 40))
    views = random.integers(-1000, -900, (slices, PIXELS, PIXELS)).astype(np.int16)
    mm = np.arange(slices) * apart_mm
    z = ((first * apart_mm + mm) / 600).astype(np.float32)
    for view, at in zip(views, z, strict=True):
        row = int(at * (PIXELS - 8)) + 3
        view[row : row + 3, 6:26] = 60
    known = np.where(np.arange(slices) % 4 == 0, z, np.nan).astype(np.float32)
    return Series(f"series-{number}", f"patient-{number}", split, mm, known, lambda: views)


def bars(train: int = 3, val: int = 1) -> list[Series]:
    found = [bar_series(number) for number in range(train)]
    return found + [bar_series(100 + number, split=VAL) for number in range(val)]

"""Patients whose lesions have types by look, or by place: for searches that compare lesions by their pixels.

In the liver and in the fat of the belly a lesion is of type liver if it is brighter than its surroundings,
and of type abdomen if it is darker, wherever it lies. In the muscles of the back a lesion is of type soft
tissue at the height of the chest and of type pelvis at that of the hips, and looks the same.
"""

from __future__ import annotations

import numpy as np

from etl.phantom.plan import (
    ABDOMEN,
    BACK_MUSCLE,
    LIVER,
    TEST,
    TRAIN,
    VAL,
    LesionPlan,
    PatientPlan,
    RunPlan,
    SeriesPlan,
    Site,
)

BRIGHT, DARK = 4, 2
CHEST, HIPS = 7, 8
LOOKS = (BRIGHT, DARK)
"""Types that only the look tells."""
SLICES, KEY = 11, 6
INTERVAL_MM = 4.0
SMALL_MM, LARGE_MM = 9.0, 22.0
SIZE_PX = 256
_HEIGHTS_BY_LOOK = ((318.0, LIVER), (342.0, LIVER), (418.0, ABDOMEN), (436.0, ABDOMEN))
_HEIGHTS_BY_PLACE = ((196.0, CHEST), (466.0, HIPS))
_CONTRAST_HU = 130.0
_MUSCLE_LESION_HU = 175.0
_SPLITS = (TRAIN, VAL, TEST, VAL)
_WINDOWS_HU = ((-175.0, 275.0), (-1500.0, 500.0), (-500.0, 1300.0))


def looks_patients(count: int, seed: int) -> tuple[PatientPlan, ...]:
    """Return so many patients; see `looks_patient`."""
    return tuple(looks_patient(number, seed) for number in range(count))


def looks_patient(number: int, seed: int) -> PatientPlan:
    """Return a patient with four lesions whose type is their look and four whose type is their place.

    Args:
        number: 0 for the first; it decides the split.
        seed: decides looks, sizes, pixel width and display windows.
    """
    random = np.random.default_rng((seed, 31, number))
    runs: list[tuple[float, tuple[LesionPlan, ...]]] = []
    for height_mm, site in _HEIGHTS_BY_LOOK:
        kind = int(random.choice(LOOKS))
        change = _CONTRAST_HU if kind == BRIGHT else -_CONTRAST_HU
        place = Site(site.x, site.y, site.background_hu, kind)
        runs.append((height_mm, (_lesion(random, place, site.background_hu + change),)))
    for height_mm, kind in _HEIGHTS_BY_PLACE:
        sides = [
            Site(side * BACK_MUSCLE.x, BACK_MUSCLE.y, BACK_MUSCLE.background_hu, kind) for side in (-1, 1)
        ]
        runs.append((height_mm, tuple(_lesion(random, side, _MUSCLE_LESION_HU) for side in sides)))
    return PatientPlan(
        _SPLITS[number % len(_SPLITS)],
        "MF"[number % 2],
        int(random.integers(30, 80)),
        tuple(
            SeriesPlan(
                1,
                1 + at,
                round(float(random.uniform(1.3, 1.6)), 4),
                (RunPlan(1, SLICES, INTERVAL_MM, height_mm - (KEY - 1) * INTERVAL_MM, lesions),),
                size=SIZE_PX,
                window_hu=_WINDOWS_HU[int(random.integers(len(_WINDOWS_HU)))],
            )
            for at, (height_mm, lesions) in enumerate(runs)
        ),
    )


def _lesion(random: np.random.Generator, site: Site, hu: float) -> LesionPlan:
    size_mm = float(random.choice((SMALL_MM, LARGE_MM)))
    return LesionPlan(KEY, site, size_mm, 0.85 * size_mm, size_mm, hu)

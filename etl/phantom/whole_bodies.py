"""Patients of the synthetic release who were imaged from the lungs to the hips, with lesions all along."""

from __future__ import annotations

from etl.phantom.plan import (
    ABDOMEN,
    BACK_MUSCLE,
    BONE,
    KIDNEY,
    LEFT_LUNG,
    LIVER,
    MEDIASTINUM,
    PELVIS,
    RIGHT_LUNG,
    TEST,
    TRAIN,
    VAL,
    LesionPlan,
    PatientPlan,
    RunPlan,
    SeriesPlan,
)

# Heights of the lesions of a whole body, each at its site.
_WHOLE_SITES = (
    (40, RIGHT_LUNG), (80, LEFT_LUNG), (118, MEDIASTINUM), (150, RIGHT_LUNG), (190, LEFT_LUNG),
    (225, RIGHT_LUNG), (260, BACK_MUSCLE), (295, LIVER), (330, LIVER), (365, ABDOMEN), (390, KIDNEY),
    (425, ABDOMEN), (465, BACK_MUSCLE), (499, PELVIS), (530, BONE),
)  # fmt: skip
_WHOLE_SPLITS = (TRAIN, TRAIN, TEST, TRAIN, VAL)


def whole_body(number: int) -> PatientPlan:
    """Return a patient who was imaged from the lungs to the hips in one run, with lesions all along it.

    Args:
        number: 0 for the first; it decides split, slice interval and pixel width.
    """
    interval_mm, first_mm = (10.0, 8.0, 5.0)[number % 3], 14.0 + 3 * (number % 5)
    lesions = tuple(
        LesionPlan(1 + round((z_mm - first_mm) / interval_mm), site, 15, 12, 2 * interval_mm, 190)
        for z_mm, site in _WHOLE_SITES
    )
    run = RunPlan(1, 1 + int((542 - first_mm) / interval_mm), interval_mm, first_mm, lesions)
    pixel_mm = (0.703125, 0.78125, 0.859375, 0.9375)[number % 4]
    series = SeriesPlan(1, 1, pixel_mm, (run,))
    return PatientPlan(_WHOLE_SPLITS[number % 5], "MF"[number % 2], 60, (series,))


def whole_body_patients(count: int) -> tuple[PatientPlan, ...]:
    """Return so many of them; of five, three are of train, one of test and one of val."""
    return tuple(whole_body(number) for number in range(count))

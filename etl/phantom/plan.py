"""The content of the synthetic release: patients, series, runs of slices and positions of lesions.

The eight patients below have every oddity of the real release; further patients repeat the ordinary ones.
Random numbers are seeded by (seed, patient, study, series), so a patient does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import numpy as np

from etl.phantom.anatomy import (
    CHEST_HU,
    FAT_HU,
    KIDNEY_HU,
    LIVER_HU,
    LUNG_HU,
    MARROW_HU,
    MUSCLE_HU,
    SKIN_FAT_HU,
    Body,
    Grid,
)
from etl.phantom.lesions import Lesion
from etl.release.names import SeriesKey

TRAIN, VAL, TEST = 1, 2, 3


class Site(NamedTuple):
    """A site for a lesion in the standard body: x and y in mm, the HU around it, the CSV's type code."""

    x: float
    y: float
    background_hu: float
    coarse_type: int


RIGHT_LUNG = Site(-76, 8, LUNG_HU, 5)
LEFT_LUNG = Site(78, 6, LUNG_HU, 5)
MEDIASTINUM = Site(0, -34, CHEST_HU, 3)
LIVER = Site(-62, -8, LIVER_HU, 4)
KIDNEY = Site(58, 35, KIDNEY_HU, 6)
ABDOMEN = Site(18, -44, FAT_HU, 2)
PELVIS = Site(44, -16, FAT_HU, 8)
BONE = Site(0, 58, MARROW_HU, 1)
BACK_MUSCLE = Site(40, 78, MUSCLE_HU, 7)
# Placed at a distance from the right edge of the image, not by x.
IMAGE_EDGE = Site(0, 4, SKIN_FAT_HU, 7)
IMAGE_EDGE_PX = 6.2


class LesionPlan(NamedTuple):
    """Key slice, site, full diameters (long, short, along z) in mm, value in HU."""

    slice_index: int
    site: Site
    long_mm: float
    short_mm: float
    depth_mm: float
    hu: float
    noisy: bool = False


class RunPlan(NamedTuple):
    """The slices of one Slice_range of the CSV: their interval, the height of the first, their lesions."""

    first: int
    last: int
    interval_mm: float
    z_first_mm: float
    lesions: tuple[LesionPlan, ...]


class SeriesPlan(NamedTuple):
    """One series. `missing` are slices that the CSV promises and the archives lack."""

    study: int
    series: int
    pixel_mm: float
    runs: tuple[RunPlan, ...]
    size: int = 512
    padding_hu: int = -1024
    missing: tuple[int, ...] = ()
    window_hu: tuple[float, float] = (-175, 275)


class PatientPlan(NamedTuple):
    """One patient; `age_years` is None where the CSV prints NaN."""

    split: int
    sex: str
    age_years: int | None
    series: tuple[SeriesPlan, ...]


_P = LesionPlan
_LUNG_WINDOW = (-1500.0, 500.0)
PATIENTS = (
    PatientPlan(TEST, "F", 62, (
        SeriesPlan(1, 1, 0.703125, (RunPlan(103, 115, 5, 182, (
            _P(108, LEFT_LUNG, 13, 10, 12, 140), _P(108, BACK_MUSCLE, 11, 9, 12, 170),
            _P(109, RIGHT_LUNG, 30, 24, 28, 60))),)),
    )),
    PatientPlan(TRAIN, "M", 55, (
        SeriesPlan(1, 1, 0.859375, (RunPlan(20, 45, 2.5, 302, (
            _P(26, LIVER, 14, 11, 13, 205), _P(39, BACK_MUSCLE, 12, 8, 11, 175))),),
            padding_hu=-2048, missing=(33,)),
        SeriesPlan(2, 1, 0.8125, (RunPlan(8, 19, 5, 290, (_P(13, LIVER, 21, 17, 20, 205),)),)),
    )),
    PatientPlan(VAL, "F", 51, (
        SeriesPlan(1, 1, 0.742188, (
            RunPlan(30, 59, 1, 350, (_P(44, KIDNEY, 12, 9, 12, 240), _P(46, ABDOMEN, 15, 11, 14, 60))),
            RunPlan(80, 91, 5, 400, (_P(85, ABDOMEN, 24, 18, 22, 65),)))),
    )),
    PatientPlan(TEST, "M", 47, (
        SeriesPlan(1, 1, 0.625, (RunPlan(5, 18, 3, 484, (
            _P(10, PELVIS, 17, 13, 15, 65), _P(12, BONE, 10, 8, 10, 700))),), size=768),
    )),
    PatientPlan(TRAIN, "M", 68, (
        SeriesPlan(1, 1, 0.664062, (RunPlan(985, 1016, 1, 100, (
            _P(992, RIGHT_LUNG, 6, 5, 6, 120), _P(1003, MEDIASTINUM, 16, 12, 14, 165))),)),
    )),
    PatientPlan(TRAIN, "F", None, (
        SeriesPlan(1, 2, 0.605469, (RunPlan(1, 16, 5, 252, (
            _P(7, IMAGE_EDGE, 6.5, 6, 9, 60), _P(10, LIVER, 18, 14, 18, 205))),),
            padding_hu=-3024, window_hu=(-182.5, 322.5)),
    )),
    PatientPlan(VAL, "M", 73, (
        SeriesPlan(1, 1, 0.78125, (RunPlan(60, 95, 1.25, 90, (
            _P(72, LEFT_LUNG, 8, 7, 8, 130), _P(80, MEDIASTINUM, 14, 12, 13, 165, noisy=True))),),
            window_hu=_LUNG_WINDOW),
        SeriesPlan(2, 1, 0.976562, (RunPlan(10, 22, 5, 352, (_P(15, KIDNEY, 14, 11, 13, 240),)),)),
    )),
    PatientPlan(TEST, "F", 39, (
        SeriesPlan(1, 1, 0.691406, (RunPlan(200, 259, 1, 330, (
            _P(221, LIVER, 10, 8, 9, 200), _P(240, KIDNEY, 15, 12, 14, 240))),)),
        SeriesPlan(1, 2, 0.898438, (RunPlan(40, 56, 4, 440, (_P(47, BACK_MUSCLE, 16, 12, 16, 175),)),)),
    )),
)  # fmt: skip
_ORDINARY = (4, 0, 7)


@dataclass(frozen=True)
class Run:
    """One range of slices with its geometry and lesions, in the order of `RunPlan.lesions`."""

    plan: RunPlan
    lesions: tuple[Lesion, ...]

    def z_mm(self, slice_index: float) -> float:
        """Return the height of a slice in the body."""
        return self.plan.z_first_mm + (slice_index - self.plan.first) * self.plan.interval_mm

    def slice_index(self, z_mm: float) -> float:
        """Return the fractional slice index at a height."""
        return self.plan.first + (z_mm - self.plan.z_first_mm) / self.plan.interval_mm


@dataclass(frozen=True)
class Series:
    """A series to be written: its key, pixel grid, body and runs."""

    key: SeriesKey
    patient: PatientPlan
    plan: SeriesPlan
    grid: Grid
    body: Body
    runs: tuple[Run, ...]

    def slices(self) -> tuple[tuple[int, Run], ...]:
        """Return the slice numbers that the archives hold, ascending, with their runs."""
        return tuple(
            (index, run)
            for run in self.runs
            for index in range(run.plan.first, run.plan.last + 1)
            if index not in self.plan.missing
        )


def _body(seed: int, patient: int) -> Body:
    rng = np.random.default_rng((seed, patient))
    vessels = []
    for side in (-1, 1):
        for _ in range(9):
            x, y = side * rng.uniform(45, 100), rng.uniform(-40, 45)
            dx, dy = -side * rng.uniform(-0.05, 0.12), rng.uniform(-0.08, 0.08)
            vessels.append((float(x - 130 * dx), float(y - 130 * dy), float(dx), float(dy)))
    return Body(float(rng.uniform(0.97, 1.03)), tuple(vessels))


def _lesion(rng: np.random.Generator, planned: LesionPlan, run: RunPlan, grid: Grid, body: Body) -> Lesion:
    shift_x, shift_y, shift_z = rng.uniform((-2, -2, -0.35), (2, 2, 0.35))
    x = planned.site.x * body.scale + shift_x
    if planned.site is IMAGE_EDGE:
        x = grid.to_mm(grid.size - IMAGE_EDGE_PX + shift_x / 10)
    long, short, depth = np.array((planned.long_mm, planned.short_mm, planned.depth_mm)) * rng.uniform(
        0.96, 1.04
    )
    return Lesion(
        centre_mm=(
            float(x),
            float(planned.site.y * body.scale + shift_y),
            float(run.z_first_mm + (planned.slice_index + shift_z - run.first) * run.interval_mm),
        ),
        half_mm=(float(long / 2), float(short / 2), float(depth / 2)),
        angle_rad=float(rng.uniform(0, pi)),
        hu=planned.hu,
        background_hu=planned.site.background_hu,
        coarse_type=planned.site.coarse_type,
    )


def _followed_up(patient: PatientPlan, followups: int) -> tuple[SeriesPlan, ...]:
    """Return a patient's series and, for each follow-up, all of them again in later studies, lesions changed.

    In every follow-up each second lesion of a run grows by a fifth and the others shrink by a fifth.
    """
    studies = max(series.study for series in patient.series)
    planned = list(patient.series)
    for time in range(1, followups + 1):
        for series in patient.series:
            runs = tuple(run._replace(lesions=_changed(run.lesions, time)) for run in series.runs)
            planned.append(series._replace(study=series.study + time * studies, runs=runs))
    return tuple(planned)


def _changed(lesions: tuple[LesionPlan, ...], time: int) -> tuple[LesionPlan, ...]:
    changed = []
    for at, lesion in enumerate(lesions):
        factor = (0.8 if at % 2 else 1.2) ** time
        long, short, depth = (size * factor for size in (lesion.long_mm, lesion.short_mm, lesion.depth_mm))
        changed.append(lesion._replace(long_mm=long, short_mm=short, depth_mm=depth))
    return tuple(changed)


def plan_release(
    patients: int, seed: int, followups: int = 0, further: Sequence[PatientPlan] = ()
) -> tuple[Series, ...]:
    """Return the series of a synthetic release, in the order of their names.

    Args:
        patients: number of patients, 1 or more.
        seed: moves lesions by parts of a voxel, turns and scales them, and reshapes bodies.
        followups: how often each patient is imaged again, with lesions that grow or shrink.
        further: patients after these.
    """
    planned = []
    for number in range(1, patients + len(further) + 1):
        if number > patients:
            patient = further[number - patients - 1]
        elif number <= len(PATIENTS):
            patient = PATIENTS[number - 1]
        else:
            patient = PATIENTS[_ORDINARY[number % len(_ORDINARY)]]
        body = _body(seed, number)
        for series in _followed_up(patient, followups):
            grid = Grid(series.size, series.pixel_mm)
            rng = np.random.default_rng((seed, number, series.study, series.series))
            runs = tuple(
                Run(run, tuple(_lesion(rng, lesion, run, grid, body) for lesion in run.lesions))
                for run in series.runs
            )
            key = SeriesKey(number, series.study, series.series)
            planned.append(Series(key, patient, series, grid, body, runs))
    return tuple(planned)

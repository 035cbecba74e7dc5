"""Rows of DL_info.csv for the synthetic release, formatted as the official one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from math import cos, sin
from typing import NamedTuple

from etl.imaging.body import measure_masks
from etl.imaging.hounsfield import to_hu
from etl.imaging.location import norm_location
from etl.phantom.lesions import Lesion
from etl.phantom.plan import TRAIN, LesionPlan, Run, Series
from etl.phantom.slices import Stored
from etl.release.annotation_columns import COLUMNS
from etl.release.names import file_name

BOX_MARGIN_PX = 5


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


class Measurement(NamedTuple):
    """The marks of a reader on the key slice: points (x, y), 1-based pixels, as printed."""

    recist_px: tuple[float, ...]
    box_px: tuple[float, float, float, float]
    diameters_px: tuple[float, float]


def measure(series: Series, run: Run, planned: LesionPlan, lesion: Lesion) -> Measurement:
    """Return RECIST lines along the axes of the lesion's section by its key slice, and their box."""
    pixel_mm = series.grid.pixel_mm
    x, y = (series.grid.to_px(centre) for centre in lesion.centre_mm[:2])
    long, short = (half / pixel_mm for half in lesion.cross_section_mm(run.z_mm(planned.slice_index)))
    turn_x, turn_y = cos(lesion.angle_rad), sin(lesion.angle_rad)
    points = (
        x - long * turn_x, y - long * turn_y, x + long * turn_x, y + long * turn_y,
        x + short * turn_y, y - short * turn_x, x - short * turn_y, y + short * turn_x,
    )  # fmt: skip
    box = (
        min(points[::2]) - BOX_MARGIN_PX, min(points[1::2]) - BOX_MARGIN_PX,
        max(points[::2]) + BOX_MARGIN_PX, max(points[1::2]) + BOX_MARGIN_PX,
    )  # fmt: skip
    return Measurement(points, box, (2 * long, 2 * short))


def normalised_location(
    series: Series, stored: Stored, box_px: Sequence[float], z_mm: float
) -> tuple[float, float, float]:
    """Return the lesion's relative position as the release publishes it; z grows from head to feet."""
    mask = measure_masks(to_hu(stored), (series.grid.pixel_mm,) * 2)["location"]
    x1, y1, x2, y2 = (float(f"{value:g}") for value in box_px)
    x = norm_location("x", x1, x2, mask["column_first"], mask["column_last"])
    y = norm_location("y", y1, y2, mask["row_first"], mask["row_last"])
    return float(x), float(y), 0.30 + 0.00076 * z_mm


def csv_row(
    series: Series, run: Run, planned: LesionPlan, lesion: Lesion, key_slice: Stored
) -> tuple[str, ...]:
    """Return one row of DL_info.csv, in the order of `COLUMNS`."""
    patient, interval_mm = series.patient, run.plan.interval_mm
    measured = measure(series, run, planned, lesion)
    location = normalised_location(series, key_slice, measured.box_px, run.z_mm(planned.slice_index))
    return (
        file_name(series.key, planned.slice_index),
        *(str(number) for number in (*series.key, planned.slice_index)),
        _numbers(measured.recist_px),
        _numbers(measured.box_px),
        _numbers(measured.diameters_px),
        _numbers(location),
        str(-1 if patient.split == TRAIN else lesion.coarse_type),
        str(int(planned.noisy)),
        f"{run.plan.first}, {run.plan.last}",
        _numbers((series.grid.pixel_mm, series.grid.pixel_mm, interval_mm)),
        f"{series.grid.size}, {series.grid.size}",
        _numbers(series.plan.window_hu),
        patient.sex,
        "NaN" if patient.age_years is None else str(patient.age_years),
        str(patient.split),
    )


def format_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Return DL_info.csv: header and rows, with the official quoting and line ends."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue().encode("ascii")

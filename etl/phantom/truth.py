"""The content of a synthetic release, to compare with the result of reading it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from etl.core.errors import ConfigError
from etl.phantom.archives import all_slices
from etl.phantom.lesions import Lesion
from etl.phantom.looks import looks_patients
from etl.phantom.plan import LesionPlan, Run, Series, Site, plan_release
from etl.phantom.rows import measure
from etl.phantom.whole_bodies import whole_body_patients
from etl.release.names import file_name

MOST_FOLLOWUPS = 3
"""Lesions that grow more often would reach the organs around them."""


@dataclass(frozen=True)
class PhantomLesion:
    """The truth about one lesion, an ellipsoid with one axis along z.

    Attributes:
        lesion_id: 0-based row of DL_info.csv.
        file_name: its key slice, as the CSV names it.
        series_id: `PPPPPP_SS_RR`.
        slice_index: key slice, the one nearest the centre.
        run_first, run_last: run of consecutive slices in the archives that holds it; shorter than the
            CSV's Slice_range if a slice is missing.
        spacing_mm: (x, y, z): pixel width, pixel height, slice interval.
        centre_px: (x, y), 1-based, as the CSV counts pixels.
        centre_slice: fractional slice index of the centre.
        diameter_mm, short_diameter_mm: diameters of the ellipsoid in the slice's plane.
        depth_mm: diameter of the ellipsoid along z.
        long_diameter_px, short_diameter_px: diameters of its section by the key slice, as in the CSV.
        hu, background_hu: values of the lesion and of its surroundings. If it is thinner than two slice
            intervals, averaging over slices lowers the contrast in the image but keeps the centroid.
        clear_radius_mm, clear_half_depth_mm: size of a cylinder around the centre that holds only lesion,
            background and noise, within the run and the scanner's circle.
        coarse_type: 1..8, even if the CSV has -1.
    """

    lesion_id: int
    file_name: str
    series_id: str
    slice_index: int
    run_first: int
    run_last: int
    spacing_mm: tuple[float, float, float]
    centre_px: tuple[float, float]
    centre_slice: float
    diameter_mm: float
    short_diameter_mm: float
    depth_mm: float
    long_diameter_px: float
    short_diameter_px: float
    hu: float
    background_hu: float
    clear_radius_mm: float
    clear_half_depth_mm: float
    coarse_type: int
    noisy: bool
    box_past_edge: bool


@dataclass(frozen=True)
class PhantomTruth:
    """The content of a synthetic release.

    Attributes:
        patients, archives, seed, extracted, followups, looks, whole_bodies: arguments of `write_phantom`.
        series, slices: numbers of series and slices in the archives.
        volumes: number of maximal runs of consecutive slices.
        missing_slices: file names of slices that the CSV promises and the archives lack.
        lesions: in the order of DL_info.csv.
        sequences: lesion_ids of each lesion over its patient's studies, also of those seen once.
    """

    patients: int
    archives: int
    seed: int
    extracted: bool
    followups: int
    looks: int
    whole_bodies: int
    series: int
    slices: int
    volumes: int
    missing_slices: tuple[str, ...]
    lesions: tuple[PhantomLesion, ...]
    sequences: tuple[tuple[int, ...], ...]


def _truth_of_lesion(
    series: Series, run: Run, planned: LesionPlan, lesion: Lesion, lesion_id: int
) -> PhantomLesion:
    size, pixel_mm, interval_mm = *series.grid, run.plan.interval_mm
    measured = measure(series, run, planned, lesion)
    gaps_before = [index for index in series.plan.missing if run.plan.first <= index < planned.slice_index]
    gaps_after = [index for index in series.plan.missing if planned.slice_index < index <= run.plan.last]
    x1, y1, x2, y2 = measured.box_px
    return PhantomLesion(
        lesion_id=lesion_id,
        file_name=file_name(series.key, planned.slice_index),
        series_id=str(series.key),
        slice_index=planned.slice_index,
        run_first=max(gaps_before) + 1 if gaps_before else run.plan.first,
        run_last=min(gaps_after) - 1 if gaps_after else run.plan.last,
        spacing_mm=(pixel_mm, pixel_mm, float(interval_mm)),
        centre_px=(series.grid.to_px(lesion.centre_mm[0]), series.grid.to_px(lesion.centre_mm[1])),
        centre_slice=run.slice_index(lesion.centre_mm[2]),
        diameter_mm=2 * lesion.half_mm[0],
        short_diameter_mm=2 * lesion.half_mm[1],
        depth_mm=2 * lesion.half_mm[2],
        long_diameter_px=measured.diameters_px[0],
        short_diameter_px=measured.diameters_px[1],
        hu=float(lesion.hu),
        background_hu=float(lesion.background_hu),
        clear_radius_mm=lesion.clear_radius_mm(),
        clear_half_depth_mm=lesion.clear_half_depth_mm(interval_mm),
        coarse_type=lesion.coarse_type,
        noisy=planned.noisy,
        box_past_edge=min(x1, y1) < 0.5 or max(x2, y2) > size + 0.5,
    )


def planned_rows(release: tuple[Series, ...]) -> list[tuple[Series, Run, LesionPlan, Lesion]]:
    """Return every lesion in the order of the CSV."""
    return [
        (series, run, planned, lesion)
        for series in release
        for run in series.runs
        for planned, lesion in zip(run.plan.lesions, run.lesions, strict=True)
    ]


def phantom_truth(
    *,
    patients: int = 8,
    archives: int = 3,
    seed: int = 0,
    extracted: bool = False,
    followups: int = 0,
    looks: int = 0,
    whole_bodies: int = 0,
) -> PhantomTruth:
    """Return the truth about the release that `write_phantom` writes for the same arguments.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "arguments of the synthetic release"
    if not 1 <= patients <= 9999:
        raise ConfigError("wrong number of patients", where=where, value=patients, allowed="1 to 9999")
    if not 0 <= seed < 2**32:
        raise ConfigError("wrong seed", where=where, value=seed, allowed="0 to 4294967295")
    if not 0 <= followups <= MOST_FOLLOWUPS:
        raise ConfigError(
            "wrong number of follow-ups", where=where, value=followups, allowed=f"0 to {MOST_FOLLOWUPS}"
        )
    if not 0 <= looks <= 999:
        raise ConfigError("wrong number of patients with looks", where=where, value=looks, allowed="0 to 999")
    if not 0 <= whole_bodies <= 99:
        raise ConfigError("wrong number of whole bodies", where=where, value=whole_bodies, allowed="0 to 99")
    further = (*looks_patients(looks, seed), *whole_body_patients(whole_bodies))
    release = plan_release(patients, seed, followups, further)
    slices = [(series.key, index) for series, _, index in all_slices(release)]
    if not 1 <= archives <= min(99, len(slices)):
        raise ConfigError(
            "wrong number of archives",
            where=where,
            value=archives,
            allowed=f"1 to {min(99, len(slices))} for the {len(slices)} slices of {patients} patients",
        )
    before = set(slices)
    return PhantomTruth(
        patients=patients,
        archives=archives,
        seed=seed,
        extracted=extracted,
        followups=followups,
        looks=looks,
        whole_bodies=whole_bodies,
        series=len(release),
        slices=len(slices),
        volumes=sum((key, index - 1) not in before for key, index in slices),
        missing_slices=tuple(
            file_name(series.key, index) for series in release for index in series.plan.missing
        ),
        lesions=tuple(
            _truth_of_lesion(*row, lesion_id) for lesion_id, row in enumerate(planned_rows(release))
        ),
        sequences=_sequences(release),
    )


def _sequences(release: tuple[Series, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the lesion_ids of each lesion over a patient's studies.

    One site holds one lesion; a second one there in the same study is another lesion.
    """
    found: dict[tuple[int, Site, int], list[int]] = {}
    seen: Counter[tuple[int, int, Site]] = Counter()
    for lesion_id, (series, _, planned, _) in enumerate(planned_rows(release)):
        patient, study, _ = series.key
        found.setdefault((patient, planned.site, seen[patient, study, planned.site]), []).append(lesion_id)
        seen[patient, study, planned.site] += 1
    return tuple(sorted(tuple(lesion_ids) for lesion_ids in found.values()))

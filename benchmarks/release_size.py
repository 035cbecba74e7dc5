"""A synthetic release of the official size without pixels: its annotations and its slice index.

It is random, from a seed. Its counts are those of the release: 928,020 slices in 20,094 runs of 14,601 series
of 4,427 patients, 32,735 lesions. Lengths and intervals follow the published rows: half of the runs at 1 mm,
half at 5 mm, 4 to 545 slices, one series in four with several runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from etl.phantom.rows import format_rows
from etl.release.index import SLICE_DTYPE, Container, SliceIndex
from etl.release.names import SeriesKey, file_name

ARCHIVES = 56
_STORED_BYTES = 257_000
_SHORTEST, _LONGEST = 4, 545


@dataclass(frozen=True)
class Size:
    """The counts of a release."""

    patients: int
    series: int
    runs: int
    slices: int
    lesions: int

    def scaled(self, part: float) -> Size:
        """Return a part of this size."""
        return Size(*(max(round(n * part), 1) for n in vars(self).values()))


FULL = Size(patients=4_427, series=14_601, runs=20_094, slices=928_020, lesions=32_735)


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs in order: `series` (n, 3) is patient, study and series; first and last slice; slice interval."""

    series: np.ndarray
    first: np.ndarray
    last: np.ndarray
    interval_mm: np.ndarray


def make_runs(size: Size, seed: int = 0) -> Runs:
    """Make runs with exactly `size.slices` slices; needs runs >= series >= patients."""
    rng = np.random.default_rng(seed)
    fine = rng.random(size.runs) < 0.5
    length = rng.lognormal(np.where(fine, 4.0, 3.1), np.where(fine, 0.6, 0.4))
    length = np.clip(np.rint(length * size.slices / length.sum()), _SHORTEST, _LONGEST).astype(np.int64)
    while missing := size.slices - int(length.sum()):
        step = np.sign(missing)
        room = np.flatnonzero(length < _LONGEST if step > 0 else length > _SHORTEST)
        length[rng.choice(room, min(abs(missing), len(room)), replace=False)] += step
    owner = _shared_out(size.runs, size.series, rng)
    patient = _shared_out(size.series, size.patients, rng)
    within = np.arange(size.series) - np.searchsorted(patient, patient)
    keys = np.stack([patient + 1, within // 4 + 1, within % 4 + 1], axis=1)[owner]
    gap = np.where(
        np.diff(owner, prepend=-1) == 0, rng.integers(1, 60, size.runs), rng.integers(1, 120, size.runs)
    )
    before = np.cumsum(gap + length) - length
    starts = np.searchsorted(owner, owner)
    first = before - (np.cumsum(gap + length) - gap - length)[starts]
    return Runs(keys, first, first + length - 1, np.where(fine, 1.0, 5.0))


def _shared_out(things: int, owners: int, rng: np.random.Generator) -> np.ndarray:
    """Return the owner of each thing, ascending; every owner has at least one."""
    rest = rng.integers(0, owners, things - owners)
    return np.sort(np.concatenate([np.arange(owners), rest]))


def make_index(runs: Runs, seed: int = 0) -> SliceIndex:
    """Return the slice index of archives that hold the runs."""
    rng = np.random.default_rng((seed, 1))
    length = runs.last - runs.first + 1
    total = int(length.sum())
    slices = np.zeros(total, SLICE_DTYPE)
    owner = np.repeat(np.arange(len(length)), length)
    for column, name in enumerate(SeriesKey._fields):
        slices[name] = runs.series[owner, column]
    slices["index"] = runs.first[owner] + np.arange(total) - (np.cumsum(length) - length)[owner]
    slices["container"] = np.arange(total) * ARCHIVES // total
    stored = rng.normal(_STORED_BYTES, 25_000, total).astype(np.int64)
    slices["bytes"] = slices["stored_bytes"] = stored
    end = np.cumsum(stored + 100)
    starts = np.searchsorted(slices["container"], np.arange(ARCHIVES))
    base = np.concatenate([[0], end])[starts]
    slices["end"] = end - base[slices["container"]]
    slices["offset"] = slices["end"] - stored - 100
    slices["crc32"] = rng.integers(0, 2**32, total, dtype=np.uint32)
    counts = np.bincount(slices["container"], minlength=ARCHIVES).tolist()
    containers = tuple(
        Container(
            f"/Images_png_{n:02d}.zip", f"Images_png_{n:02d}.zip", True, 4_250_000_000, count, f"{n:064x}"
        )
        for n, count in enumerate(counts, 1)
    )
    return SliceIndex(containers, slices, (), total)


def make_csv(runs: Runs, lesions: int, seed: int = 0) -> bytes:
    """Return DL_info.csv of the runs; every run has a lesion, as in the release."""
    rng = np.random.default_rng((seed, 2))
    count = len(runs.first)
    owner = np.sort(np.concatenate([np.arange(count), rng.integers(0, count, max(lesions - count, 0))]))
    spacing = rng.uniform(0.6, 0.98, count).round(6)
    split = rng.choice([1, 2, 3], p=[0.7, 0.15, 0.15], size=int(runs.series[:, 0].max()) + 1)
    rows = []
    for run, points, place in zip(
        owner.tolist(), rng.uniform(60, 440, (len(owner), 2)), rng.random((len(owner), 4)), strict=True
    ):
        key = SeriesKey(*runs.series[run].tolist())
        first, last, (x, y) = int(runs.first[run]), int(runs.last[run]), points.round(3).tolist()
        key_slice = first + int(place[3] * (last - first + 1))
        half = 4 + 20 * float(place[0])
        ends = (x - half, y, x + half, y, x, y - half / 2, x, y + half / 2)
        box = (x - half - 5, y - half / 2 - 5, x + half + 5, y + half / 2 + 5)
        in_split = int(split[key.patient])
        rows.append(
            (
                file_name(key, key_slice),
                *map(str, (*key, key_slice)),
                _printed(ends),
                _printed(box),
                _printed((2 * half, half)),
                _printed(place[:3].tolist()),
                str(-1 if in_split == 1 else 1 + int(8 * place[1])),
                "0",
                f"{first}, {last}",
                _printed((spacing[run], spacing[run], runs.interval_mm[run])),
                "512, 512",
                "-175, 275",
                "MF"[key.patient % 2],
                str(20 + key.patient % 60),
                str(in_split),
            )
        )
    return format_rows(rows)


def _printed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)

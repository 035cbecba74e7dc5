"""One volume on one core: this project, the lower bound, a tuned script, and the usual NIfTI route."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import (
    chunks_of,
    decode_with_opencv,
    floor,
    resample_with_simpleitk,
    today,
    tuned,
    use_one_thread,
)
from benchmarks.sample import IMAGE, SLICES, Sample, convert, make_sample, stored_level
from benchmarks.timing import Timing, cpu_ratio, ratio, rounds
from etl.convert.convert import encoding_of
from etl.core.config import Volume
from etl.imaging.body import measure_masks
from etl.imaging.hounsfield import to_hu
from etl.imaging.png import read_chunks, read_png
from etl.store.volumes import blosc

MAX_DIFFERENCE_HU = 0.51
LINEAR = Volume(antialias=False)


def measure(folder: Path, repeats: int = 7, slices: int = SLICES, linear: Volume = LINEAR) -> dict[str, Any]:
    """Measure times and ratios of one volume's conversion, from PNG files to a volume on disk.

    Args:
        folder: working folder for slices and outputs.
        slices: number of slices in the volume.
        linear: parameters whose output has to equal SimpleITK's.

    Raises:
        ValueError: the outputs are not equal, so their times can't be compared.
    """
    use_one_thread()
    sample = make_sample(folder, linear, slices)
    run, png = sample.planned, sample.png
    checked = folder / "checked"
    voxels = np.asarray(stored_level(checked, convert(sample, linear, checked))[...])
    difference = _difference(sample, voxels, linear.clip_hu)
    chunk, clip = linear.chunk, linear.clip_hu
    chunks = chunks_of(voxels, chunk, clip[0])
    codec, copied = blosc(encoding_of(linear)), np.empty_like(voxels)
    streams = [read_chunks(data, IMAGE)[1] for data in png]
    inflated = IMAGE[0] * (1 + 2 * IMAGE[1])
    source, shape, target = run.source_spacing_mm, run.shape, run.spacing_mm

    hu = [to_hu(read_png(data, IMAGE)) for data in png]

    def ours(volume: Volume) -> None:
        # Our conversion would reuse its output; the others overwrite theirs.
        shutil.rmtree(folder / "store", ignore_errors=True)
        convert(sample, volume, folder / "store")

    cubic = Volume(interpolation="cubic", antialias=True)
    times = rounds(
        {
            "ours": lambda: ours(linear),
            "default": lambda: ours(Volume()),
            "cubic": lambda: ours(cubic),
            "masks": lambda: [measure_masks(one, source[1:]) for one in hu],
            "floor": lambda: floor(streams, inflated, voxels, copied, chunks, codec),
            "tuned": lambda: tuned(png, source, shape, target, clip, chunk, folder / "tuned.zarr"),
            "today": lambda: today(png, source, shape, target, clip, folder),
        },
        repeats,
    )
    return _summary(sample, times, difference)


def _difference(sample: Sample, voxels: np.ndarray, clip_hu: tuple[int, int]) -> float:
    """Return the greatest difference in HU from SimpleITK's result in floating point."""
    run = sample.planned
    hu = np.clip(decode_with_opencv(sample.png), *clip_hu).astype(np.float32)
    other = resample_with_simpleitk(hu, run.source_spacing_mm, run.shape, run.spacing_mm)
    difference = float(np.abs(other - voxels).max())
    if not difference <= MAX_DIFFERENCE_HU:
        raise ValueError(
            f"our output differs by {difference} HU from SimpleITK's; allowed: at most {MAX_DIFFERENCE_HU}"
        )
    return difference


def _summary(sample: Sample, times: dict[str, Timing], difference: float) -> dict[str, Any]:
    ours = times["ours"]
    return {
        "slices": sample.kind,
        "slice_count": len(sample.files),
        "voxels": int(np.prod(sample.planned.shape)),
        "seconds": {name: timing.to_json() for name, timing in times.items()},
        "greatest_difference_hu": difference,
        "times_tuned": ratio(times["tuned"], ours),
        "times_today": ratio(times["today"], ours),
        "times_floor": ratio(ours, times["floor"]),
        "cpu_times_tuned": cpu_ratio(times["tuned"], ours),
        "cpu_times_today": cpu_ratio(times["today"], ours),
        "cpu_times_floor": cpu_ratio(ours, times["floor"]),
        "antialiased_cubic_over_linear": ratio(times["cubic"], ours),
        "masks_over_conversion": ratio(times["masks"], ours),
    }

"""Resampling takes slices as they come: in any thread, through one buffer, within the planned memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from etl.imaging.resample import task_memory_bytes
from tests.support.memory import traced_peak_bytes
from tests.support.resampling import Triple, random_volume, resampled, streamed


def test_the_same_bits_every_time_and_in_every_thread() -> None:
    volume = random_volume((9, 40, 50))
    read_only = np.frombuffer(volume.tobytes(), np.int16).reshape(volume.shape)
    in_columns = np.asfortranarray(volume)

    def run(source: np.ndarray) -> bytes:
        return resampled(source, (5.0, 0.78, 0.78), (1.0, 1.0, 1.0), "cubic", True).tobytes()

    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(run, [volume, read_only, in_columns] * 4))
    assert len(results) == 1


def test_one_buffer_may_carry_all_slices() -> None:
    volume = random_volume((9, 12, 11))

    def reusing() -> Iterator[np.ndarray]:
        buffer = np.empty(volume.shape[1:], np.int16)
        for plane in volume:
            buffer[:] = plane
            yield buffer

    spacing_in, spacing_out = (2.5, 0.7, 0.7), (1.0, 1.0, 1.0)
    planes = streamed(reusing(), volume.shape, spacing_in, spacing_out, "cubic", True)
    expected = resampled(volume, spacing_in, spacing_out, "cubic", True)
    assert [plane.tolist() for plane in planes] == expected.tolist()


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([np.zeros((4, 5), np.int16)] * 2, "2 slices came; shape .* needs 3"),
        ([], "0 slices came"),
        ([np.zeros((4, 5), np.int16)] * 4, "more slices than the 3"),
        ([np.zeros((5, 4), np.int16)] * 3, r"slice 0 is int16 \(5, 4\); expected int16 \(4, 5\)"),
        ([np.zeros((4, 5), np.uint16)] * 3, "slice 0 is uint16"),
        ([np.zeros((4, 5), np.dtype(np.int16).newbyteorder())] * 3, "slice 0 is"),
    ],
)
@pytest.mark.parametrize("spacing_out", [(1.0, 1.0, 1.0), (0.7, 2.0, 1.0)])
def test_slices_are_what_was_announced(slices: list[np.ndarray], message: str, spacing_out: Triple) -> None:
    with pytest.raises(ValueError, match=message):
        list(streamed(slices, (3, 4, 5), (1.0, 1.0, 1.0), spacing_out, antialias=True))


@pytest.mark.parametrize("clip_hu", [(0, 0), (10, -10), (-32769, 0), (0, 32768)])
def test_clip_bounds_are_in_order_and_fit(clip_hu: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"clip_hu is .*; allowed: low < high"):
        resampled(np.zeros((1, 1, 1), np.int16), (1.0,) * 3, (1.0,) * 3, clip_hu=clip_hu)


@pytest.mark.parametrize(
    ("spacing_in", "spacing_out", "interpolation"),
    [
        ((5.0, 0.78, 0.78), (1.0, 1.0, 1.0), "linear"),
        ((0.25, 0.78, 0.78), (1.0, 1.0, 1.0), "cubic"),
        ((5.0, 0.78, 0.78), (5.0, 1.5, 1.5), "nearest"),
        ((5.0, 0.78, 0.78), (5.0, 0.78, 0.78), "linear"),
    ],
)
def test_memory_is_what_was_planned(spacing_in: Triple, spacing_out: Triple, interpolation: str) -> None:
    shape = (24, 200, 220)

    def run() -> None:
        slices = (np.full(shape[1:], at, np.int16) for at in range(shape[0]))
        for _ in streamed(slices, shape, spacing_in, spacing_out, interpolation, True):
            pass

    run()  # compiles, and fills the cache of taps
    peak = traced_peak_bytes(run)
    planned = task_memory_bytes(shape, spacing_in, spacing_out, interpolation, True)
    slack = 2 * shape[1] * shape[2] + 20_000  # a generator makes the next slice while the last is still held
    assert planned - slack <= peak <= planned + slack

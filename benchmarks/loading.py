"""Speed of the data for training: samples per second through PyTorch's DataLoader, and slabs by layout."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reading import CROP, WORKERS, middle
from benchmarks.reading_release import published
from etl.store import KeySlabs, LesionCrops
from etl.store.reader import Store, open_store

BATCH = 8
# The default grid with the default chunk, and a second layout for slabs: the source's grid in flatter chunks.
LAYOUTS: tuple[tuple[str, tuple[int, int, int] | None, bool], ...] = (
    ("1 mm, default chunk", None, False),
    ("source grid, 64 x 64 x 64", (64, 64, 64), True),
    ("source grid, 16 x 128 x 128", (16, 128, 128), True),
    ("source grid, 8 x 256 x 256", (8, 256, 256), True),
    ("source grid, 4 x 512 x 512", (4, 512, 512), True),
)


def measure(
    folder: Path, seconds: float = 6.0, rounds: int = 5, series: int = 3, slices: int = 39
) -> dict[str, Any]:
    """Measure samples per second of wall time by workers and start method, and slabs by layout.

    Args:
        folder: working folder for the release and its stores.
        seconds: duration of a measurement, without the start of its workers.
        rounds: measurements of each; they take turns, and medians are returned.
        series, slices: size of the release.
    """
    store = published(folder, None, series, slices)
    return {
        "sample_cost": _sample_cost(store, seconds / 2),
        "loader_samples_per_second": _loaders(store, seconds, rounds),
        "processes_without_sending": {"two over one": _two_over_one(store, seconds / 2, rounds)},
        "slab_layouts": [
            {"layout": name} | _slabs(published(folder, chunk, series, slices, native=native), seconds / 2)
            for name, chunk, native in LAYOUTS
        ],
    }


def _sample_cost(store: Store, seconds: float) -> dict[str, float]:
    """Return CPU milliseconds of a sample of `LesionCrops`, and of reading its voxels alone."""
    crops = LesionCrops(store, size_vox=(CROP,) * 3)
    lesions = store.lesions()
    boxes = {}
    for row in lesions.itertuples():
        shape = store.array(row.volume_id).shape
        centre = (row.z_vox, middle(row, "y"), middle(row, "x"))
        corner = [
            min(max(round(c - CROP / 2), 0), max(n - CROP, 0)) for c, n in zip(centre, shape, strict=True)
        ]
        boxes[row.lesion_id] = row.volume_id, tuple(slice(c, c + CROP) for c in corner)
    reads = list(boxes.values())
    sample, read = [], []
    # In turn, so that other load on the machine affects both equally.
    for _ in range(5):
        sample.append(_cpu_ms(crops.__getitem__, range(len(crops)), seconds / 5))
        read.append(_cpu_ms(lambda place: store.array(place[0])[place[1]], reads, seconds / 5))
    found = {"sample_ms": statistics.median(sample), "voxels_ms": statistics.median(read)}
    shares = [1 - b / a for a, b in zip(sample, read, strict=True)]
    return found | {"share_besides_voxels": statistics.median(shares)}


def _cpu_ms(function: Any, items: Sequence[Any], seconds: float) -> float:
    function(items[0])
    start, count = time.process_time(), 0
    for item in itertools.cycle(items):
        function(item)
        count += 1
        if time.process_time() - start > seconds:
            break
    return 1e3 * (time.process_time() - start) / count


class Endless:
    """The samples of a dataset again and again, up to a number."""

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        return self.dataset[number % len(self.dataset)]


def _loaders(store: Store, seconds: float, rounds: int) -> dict[str, float]:
    """Return samples per second; empty without PyTorch."""
    if not importlib.util.find_spec("torch"):
        return {}
    crops = LesionCrops(store, size_vox=(CROP,) * 3)
    ways = {
        "one process": {},
        f"{WORKERS} workers, fork": {"num_workers": WORKERS, "multiprocessing_context": "fork"},
        f"{WORKERS} workers, spawn": {"num_workers": WORKERS, "multiprocessing_context": "spawn"},
    }
    first = _samples_per_second(crops, 40 * BATCH, {})
    count = BATCH * max(4, int(first * seconds / BATCH))
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, options in ways.items():
            rates[name].append(_samples_per_second(crops, count, options))
    found = {name: statistics.median(values) for name, values in rates.items()}
    for name in list(ways)[1:]:
        pairs = zip(rates[name], rates["one process"], strict=True)
        found[f"{name}, over one process"] = statistics.median(a / b for a, b in pairs)
    return found | _large_batches(store, ways[f"{WORKERS} workers, fork"], count, rounds)


def _large_batches(store: Store, options: dict[str, Any], count: int, rounds: int) -> dict[str, float]:
    """Return the speed-up of workers over one process for batches of four times the samples, by type."""
    found = {}
    for name, transform in (("float32", None), ("uint8", _as_bytes)):
        crops = LesionCrops(store, size_vox=(CROP,) * 3, transform=transform)
        ratios = []
        for _ in range(rounds):
            one, workers = (_samples_per_second(crops, count, way, 4 * BATCH) for way in ({}, options))
            ratios.append(workers / one)
        found[f"the same, batches of {4 * BATCH} {name}"] = statistics.median(ratios)
    return found


def _as_bytes(sample: dict[str, Any]) -> dict[str, Any]:
    return sample | {"image": (255 * sample["image"]).astype(np.uint8)}


def _two_over_one(store: Store, seconds: float, rounds: int) -> float:
    """Return samples per second of two processes that send nothing, over one: what the cores give."""
    read = partial(_samples_read, store.objects.root, seconds)
    ratios = []
    with get_context("spawn").Pool(WORKERS) as pool:
        pool.map(partial(_samples_read, store.objects.root, 0.1), range(4 * WORKERS), 1)
        for _ in range(rounds):
            one = pool.apply(read, (0,))
            ratios.append(sum(pool.map(read, range(WORKERS), 1)) / one)
    return statistics.median(ratios)


def _samples_read(place: str, seconds: float, first: int) -> int:
    """Return the number of samples read in some seconds of wall time."""
    crops = LesionCrops(open_store(place, cache_mb=0), size_vox=(CROP,) * 3)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        crops[(first + count) % len(crops)]
        count += 1
    return count


def _samples_per_second(dataset: Any, count: int, options: dict[str, Any], batch: int = BATCH) -> float:
    """Return samples per second, from the first batches of all workers on."""
    data = importlib.import_module("torch.utils.data")
    skipped = 2 * max(1, options.get("num_workers", 0))
    batches = iter(data.DataLoader(Endless(dataset, count + skipped * batch), batch, **options))
    for _ in range(skipped):
        next(batches)
    start, samples = time.perf_counter(), 0
    for loaded in batches:
        samples += len(loaded["image"])
    return samples / (time.perf_counter() - start)


def _slabs(store: Store, seconds: float) -> dict[str, float]:
    """Return bytes of the volumes, and CPU ms of a slab, of a crop of 64 mm and of a whole volume."""
    slabs, ids = KeySlabs(store), store.lesions(columns=["lesion_id"])["lesion_id"].tolist()
    names = store.volumes()["volume_id"].tolist()
    return {
        "bytes": int(store.volumes()["bytes"].sum()),
        "slab_ms": _cpu_ms(slabs.__getitem__, range(len(slabs)), seconds / 3),
        "crop_64_mm_ms": _cpu_ms(partial(store.crop, size_mm=64), ids, seconds / 3),
        "volume_ms": _cpu_ms(lambda name: np.asarray(store.array(name)[...]), names, seconds / 3),
    }

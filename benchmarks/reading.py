"""Reads per second of a published store: crops, key-slice slabs, planes, volumes; from disk and from S3."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr

from benchmarks.reading_release import published
from etl.store import KeySlabs, LesionCrops, VolumeCrops
from etl.store.level_voxels import LevelVoxels
from etl.store.reader import Store, open_store

CROP = 64
WORKERS = 2
CACHE_MB = 64.0
CHUNKS = ((64, 64, 64), (32, 64, 64), (16, 64, 64), (32, 32, 32), (16, 32, 32))
S3_WAIT_S = 0.02

Place = tuple[str, tuple[int, int, int]]
Crop = Callable[[Place], np.ndarray]


def measure(
    folder: Path,
    seconds: float = 3.0,
    series: int = 3,
    slices: int = 39,
    chunks: Sequence[tuple[int, int, int]] = CHUNKS,
) -> dict[str, Any]:
    """Measure reads per second of CPU time, by chunk and by reader, and crops through two loaders.

    Args:
        folder: working folder for the release, its stores, and copies in other formats.
        seconds: duration of each measurement.
        series, slices: size of the release.

    Raises:
        ValueError: readers give different voxels.
    """
    rows = []
    for chunk in chunks:
        store = published(folder, chunk, series, slices)
        rows.append(
            {"chunk": list(chunk), "bytes": int(store.volumes()["bytes"].sum())} | _rates(store, seconds)
        )
    store = published(folder, None, series, slices)
    places = _places(store)
    for volume_id in store.volumes()["volume_id"]:
        _copy(folder, volume_id, np.asarray(store.array(volume_id)))
    ways: dict[str, Crop] = {
        "store": partial(crop_of_store, store.objects.root),
        "npy": partial(crop_of_npy, folder),
        "nii_gz": partial(crop_of_nii_gz, folder),
    }
    for place in places[:4]:
        first, *others = (crop(place) for crop in ways.values())
        if not all(np.array_equal(first, other) for other in others):
            raise ValueError(f"the crops at {place} differ between the formats")
    return {
        "reading": rows,
        "reading_s3": _from_s3(folder, store, seconds),
        "crops_per_second": {name: _per_second(crop, places, seconds) for name, crop in ways.items()},
        "crops_per_second_2_loaders": _loaders(ways, places, seconds),
    }


def _rates(store: Store, seconds: float) -> dict[str, float]:
    """Return reads per second of CPU time of one store, by kind of read and reader."""
    places, ids = _places(store), store.lesions(columns=["lesion_id"])["lesion_id"].tolist()
    crops, slabs = LesionCrops(store, size_vox=(CROP,) * 3), KeySlabs(store)
    volume_ids = store.volumes()["volume_id"].tolist()
    rates = {
        "crop": _per_cpu_second(lambda place: store.array(place[0])[_box(place)], places, seconds),
        "store_crop": _per_cpu_second(lambda number: store.crop(number), ids, seconds),
        "lesion_crops": _per_cpu_second(crops.__getitem__, range(len(crops)), seconds),
        "key_slabs": _per_cpu_second(slabs.__getitem__, range(len(slabs)), seconds),
        "plane": _per_cpu_second(lambda name: _middle_plane(store.array(name)), volume_ids, seconds),
        "volume": _per_cpu_second(lambda name: store.array(name)[...], volume_ids, seconds),
    }
    cached = open_store(store.objects.root, cache_mb=CACHE_MB)
    for name, opened in (("", store), ("_cached", cached)):
        planes = [(volume_id, plane) for volume_id in volume_ids for plane in range(CROP)]
        tiles = VolumeCrops(opened)
        rates |= {
            f"next_plane{name}": _per_cpu_second(partial(_plane, opened), planes, seconds),
            f"volume_crops{name}": _per_cpu_second(tiles.__getitem__, range(len(tiles)), seconds),
        }
    others: dict[str, Crop] = {"cached": lambda place: cached.array(place[0])[_box(place)]}
    for name, read in (others | _other_readers(store)).items():
        for place in places[:2]:
            if not np.array_equal(read(place), store.array(place[0])[_box(place)]):
                raise ValueError(f"{name} reads other voxels at {place}")
        rates[f"crop_{name}"] = _per_cpu_second(read, places, seconds)
    return rates


def _plane(store: Store, place: tuple[str, int]) -> np.ndarray:
    return np.asarray(store.array(place[0])[place[1]])


def _middle_plane(voxels_hu: LevelVoxels) -> np.ndarray:
    return np.asarray(voxels_hu[len(voxels_hu) // 2])


def _other_readers(store: Store) -> dict[str, Crop]:
    """Return zarr-python and, where they are installed, tensorstore and zarrs: arrays opened once."""
    paths = {
        entry["volume_id"]: f"{store.objects.root}/{entry['path']}/0" for entry in store.version["volumes"]
    }
    arrays = {name: zarr.open_array(path, mode="r") for name, path in paths.items()}
    readers: dict[str, Crop] = {"zarr": lambda place: np.asarray(arrays[place[0]][_box(place)])}
    if importlib.util.find_spec("tensorstore"):
        readers["tensorstore"] = _by_tensorstore(paths, 0)
        readers["tensorstore_cached"] = _by_tensorstore(paths, CACHE_MB)
    if importlib.util.find_spec("zarrs"):
        importlib.import_module("zarrs")
        with zarr.config.set(
            {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.chunk_concurrent_maximum": 1}
        ):
            by_zarrs = {name: zarr.open_array(path, mode="r") for name, path in paths.items()}
        readers["zarrs"] = lambda place: np.asarray(by_zarrs[place[0]][_box(place)])
    return readers


def _by_tensorstore(paths: Mapping[str, str], cache_mb: float) -> Crop:
    tensorstore = importlib.import_module("tensorstore")
    context = tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": int(1e6 * cache_mb)},
            "data_copy_concurrency": {"limit": 1},
            "file_io_concurrency": {"limit": 1},
        }
    )
    opened = {
        name: tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}},
            open=True,
            context=context,
            recheck_cached=False,
        ).result()
        for name, path in paths.items()
    }
    return lambda place: opened[place[0]][_box(place)].read().result()


def _from_s3(folder: Path, store: Store, seconds: float) -> dict[str, float]:
    """Return milliseconds of a crop, and requests, from a test server that waits 20 ms with each request."""
    pytest, server = (importlib.import_module(name) for name in ("pytest", "tests.support.s3_server"))
    root = Path(store.objects.root)
    with pytest.MonkeyPatch.context() as patch, server.counting_s3(S3_WAIT_S) as (url, requests):
        server.use_s3(patch, url)
        bucket = server.Bucket.make("reading")
        for path in root.rglob("*"):
            if path.is_file():
                bucket.put(f"store/{path.relative_to(root)}", path.read_bytes())
        remote = open_store(f"{bucket.url}/store", cache_mb=0)
        crops = LesionCrops(remote, size_vox=(CROP,) * 3)
        before, start = len(requests), time.perf_counter()
        crops[0]
        cold = {"cold_ms": 1e3 * (time.perf_counter() - start), "cold_requests": len(requests) - before}
        for number in range(len(crops)):
            crops[number]
        before, taken = len(requests), []
        for number in itertools.islice(itertools.cycle(range(len(crops))), max(4, int(10 * seconds))):
            start = time.perf_counter()
            crops[number]
            taken.append(time.perf_counter() - start)
        return cold | {
            "warm_ms": 1e3 * statistics.median(taken),
            "warm_requests": (len(requests) - before) / len(taken),
        }


def _places(store: Store) -> list[Place]:
    """Return places of crops: around each lesion, moved at random, inside the volume."""
    rng = np.random.default_rng(0)
    shapes = store.volumes().set_index("volume_id")[["shape_z", "shape_y", "shape_x"]]
    places: list[Place] = []
    for row in store.lesions().sample(200, replace=True, random_state=0).itertuples():
        shape = shapes.loc[row.volume_id].to_numpy()
        centre = np.array([row.z_vox, *(middle(row, axis) for axis in "yx")])
        corner = np.rint(centre - CROP / 2 + rng.uniform(-8, 8, 3)).astype(int)
        z, y, x = np.clip(corner, 0, np.maximum(shape - CROP, 0)).tolist()
        places.append((str(row.volume_id), (z, y, x)))
    return places


def middle(row: Any, axis: str) -> float:
    """Return the middle of a lesion's long diameter along an axis, in voxels."""
    ends = [getattr(row, f"recist_long_{axis}{end}_vox") for end in (1, 2)]
    return float(np.mean(ends))


def _copy(folder: Path, volume_id: str, voxels: np.ndarray) -> None:
    np.save(folder / f"{volume_id}.npy", voxels)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"{volume_id}.nii.gz")


@lru_cache(maxsize=1)
def _store(path: str) -> Store:
    return open_store(path, cache_mb=0)


def crop_of_store(path: str, place: Place) -> np.ndarray:
    """Read a crop of the store with its reader."""
    return np.asarray(_store(path).array(place[0])[_box(place)])


def crop_of_npy(folder: Path, place: Place) -> np.ndarray:
    """Read a crop of a memory map of uncompressed voxels."""
    return np.array(np.load(folder / f"{place[0]}.npy", mmap_mode="r")[_box(place)])


def crop_of_nii_gz(folder: Path, place: Place) -> np.ndarray:
    """Read a crop of a .nii.gz file, which has to be inflated from its beginning."""
    image = nibabel.Nifti1Image.from_filename(folder / f"{place[0]}.nii.gz")
    return np.asarray(image.dataobj[_box(place)], dtype=np.int16)


def _box(place: Place) -> tuple[slice, slice, slice]:
    z, y, x = place[1]
    return slice(z, z + CROP), slice(y, y + CROP), slice(x, x + CROP)


def _rate(
    clock: Callable[[], float], function: Callable[[Any], object], items: Sequence[Any], seconds: float
) -> float:
    """Return calls per second of a clock: the median of three measurements, after one call untimed."""
    function(items[0])
    rates = []
    for _ in range(3):
        start, count = clock(), 0
        for item in itertools.cycle(items):
            function(item)
            count += 1
            if clock() - start > seconds / 3:
                break
        rates.append(count / (clock() - start))
    return statistics.median(rates)


_per_cpu_second = partial(_rate, time.process_time)
_per_second = partial(_rate, time.perf_counter)


def _loaders(ways: Mapping[str, Crop], places: Sequence[Place], seconds: float) -> dict[str, float]:
    """Measure crops per second through processes that crop and send, as PyTorch's DataLoader does."""
    found = {}
    with get_context("spawn").Pool(WORKERS) as pool:
        for name, crop in ways.items():
            # Untimed: every process imports and opens what it needs.
            pool.map(crop, places[: 4 * WORKERS], 1)
            count = max(2 * WORKERS, int(_per_second(crop, places, seconds / 3) * seconds))
            start = time.perf_counter()
            done = sum(1 for _ in pool.imap(crop, places[:count], 4))
            found[name] = done / (time.perf_counter() - start)
    return found

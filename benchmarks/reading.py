"""Random crops around lesions per second: from a store, from .nii.gz files, from .npy memory maps."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from etl.core.config import Config
from etl.phantom import write_phantom
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store

CROP = 64
WORKERS = 2

Place = tuple[str, tuple[int, int, int]]
Crop = Callable[[Place], np.ndarray]


def measure(folder: Path, seconds: float = 3.0, patients: int = 4) -> dict[str, Any]:
    """Measure crops per second from the same volumes in each format, in one process and with two loaders.

    Args:
        folder: working folder for a synthetic release, its store, and copies in the other formats.
        seconds: duration of each measurement.
    """
    store = _published(folder, patients)
    lesions, volumes = store.lesions(), store.volumes()
    for volume_id in volumes["volume_id"]:
        _copy(folder, volume_id, np.asarray(store.array(volume_id)[...]))
    rng = np.random.default_rng(0)
    shapes = volumes.set_index("volume_id")[["shape_z", "shape_y", "shape_x"]]
    places: list[Place] = []
    for row in lesions.sample(2000, replace=True, random_state=0).itertuples():
        shape = shapes.loc[row.volume_id].to_numpy()
        middle = np.array([row.z_vox, *(_middle(row, axis) for axis in "yx")])
        corner = np.rint(middle - CROP / 2 + rng.uniform(-8, 8, 3)).astype(int)
        z, y, x = np.clip(corner, 0, np.maximum(shape - CROP, 0)).tolist()
        places.append((str(row.volume_id), (z, y, x)))
    ways: dict[str, Crop] = {
        "store": partial(crop_of_store, str(folder / "published")),
        "npy": partial(crop_of_npy, folder),
        "nii_gz": partial(crop_of_nii_gz, folder),
    }
    for place in places[:4]:
        first, *others = (crop(place) for crop in ways.values())
        if not all(np.array_equal(first, other) for other in others):
            raise ValueError(f"the crops at {place} differ between the formats")
    one = {name: _one_process(crop, places, seconds) for name, crop in ways.items()}
    two = {name: _loaders(crop, places, seconds) for name, crop in ways.items()}
    return {"crops_per_second": one, "crops_per_second_2_loaders": two}


def _middle(row: Any, axis: str) -> float:
    ends = [getattr(row, f"recist_long_{axis}{end}_vox") for end in (1, 2)]
    return float(np.mean(ends))


def _published(folder: Path, patients: int) -> Store:
    write_phantom(folder / "phantom", patients=patients, archives=1, extracted=True)
    source = {
        "annotations": str(folder / "phantom" / "DL_info.csv"),
        "images": str(folder / "phantom" / "Images_png"),
    }
    data = {"store": str(folder / "published"), "source": source, "limits": {"rejects": 1.0}}
    config = Config.model_validate(data)
    build(config, load_plan(config), SerialExecutor())
    return open_store(config.store)


def _copy(folder: Path, volume_id: str, voxels: np.ndarray) -> None:
    np.save(folder / f"{volume_id}.npy", voxels)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"{volume_id}.nii.gz")


@lru_cache(maxsize=1)
def _store(path: str) -> Store:
    return open_store(path)


@lru_cache(maxsize=64)
def _array(path: str, volume_id: str) -> Any:
    return _store(path).array(volume_id)


def crop_of_store(path: str, place: Place) -> np.ndarray:
    """Read a crop of the store with its reader."""
    return np.asarray(_array(path, place[0])[_box(place)])


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


def _one_process(crop: Crop, places: Sequence[Place], seconds: float) -> float:
    start, count = time.perf_counter(), 0
    for place in itertools.cycle(places):
        crop(place)
        count += 1
        if time.perf_counter() - start > seconds:
            break
    return count / (time.perf_counter() - start)


def _loaders(crop: Crop, places: Sequence[Place], seconds: float) -> float:
    """Measure crops per second through processes that crop and send, as PyTorch's DataLoader does."""
    with get_context("spawn").Pool(WORKERS) as pool:
        # Untimed: every process imports and opens what it needs.
        pool.map(crop, places[: 4 * WORKERS], 1)
        batch = min(len(places), max(2 * WORKERS, int(_one_process(crop, places, seconds / 3) * seconds)))
        start = time.perf_counter()
        count = sum(1 for _ in pool.imap(crop, places[:batch], 4))
        return count / (time.perf_counter() - start)

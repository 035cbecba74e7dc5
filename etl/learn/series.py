"""Series of CT slices to learn from: their positions, splits and slices as a net sees them."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.core.counted import counted
from etl.core.errors import ConfigError
from etl.imaging.body_view import BodyView

Views = npt.NDArray[np.int16]

CACHE_BYTES = 2 * 2**30
MOST_HU = int(np.iinfo(np.int16).max)
_FOLDER_NAME = re.compile(r"(.+?)(?:_[a-z])?_[a-z-]+\.npz")
_NAMES = "PATIENT_COVERS.npz or PATIENT_a_COVERS.npz, with COVERS in letters a to z and hyphens"
TRAIN, VAL, TEST = "train", "val", "test"
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Series:
    """One series of slices, head to feet.

    Attributes:
        patient: all series of one are of one split.
        split: train, val or test.
        mm: (n,) positions, ascending from the first slice.
        norm_z: (n,) published z; NaN where there is none.
        read: returns int16 (n, pixels, pixels) in HU, of all slices.
        made_of: digest of all that decides these; series of one name may have other slices.
    """

    name: str
    patient: str
    split: str
    mm: npt.NDArray[np.float64]
    norm_z: npt.NDArray[np.float32]
    read: Callable[[], Views]
    made_of: str = ""

    @property
    def key(self) -> str:
        """Name of its slices in a cache."""
        return f"{self.name}-{self.made_of}"

    @property
    def identity(self) -> list[str]:
        """All that a training learns from it, as a JSON value."""
        numbers = hashlib.sha256(self.mm.tobytes() + self.norm_z.tobytes()).hexdigest()
        return [self.key, self.patient, self.split, numbers]


class Readable(Protocol):
    """Slices that are read as they are needed; those of one key are equal."""

    @property
    def key(self) -> str: ...
    @property
    def read(self) -> Callable[[], Views]: ...


class ViewCache:
    """The slices of series that were read last, in memory up to a limit, and in a folder if there is one."""

    def __init__(self, folder: str | None = None, most_bytes: int = CACHE_BYTES) -> None:
        self._folder, self._most = None if folder is None else Path(folder), most_bytes
        self._held: OrderedDict[str, Views] = OrderedDict()
        self._bytes = 0

    def of(self, series: Readable) -> Views:
        """Return the slices of a series."""
        views = self._held.pop(series.key, None)
        if views is None:
            views = self._read(series)
            self._bytes += views.nbytes
        self._held[series.key] = views
        while len(self._held) > 1 and self._bytes > self._most:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return views

    def _read(self, series: Readable) -> Views:
        if self._folder is None:
            return series.read()
        path = self._folder / f"{series.key}.npy"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            # Processes that train together may need the same series at once.
            partial = self._folder / f"{series.key}.{uuid.uuid4().hex}.partial.npy"
            np.save(partial, series.read())
            partial.replace(path)
        views: Views = np.load(path)
        return views


def folder_series(
    folder: str, view: BodyView, val: Sequence[str] = (), test: Sequence[str] = ()
) -> list[Series]:
    """Return the series of a folder of .npz files: `hu` (z, y, x) head to feet, `spacing_mm` (z, y, x).

    Args:
        val, test: patients of these splits; a file is named PATIENT[_a]_COVERS.npz.

    Raises:
        ConfigError: there is no such folder, series or patient, a .npz has another name, or a series can't be
            read.
    """
    files = _named_series(folder)
    strange = sorted({*val, *test}.difference(files.values()))
    if not files or strange:
        raise ConfigError(
            "the folder lacks what the config names" if files else "there are no series in this folder",
            where=f"data: {folder}",
            value=strange or "no PATIENT_COVERS.npz",
            allowed=", ".join(sorted(set(files.values()))) or "files with `hu` (z, y, x) and `spacing_mm`",
        )
    found = []
    for path, patient in files.items():
        hu, spacing_mm = _read_series(path)
        split = VAL if patient in val else TEST if patient in test else TRAIN
        views = np.rint(view.of(hu, spacing_mm[1:])).astype(np.int16)
        mm = np.arange(len(hu), dtype=np.float64) * spacing_mm[0]
        unknown = np.full(len(hu), np.nan, np.float32)
        made_of = hashlib.sha256(views.tobytes()).hexdigest()[:16]
        read = functools.partial(np.asarray, views)
        found.append(Series(path.stem, patient, split, mm, unknown, read, made_of))
    return found


def _named_series(folder: str) -> dict[Path, str]:
    """Return the patient of each .npz of a folder. Raises ConfigError where a name tells none."""
    paths = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() == ".npz")
    names = {path: _FOLDER_NAME.fullmatch(path.name) for path in paths}
    others = [path.name for path, name in names.items() if name is None]
    if others:
        raise ConfigError(
            f"{counted(len(others), 'file')} of the folder can't be learned from: no patient is in the name",
            where=f"data: {folder}",
            value=others[:_SHOWN],
            allowed=_NAMES,
            remedy="give other names, or take the files out of the folder",
        )
    return {path: name[1] for path, name in names.items() if name is not None}


def _read_series(path: Path) -> tuple[npt.NDArray[np.generic], tuple[float, float, float]]:
    try:
        with np.load(path) as file:
            hu, spacing_mm = file["hu"], np.asarray(file["spacing_mm"], np.float64)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if hu.ndim != 3 or not hu.size or hu.dtype.kind not in "iuf" or not np.isfinite(hu).all():
        raise _unreadable(path, f"hu: {hu.dtype} {hu.shape}")
    if hu.max() > MOST_HU:
        raise _unreadable(path, f"hu: up to {hu.max()}")
    if spacing_mm.shape != (3,) or not (np.isfinite(spacing_mm) & (spacing_mm > 0)).all():
        raise _unreadable(path, f"spacing_mm: {spacing_mm.tolist()}")
    z, y, x = spacing_mm.tolist()
    return hu, (z, y, x)


def _unreadable(path: Path, value: str) -> ConfigError:
    return ConfigError(
        "a series can't be read",
        where=str(path),
        value=value,
        allowed=f"`hu` (z, y, x), finite numbers up to {MOST_HU}, and `spacing_mm` (z, y, x), "
        "three positive ones",
        remedy="mend the file or take it out of the folder",
    )


def patients_of(series: Sequence[Series]) -> dict[str, list[str]]:
    """Return the patients of each split, sorted. Raises ValueError where one is in two."""
    splits: dict[str, set[str]] = {TRAIN: set(), VAL: set(), TEST: set()}
    for one in series:
        splits[one.split].add(one.patient)
    twice = (splits[TRAIN] & (splits[VAL] | splits[TEST])) | (splits[VAL] & splits[TEST])
    if twice:
        raise ValueError(f"patients in two splits: {sorted(twice)[:3]}")
    return {name: sorted(patients) for name, patients in splits.items()}

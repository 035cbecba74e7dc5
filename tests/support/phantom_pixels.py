"""Rows and pixels of a synthetic release, read by other means than the package's own."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from etl.phantom import PhantomTruth
from etl.release.names import is_ignorable, parse_member

Phantom = tuple[Path, PhantomTruth]


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "DL_info.csv").read_text("ascii"), newline="")))


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(", ")]


class Pixels:
    """Slices of a release as HU, read out of its archives by zipfile and imageio."""

    def __init__(self, out: Path) -> None:
        self._archives = [zipfile.ZipFile(path) for path in sorted(out.glob("Images_png_*.zip"))]
        self._where = {
            (str(named[0]), named[1]): (archive, name)
            for archive in self._archives
            for name in archive.namelist()
            if not is_ignorable(name) and (named := parse_member(name))
        }

    def png(self, series_id: str, index: int) -> bytes:
        archive, name = self._where[series_id, index]
        return archive.read(name)

    def stored(self, series_id: str, index: int) -> np.ndarray:
        return iio.imread(self.png(series_id, index), plugin="pillow", extension=".png")

    def hu(self, series_id: str, index: int) -> np.ndarray:
        return self.stored(series_id, index).astype(np.int64) - 32768

    def slices(self) -> list[tuple[str, int]]:
        return sorted(self._where)

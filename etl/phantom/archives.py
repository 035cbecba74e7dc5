"""Archives of the synthetic release, in the official layout."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from etl.phantom.plan import Run, Series
from etl.release.names import slice_name

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def archive_name(number: int) -> str:
    """Return `Images_png_01.zip` for 1."""
    return f"Images_png_{number:02d}.zip"


def archive_parts(counts: Sequence[int], archives: int) -> tuple[int, ...]:
    """Return the start of each archive but the first, as positions in the list of all slices.

    Args:
        counts: slices per series, in order.
        archives: number of archives, from 1 to the number of slices.

    Returns:
        `archives - 1` ascending positions of nearly equal parts; one of them inside a series if possible.
    """
    total, ends = sum(counts), set(np.cumsum(counts).tolist())
    cuts = [round(total * part / archives) for part in range(1, archives)]
    if cuts and all(cut in ends for cut in cuts):
        free = [at for at in range(1, total) if at not in ends and at not in cuts]
        if free:
            nearest = min(free, key=lambda at: min(abs(at - cut) for cut in cuts))
            moved = min(cuts, key=lambda cut: abs(cut - nearest))
            cuts[cuts.index(moved)] = nearest
    return tuple(sorted(cuts))


class ArchiveWriter:
    """Writes one archive of the release: folders, slices and one metadata file of macOS.

    Dates and attributes are fixed, so the same slices give the same bytes.
    """

    def __init__(self, path: Path, *, deflated: bool) -> None:
        self._zip = zipfile.ZipFile(path, "w")
        self._method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        self._folders: set[str] = set()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _write(self, name: str, data: bytes, mode: int, method: int) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.create_system = _UNIX
        info.external_attr = mode << 16 | (0x10 if name.endswith("/") else 0)
        self._zip.writestr(info, data, method, compresslevel=1)

    def add(self, name: str, data: bytes) -> None:
        """Add a file below `Images_png/`, its folders first."""
        parts = f"Images_png/{name}".split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth]) + "/"
            if folder not in self._folders:
                self._folders.add(folder)
                self._write(folder, b"", 0o40755, zipfile.ZIP_STORED)
        self._write("/".join(parts), data, 0o100644, self._method)


def mac_file(series: Series, slice_index: int) -> tuple[str, bytes]:
    """Return name and content of the file that macOS adds to a slice: an AppleDouble header."""
    folder, base = slice_name(series.key, slice_index).split("/")
    return f"{folder}/._{base}", bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(58)


def all_slices(release: Iterable[Series]) -> Iterator[tuple[Series, Run, int]]:
    """Yield every slice of a release in the order of the archives."""
    for series in release:
        for index, run in series.slices():
            yield series, run, index

"""Names of the release: series, slices, volumes.

Archives hold `Images_png/PPPPPP_SS_RR/NNN.png`; the CSV names the same slice `PPPPPP_SS_RR_NNN.png`. Slice
numbers have three digits or more. Repacked archives have backslashes, other leading folders, or `.PNG`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

# Anchored with \Z (not $, which lets a newline pass) and ASCII digits only.
_SERIES = r"(?P<patient>[0-9]{6})_(?P<study>[0-9]{2})_(?P<series>[0-9]{2})"
_INDEX = r"(?P<index>[0-9]{3}|[1-9][0-9]{3,5})"
_MEMBER = re.compile(rf"(?:[^/][^\0\n]*/)?{_SERIES}/{_INDEX}\.(?:png|PNG)\Z")
_FILE_NAME = re.compile(rf"{_SERIES}_{_INDEX}\.png\Z")
_SERIES_ID = re.compile(rf"{_SERIES}\Z")


class SeriesKey(NamedTuple):
    """A series of the release: patient, study and series number, as in `000001_01_01`."""

    patient: int
    study: int
    series: int

    def __str__(self) -> str:
        return f"{self.patient:06d}_{self.study:02d}_{self.series:02d}"


def _key(match: re.Match[str]) -> SeriesKey:
    return SeriesKey(int(match["patient"]), int(match["study"]), int(match["series"]))


def parse_series_id(text: str) -> SeriesKey | None:
    """Return the key of `000001_01_01`, or None where the text is not a series name."""
    match = _SERIES_ID.match(text)
    return _key(match) if match else None


def parse_member(name: str) -> tuple[SeriesKey, int] | None:
    """Return series and slice index of `Images_png/000001_01_01/103.png`, or None for any other name.

    Folders before the series' own may have any name but `..`; backslashes count as slashes.
    """
    name = name.replace("\\", "/")
    match = _MEMBER.match(name)
    return (_key(match), int(match["index"])) if match and ".." not in name.split("/") else None


def parse_file_name(name: str) -> tuple[SeriesKey, int] | None:
    """Return series and slice index of `000001_01_01_103.png`, or None for any other name."""
    match = _FILE_NAME.match(name)
    return (_key(match), int(match["index"])) if match else None


def slice_name(series: SeriesKey, index: int) -> str:
    """Return the slice's name below the image folder: `000001_01_01/103.png`."""
    return f"{series}/{index:03d}.png"


def file_name(series: SeriesKey, index: int) -> str:
    """Return the slice's name in the CSV: `000001_01_01_103.png`."""
    return f"{series}_{index:03d}.png"


def volume_id(series: SeriesKey, first: int, last: int) -> str:
    """Return the official converter's name of a run of slices, both ends included: `000001_01_01_103-115`."""
    return f"{series}_{first:03d}-{last:03d}"


# All but the first are at the root of a disk, and some of them may not be listed.
_SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "lost+found", ".Trashes", ".Spotlight-V100", "System Volume Information", "$RECYCLE.BIN")
)


def is_ignorable(name: str) -> bool:
    """Return whether a name is a folder or a file of an operating system, such as `._*` or `lost+found/`."""
    parts = name.replace("\\", "/").split("/")
    return (
        (len(parts) > 1 and not parts[-1])
        or parts[-1].startswith("._")
        or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")
        or not _SYSTEM_FOLDERS.isdisjoint(parts)
    )


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Return the name of each archive or folder, with as many folders before it as set it apart.

    `a/Images_png`, `b/Images_png` and `c/Images_png_01.zip` are `a/Images_png`, `b/Images_png` and
    `Images_png_01.zip`. Equal paths, of URLs that differ in their query, are numbered.

    Args:
        paths: paths, or URLs without secrets.
    """
    parts = [[part for part in path.rpartition("://")[2].split("/") if part] for path in paths]
    depths = [1] * len(parts)
    while True:
        names = ["/".join(own[-depth:]) for own, depth in zip(parts, depths, strict=True)]
        count = Counter(names)
        longer = [n for n, name in enumerate(names) if count[name] > 1 and depths[n] < len(parts[n])]
        if not longer:
            break
        for n in longer:
            depths[n] += 1
    before = [names[:n].count(name) for n, name in enumerate(names)]
    return [f"{name} ({n + 1})" if count[name] > 1 else name for name, n in zip(names, before, strict=True)]

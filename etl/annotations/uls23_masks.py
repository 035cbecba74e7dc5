"""Read masks of ULS23 (de Grauw et al., Medical Image Analysis 2025) and its list of splits.

`<series>_<key>_lesion_<nn>` are 3D masks by humans (DeepLesion3D), `<series>_<key>_sample_<n>` GrabCut masks
of key slices. The grid is the sub-volume flipped on all three axes at the row's own voxel size; the origin
over the voxel size is the crop's place in it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from etl.annotations.documents import another_file, read_each, read_json, reject, text
from etl.annotations.entries import Fault, FaultyEntry, MaskEntry, Reading, SplitEntry
from etl.annotations.nifti import read_nifti_mask
from etl.core.errors import SourceError
from etl.release.names import SeriesKey, parse_file_name

MOST_OFFSET_PX = 0.02
_NAME = re.compile(r"(?P<slice>.+)_(?P<kind>lesion|sample)_(?P<number>[0-9]{1,4})\Z")
_OTHER_DATA = re.compile(r"[0-9]{6}_[0-9]{2}_")


def parse_mask_name(stem: str) -> tuple[SeriesKey, int, bool, int] | None:
    """Return series, key slice, True for a 3D mask, and the number at the end; None for any other name."""
    match = _NAME.match(stem)
    named = parse_file_name(f"{match['slice']}.png") if match else None
    if match is None or named is None:
        return None
    return *named, match["kind"] == "lesion", int(match["number"])


def read_uls23_mask(data: bytes, name: str) -> MaskEntry | FaultyEntry:
    """Read one `.nii.gz` or `.nii`; one that can't be used is a reject.

    Args:
        data: the file.
        name: its name.
    """

    def read(where: str, _: bytes) -> MaskEntry:
        return _mask(data, where)

    entries, rejects = read_each(iter([(name, data)]), read, name)
    return entries[0] if entries else rejects[0]


def _mask(data: bytes, name: str) -> MaskEntry:
    named = parse_mask_name(name.rsplit("/", 1)[-1].removesuffix(".gz").removesuffix(".nii"))
    if named is None:
        reject(
            Fault.NAME_UNEXPECTED, f"'{name[-80:]}'; allowed: a name like 000001_01_01_109_lesion_01.nii.gz"
        )
    try:
        image = read_nifti_mask(data, name)
    except SourceError as error:
        reject(Fault.MASK_UNREADABLE, f"{error.what}: {error.value}")
    spacing, origin = np.diag(image.affine)[:3], image.affine[:3, 3]
    if np.any(np.abs(image.affine[:3, :3] - np.diag(spacing)) > 1e-4) or not np.all(spacing > 0):
        reject(
            Fault.MASK_GRID_DISAGREES, "its axes are turned or reversed; allowed: a positive diagonal affine"
        )
    places = origin / spacing
    whole = np.round(places)
    offset = float(np.abs(places - whole).max())
    if not offset <= MOST_OFFSET_PX or np.abs(whole).max() > 1e5:
        reject(
            Fault.MASK_GRID_DISAGREES,
            f"its origin lies {offset:.3f} voxels from the source's grid; allowed: {MOST_OFFSET_PX}",
        )
    if not image.inside.size:
        reject(Fault.MASK_EMPTY, "it has no voxel")
    if image.has_several_values:
        reject(Fault.MASK_OF_SEVERAL_VALUES, "it is an image, not a mask; allowed: 0 and one other value")
    i, j, k = (int(place) + at for place, at in zip(whole, image.start, strict=True))
    x, y, z = (float(step) for step in spacing)
    series, key, is_3d, number = named
    return MaskEntry(name, series, key, number, is_3d, image.inside, (i, j, k), (x, y, z))


def read_uls23_splits(data: bytes, source: str) -> Reading[SplitEntry]:
    """Read `train_test_split.json`; names of the challenge's other data sets are counted, not read.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        SourceError: the file as a whole is no mapping of splits to names.
    """
    document = read_json(data, source)
    if not isinstance(document, dict) or not all(isinstance(names, list) for names in document.values()):
        raise another_file("list of splits", document, source, "a mapping of splits to names")
    names = [
        (f"{split!s:.20}[{at}]", (split, name))
        for split, found in document.items()
        for at, name in enumerate(found)
    ]
    own = [item for item in names if not isinstance(item[1][1], str) or _OTHER_DATA.match(item[1][1])]

    def read(where: str, value: Any) -> SplitEntry:
        split, name = value
        stem = text(name, "the name")
        named = parse_mask_name(stem)
        if named is None:
            reject(Fault.NAME_UNEXPECTED, f"'{stem[:80]}'; allowed: a name like 000001_01_01_109_lesion_01")
        return SplitEntry(where, named[0], named[1], named[3], split)

    entries, rejects = read_each(iter(own), read, source)
    return Reading(entries, rejects, notes={"of_other_data_sets": len(names) - len(own)})

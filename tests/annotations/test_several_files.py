"""Sources of several files: no box is lost where entries have one name, and a lesion has one answer."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from etl.annotations.entries import (
    BoxEntry,
    Fault,
    Missing,
    PairEntry,
    Reading,
    RowEntry,
    SplitEntry,
    TagEntry,
)
from etl.annotations.grids import Grids
from etl.annotations.joined import SourceJoin
from etl.annotations.mask_sources import MaskStore
from etl.annotations.release_order import release_order
from etl.annotations.several_files import one_reading
from etl.annotations.sources import given_rows, join_source
from etl.annotations.table_rows import annotation_tables
from etl.core.config import More
from etl.release.names import SeriesKey, parse_series_id
from etl.tables.boxes import BOXES
from tests.support.tiny_release import csv_row, parse_rows

SLICES = {"000001_01_01": 109, "000001_02_01": 108, "000002_01_01": 107}
VOLUMES = {series: f"{series}_103-115" for series in SLICES}
AXES = {"shape_{}": 13, "spacing_{}_mm": 1.0, "source_shape_{}": 13, "source_spacing_{}_mm": 1.0}


def coco(series: str) -> bytes:
    image = {"id": 0, "file_name": f"{series}/{SLICES[series]}.png"}
    return json.dumps(
        {"images": [image], "annotations": [{"image_id": 0, "bbox": [3.0, 4.0, 8.0, 8.0]}]}
    ).encode()


def aim(series: str) -> bytes:
    z = SLICES[series] - 102
    row = release_order()[parse_series_id(series)].first_row  # type: ignore[index]
    return f'"",Volume_fn,bbox,centroid_z\n{row},{VOLUMES[series]}.nii.gz,"[4, 5, 12, 13]",{z}\n'.encode()


def corrected(series: str) -> bytes:
    return f'File_name,Bounding_boxes\n{series}_{SLICES[series]}.png,"4, 5, 12, 13"\n'.encode()


def harvester(series: str, folder: str = "") -> bytes:
    z = SLICES[series] - 103
    return pickle.dumps({f"{folder}{VOLUMES[series]}": {z: [[4.0, 5, 12, 13, z, z]]}}, 2)


def manual(*series: str, folder: str = "") -> bytes:
    boxes = {f"{folder}{VOLUMES[one]}": [[4, 5, SLICES[one], 12, 13, SLICES[one]]] for one in series}
    return pickle.dumps({"test": boxes}, 2)


def boxes_of(kind: str, files: list[Path]) -> tuple[int, pd.DataFrame]:
    """Return how many entries joined, and the rows of the table `boxes`."""
    joined, boxes = joined_boxes(kind, files)
    return len(joined.joined), boxes


def joined_boxes(kind: str, files: list[Path], slice_first: int = 103) -> tuple[SourceJoin, pd.DataFrame]:
    given = given_rows(parse_rows(*(csv_row(series, key, (103, 115)) for series, key in SLICES.items())))
    volumes = [
        {"volume_id": VOLUMES[series], "path": "p", "slice_first": slice_first}
        | dict(
            zip(("patient_index", "study_index", "series_index"), map(int, series.split("_")), strict=True)
        )
        | {name.format(axis): value for name, value in AXES.items() for axis in "zyx"}
        for series in SLICES
    ]
    more = More.model_validate({"kind": kind, "files": tuple(map(str, files))})
    grids = Grids(pd.DataFrame(volumes))
    joined = join_source("source", more, given, store=MaskStore("", grids))
    return joined, dict(annotation_tables([joined], grids, given))[BOXES].to_pandas()


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("coco_boxes", coco),
        ("aim_rows", aim),
        ("dl_info_like", corrected),
        ("harvester_boxes", harvester),
        ("manual_3d_boxes", manual),
    ],
)
def test_files_of_one_name_in_folders_lose_no_box(
    tmp_path: Path, kind: str, write: Callable[[str], bytes]
) -> None:
    """Exports for training lay files out so: train/_annotations.coco.json, valid/_annotations.coco.json."""
    files = []
    for series in SLICES:
        files.append(tmp_path / series / "annotations")
        files[-1].parent.mkdir()
        files[-1].write_bytes(write(series))
    joined, boxes = boxes_of(kind, files)
    assert joined == 3
    assert sorted(boxes["lesion_id"]) == [0, 1, 2]
    # Without the folders that they share: the same files mounted elsewhere make the same tables.
    assert {entry.partition(":")[0] for entry in boxes["entry"]} == {f"{one}/annotations" for one in SLICES}
    named = [file.rename(file.with_name(f"{file.parent.name}.txt")) for file in files]
    joined, boxes = boxes_of(kind, named)
    assert (joined, len(boxes)) == (3, 3)
    assert {entry.partition(":")[0] for entry in boxes["entry"]} == {file.name for file in named}


@pytest.mark.parametrize("folder", ["", "/data/DeepLesion/Images_nifti/", "/mnt/" + "x" * 60 + "/"])
def test_boxes_of_volumes_named_by_long_paths_are_told_apart(tmp_path: Path, folder: str) -> None:
    (tmp_path / "manual.pkl").write_bytes(manual(*SLICES, folder=folder))
    joined, boxes = boxes_of("manual_3d_boxes", [tmp_path / "manual.pkl"])
    assert joined == 3
    assert sorted(boxes["lesion_id"]) == [0, 1, 2]


@pytest.mark.parametrize(("slice_first", "placed"), [(103, 3), (105, 2), (106, 1), (109, 1), (110, 0)])
def test_an_unlisted_box_is_in_the_table_or_its_slices_are_not_given(
    tmp_path: Path, slice_first: int, placed: int
) -> None:
    """A store of key slices has a few slices of a sub-volume, and 4 of 6 such boxes were in no table."""
    spans = ((104, 104), (103, 105), (107, 109))
    boxes = {VOLUMES["000001_01_01"]: [[13, 13, first, 15, 16, last] for first, last in spans]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"test": boxes}, 3))
    joined, found = joined_boxes("manual_3d_boxes", [tmp_path / "a.pkl"], slice_first)
    reasons = [item.reason for item in joined.unmatched]
    assert reasons.count(Missing.NOT_LISTED) == len(found) == placed
    assert reasons.count(Missing.NOT_IN_CSV) == 3 - placed


TAGS = (
    TagEntry("train[0]", 7, (1,), (0,), "train"),
    TagEntry("train[1]", 8, (), (), "train"),
    TagEntry("val[0]", 7, (0, 1), (), "val"),
)
SPLITS = tuple(
    SplitEntry(f"{split}[{at}]", SeriesKey(1, 1, 1), 109, number, split)
    for at, (number, split) in enumerate(((1, "train"), (2, "train"), (1, "test")))
)


PLACES = ((4.0, 5.0, 12.0, 13.0), (4.0, 5.0, 12.0, 13.5), (4, 5, 12, 13))
BOXES_AGAIN = tuple(
    BoxEntry(f"box {at}", SeriesKey(1, 1, 1), (103, 115), place, 109, 109) for at, place in enumerate(PLACES)
)
ROWS_AGAIN = tuple(RowEntry(one.where, one.series, 109, one) for one in BOXES_AGAIN)
OTHER_SIDE = BoxEntry("target", SeriesKey(1, 2, 1), (103, 115), PLACES[0], 108, 108)
PAIRS_AGAIN = tuple(
    PairEntry(one.where, *((one, OTHER_SIDE)[:: 1 - 2 * (at == 2)])) for at, one in enumerate(BOXES_AGAIN)
)


@pytest.mark.parametrize(
    "entries",
    [TAGS, SPLITS, BOXES_AGAIN, ROWS_AGAIN, PAIRS_AGAIN],
    ids=["tags", "splits", "boxes", "rows", "pairs"],
)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_lesion_that_is_named_again_is_a_reject(entries: tuple[Any, ...], cut: int) -> None:
    """MULAN's cache next to LesaNet's file made 202 uncertain tags relevant."""
    readings = [Reading(entries[:cut]), Reading(entries[cut:])]
    found = one_reading("lesanet", readings, ["a.json", "b.json"])
    assert [entry.where.partition(": ")[2] for entry in found.entries] == [e.where for e in entries[:2]]
    (reject,) = found.rejects
    assert (reject.reason, reject.where.partition(": ")[2]) == (Fault.ROW_REPEATED, entries[2].where)
    assert f"has an earlier entry, a.json: {entries[0].where}" in reject.message


def dlt(key: str, *series: str, shift: float = 0.0) -> bytes:
    """Write a file of one pair, listed in both directions."""
    listed = {}
    for at, both in enumerate((series, series[::-1])):
        pair: dict[str, Any] = {}
        for end, one in zip(("source", "target"), both, strict=True):
            pair |= {end: f"{VOLUMES[one]}.nii.gz", f"{end} recist slice": f"{one}/{SLICES[one]}.png"}
            pair[f"{end} recist box"] = [3.0 + shift, 4.0, 8.0, 8.0]
        listed[f"{key}{at}"] = pair
    return json.dumps(listed).encode()


ONE, TWO = "000001_01_01", "000001_02_01"
PAIR, ROUNDED = dlt("a", ONE, TWO), dlt("b", TWO, ONE, shift=0.02)
NO_BOX = f"File_name\n{ONE}_109.png\n".encode()


@pytest.mark.parametrize(
    ("kind", "files", "entries", "joined"),
    [
        ("dlt_pairs", (PAIR, PAIR), 2, 1),
        ("dlt_pairs", (PAIR, ROUNDED, PAIR), 3, 1),
        ("dl_info_like", (NO_BOX, NO_BOX), 2, 1),
        ("dl_info_like", (NO_BOX + NO_BOX[10:],), 2, 1),
        ("coco_boxes", (coco(ONE), coco(TWO), coco(ONE)), 3, 2),
        ("manual_3d_boxes", (manual(*SLICES), manual(ONE)), 4, 3),
        ("harvester_boxes", (harvester(ONE), harvester(ONE, "/mnt/")), 2, 1),
    ],
)
def test_what_a_source_repeats_is_joined_once(
    tmp_path: Path, kind: str, files: tuple[bytes, ...], entries: int, joined: int
) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    found, boxes = joined_boxes(kind, paths)
    assert (found.entries, len(found.joined), len(found.unmatched)) == (entries, joined, 0)
    assert [reject.reason for reject in found.rejects] == [Fault.ROW_REPEATED] * (entries - joined)
    assert len(boxes) in (0, joined)
    assert found.notes.get("printed_lesions", joined) == joined

"""Other files of the same kinds as those at hand: halves, other forms, other numbers, other containers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from etl.annotations.entries import Fault, MaskEntry, PairEntry, Reading
from etl.annotations.joined import JoinedPair
from etl.annotations.joins import join_pair
from etl.annotations.pickles import read_pickle
from etl.annotations.printed_rows import Rows, printed_rows
from etl.annotations.sources import KINDS
from etl.annotations.uls23_masks import read_uls23_mask
from etl.core.errors import SourceError
from tests.annotations import documents
from tests.support.tiny_release import csv_row, parse_rows

SUB_VOLUME = "000004_02_02_043-103"


def read(kind: str, data: bytes) -> Reading[Any]:
    return KINDS[kind].read(data, "a file")


def table(header: list[str], *rows: list[str], separator: str = ",", end: str = "\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end).writerows([header, *rows])
    return out.getvalue()


AIM = ["Unnamed: 0", "Volume_fn", "bbox", "centroid_z"]
AIM_ROW = ["15", f"{SUB_VOLUME}.nii.gz", "[291, 234, 309, 250]", "31.0"]


@pytest.mark.parametrize(
    "data",
    [
        table(AIM, AIM_ROW).encode(),
        table(AIM, AIM_ROW, end="\r\n").encode("utf-8-sig"),
        table(AIM, AIM_ROW, separator="\t").encode("utf-16"),
        table(AIM, AIM_ROW, separator=";").encode(),
        gzip.compress(table(AIM, AIM_ROW).encode()),
        table(["", *AIM[1:]], AIM_ROW).encode(),
        table(["", *AIM], ["0", *AIM_ROW]).encode(),
        table([*AIM[::-1], "more"], [*AIM_ROW[::-1], "1"]).encode(),
        table(AIM, ["15.0", f"/mnt/data/Images_nifti/{SUB_VOLUME}.nii.gz", *AIM_ROW[2:]]).encode(),
        table(AIM, ["15", rf"C:\Images_nifti\{SUB_VOLUME}.nii", *AIM_ROW[2:]]).encode(),
        table(AIM, ["15", SUB_VOLUME, *AIM_ROW[2:]]).encode(),
        table(AIM, [f" {cell} " for cell in AIM_ROW]).encode(),
    ],
)
def test_aim_rows_in_every_form_of_a_csv(data: bytes) -> None:
    found = read("aim_rows", data)
    assert not found.rejects
    (entry,) = found.entries
    assert (entry.row, entry.volume, entry.box_px, entry.z_first) == (
        15,
        (43, 103),
        (290.0, 233.0, 308.0, 249.0),
        73,
    )


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("aim_rows", table(AIM).encode()),
        ("dl_info_like", b"File_name,Bounding_boxes\r\n"),
        ("lesanet_tags", b'{"term_list": ["chest"], "val_lesion_idxs": [], "val_relevant_labels": []}'),
        ("lesanet_tags", b'{"tag_dict_list": [], "lesion_tags": []}'),
        ("lesanet_tags", b"[]"),
        ("dlt_pairs", b"{}"),
        ("dlt_pairs", b"[]"),
        ("dlt_pairs", b'{"results": []}'),
        ("coco_boxes", b'{"images": [], "annotations": []}'),
        ("harvester_boxes", pickle.dumps({}, 2)),
        ("harvester_boxes", pickle.dumps({"000001_01_01_103-115": np.zeros((0, 6))}, 5)),
        ("manual_3d_boxes", pickle.dumps({"test": {}}, 4)),
    ],
)
def test_a_file_without_entries_has_none(kind: str, data: bytes) -> None:
    found = read(kind, data)
    assert (found.entries, found.rejects) == ((), ())


@pytest.mark.parametrize(
    ("kind", "header", "sound", "damaged"),
    [
        (
            "aim_rows",
            "Unnamed: 0,Volume_fn,bbox,centroid_z",
            f'15,{SUB_VOLUME},"[291, 234, 309, 250]",31',
            f'16,{SUB_VOLUME},"[291, 234, 309, 250],31',
        ),
        (
            "dl_info_like",
            "File_name,Bounding_boxes",
            '000001_01_01_109.png,"4, 5, 12, 13"',
            '000001_01_01_109.png,"4, 5, 12, 13"4',
        ),
    ],
)
@pytest.mark.parametrize("blank", [0, 1, 3])
def test_lines_of_a_csv_are_named_as_an_editor_counts_them(
    kind: str, header: str, sound: str, damaged: str, blank: int
) -> None:
    gap = "\n" * (blank + 1)
    found = read(kind, f"{header}{gap}{damaged}{gap}{sound}\n".encode())
    assert [entry.where for entry in found.entries] == [f"line {3 + 2 * blank}"]
    assert [(r.where, r.message[:28]) for r in found.rejects] == [
        (f"line {2 + blank}", "the line is not a CSV record")
    ]


def test_tags_given_by_hand_are_named() -> None:
    lesions = [
        {"text": "lung nodule", "lesion_idx": 7, "expanded_terms": ["lung", "nodule", "chest", "lung"]},
        {"text": "mass", "lesion_idx": 9.0, "expanded_terms": []},
        {"text": "no row", "expanded_terms": ["chest"]},
        {"lesion_idx": 11, "expanded_terms": ["chest", 2]},
        "no lesion",
    ]
    found = read("lesanet_tags", json.dumps(lesions).encode())
    assert len(found.entries) + len(found.rejects) == len(lesions)
    assert [[found.tags[tag] for tag in entry.relevant] for entry in found.entries] == [
        ["lung", "nodule", "chest"],
        [],
    ]
    assert [entry.row for entry in found.entries] == [7, 9]
    assert [reject.reason for reject in found.rejects] == 3 * [Fault.ENTRY_MALFORMED]


def test_tags_need_no_uncertain_lists_and_no_order_of_ids() -> None:
    document = json.loads(documents.lesanet())
    less = {key: value for key, value in document.items() if "uncertain" not in key}
    entries = read("lesanet_tags", json.dumps(less).encode()).entries
    assert [entry.relevant for entry in entries] == [(2, 1), (), (0,)]
    assert all(not entry.uncertain for entry in entries)
    lists = {
        "train_irrelevant_labels": [[1, 2], []],
        "val_irrelevant_labels": [[0], 5],
        "test_irrelevant_labels": 5,
    }
    assert read("lesanet_tags", json.dumps(document | lists).encode()).notes["irrelevant_tags_not_read"] == 3
    cache = json.loads(documents.mulan())
    cache["tag_dict_list"].reverse()
    assert read("lesanet_tags", json.dumps(cache).encode()).tags == ("chest", "lung")
    cache["tag_dict_list"][0]["ID"] = 0
    with pytest.raises(SourceError, match="number its tags"):
        read("lesanet_tags", json.dumps(cache).encode())


@pytest.mark.parametrize(
    ("writer", "key", "value"),
    [
        (documents.lesanet, "term_list", 5),
        (documents.lesanet, "term_list", ["chest", 5]),
        (documents.lesanet, "val_lesion_idxs", {}),
        (documents.mulan, "tag_dict_list", ["chest"]),
        (documents.mulan, "tag_dict_list", [{"ID": 0.5, "tag": "chest"}]),
        (documents.mulan, "lesion_tags", 7),
    ],
)
def test_a_fault_outside_of_the_entries_names_its_file(writer: Any, key: str, value: object) -> None:
    data = json.dumps(json.loads(writer()) | {key: value}).encode()
    with pytest.raises(SourceError) as error:
        read("lesanet_tags", data)
    assert "where:   a file" in str(error.value)
    assert key in str(error.value)


def test_pairs_by_number_in_a_list_and_as_results_are_the_same() -> None:
    pairs = json.loads(documents.dlt())
    forms = [pairs, list(pairs.values()), {"results": list(pairs.values()), "created": "2021"}]
    found = [read("dlt_pairs", json.dumps(form).encode()) for form in forms]
    assert [len(reading.entries) for reading in found] == [1, 1, 1]
    assert not any(reading.rejects for reading in found)
    assert len({reading.entries[0].first.box_px for reading in found}) == 1


@pytest.mark.parametrize("x", [-3.4, -0.2, 0.3, 7.0])
def test_pairs_cut_at_the_image_s_edge_join(x: float) -> None:
    boxes = {"000001_01_01": (x + 1, 5.0), "000001_02_01": (4.0, 5.0)}
    rows = [
        csv_row(series, 10, (5, 20), Bounding_boxes=f"{x1}, {y1}, {x1 + 9}, {y1 + 8}")
        for series, (x1, y1) in boxes.items()
    ]
    given = Rows(printed_rows(parse_rows(*rows).lesions), {})
    pair: dict[str, Any] = {}
    for side, (series, (x1, y1)) in zip(("source", "target"), boxes.items(), strict=True):
        left = round(max(0.0, x1 - 1), 1)
        pair |= {
            side: f"{series}_005-020.nii.gz",
            f"{side} recist slice": f"{series}/010.png",
            f"{side} recist box": [left, y1 - 1, round(x1 + 8 - left, 1), 8.0],
        }
    (entry,) = read("dlt_pairs", json.dumps({"0001": pair}).encode()).entries
    assert isinstance(entry, PairEntry)
    joined = join_pair(entry, given)
    assert isinstance(joined, JoinedPair)
    assert {joined.first.lesion_id, joined.second.lesion_id} == {0, 1}


@pytest.mark.parametrize(
    "name", ["000002_01_01/162.png", "images/val/000002_01_01_162.jpg", "000002_01_01_162"]
)
@pytest.mark.parametrize("identifier", [1, 1.0, "one"])
def test_coco_of_other_writers(name: str, identifier: object) -> None:
    document = json.loads(documents.coco())
    document["images"] = [
        {"id": 5},
        "no image",
        {"file_name": name, "id": identifier, "coco_url": "https://example.org/1"},
    ]
    document["annotations"] = [
        document["annotations"][0] | {"image_id": which} for which in (identifier, 5, 6, None)
    ]
    found = read("coco_boxes", json.dumps(document).encode())
    assert [(str(entry.series), entry.z_first) for entry in found.entries] == [("000002_01_01", 162)]
    assert len(found.rejects) == 3


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "<u4"])
@pytest.mark.parametrize(
    "arrange", [np.asarray, np.asfortranarray, lambda a: a.T.copy().T, lambda a: a[::-1]]
)
def test_boxes_in_arrays_of_any_layout(
    protocol: int, dtype: str, arrange: Callable[[np.ndarray], np.ndarray]
) -> None:
    boxes = arrange(np.array([[10, 20, 104, 40, 60, 107], [11, 21, 105, 41, 61, 105]], dtype))
    manual = read("manual_3d_boxes", pickle.dumps({"val": {"000001_01_01_103-115": boxes}}, protocol))
    assert [entry.box_px[0] + 1 for entry in manual.entries] == boxes[:, 0].tolist()
    spans = boxes.astype(float)[:, [0, 1, 3, 4, 2, 5]]
    spans[:, 4:] -= 103
    for values in (spans, np.asfortranarray(spans), tuple(map(tuple, spans.tolist()))):
        found = read("harvester_boxes", pickle.dumps({"000001_01_01_103-115": values}, protocol))
        assert [entry.z_last for entry in found.entries] == boxes[:, 5].tolist()


@examples(axes=st.permutations(range(3)), protocol=st.integers(2, 5))
@settings(deadline=None)
def test_arrays_of_any_order_of_axes_are_read_as_lists(axes: list[int], protocol: int) -> None:
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    assert read_pickle(pickle.dumps(array, protocol), "a.pkl") == array.tolist()


INSIDE = np.zeros((6, 5, 4))
INSIDE[1:4, 2:4, 1:3] = 1


def scaled_nifti(code: int, dtype: str, raw: np.ndarray, scale: float, shift: float) -> bytes:
    """A NIfTI-1 whose values are raw * scale + shift."""
    plain = bytearray(gzip.decompress(documents.nifti(INSIDE, (0.5, 0.5, 2.0), (10, 20, 3)))[:352])
    struct.pack_into("<2h", plain, 70, code, 8 * np.dtype(dtype).itemsize)
    struct.pack_into("<2f", plain, 112, scale, shift)
    return bytes(plain) + raw.astype(dtype).tobytes(order="F")


@pytest.mark.parametrize(
    ("code", "dtype", "scale", "shift"),
    [
        (4, "<i2", 1 / 65_535, 32_768 / 65_535),
        (2, "<u1", 1 / 255, 0.0),
        (256, "<i1", 1 / 255, 128 / 255),
        (512, "<u2", 2.0, -6.0),
        (64, "<f8", 0.0, 7.0),
        (8, "<i4", -1.0, 1.0),
        (1280, "<u8", 1.0, 0.0),
    ],
)
def test_masks_are_read_after_scale_and_shift(code: int, dtype: str, scale: float, shift: float) -> None:
    """Nibabel, ITK and others store masks so that the raw value of 0 is often not 0."""
    raw = INSIDE if scale == 0 else (INSIDE - shift) / scale
    if dtype[1] != "f":
        raw = np.round(raw)
    data = scaled_nifti(code, dtype, raw, scale, shift)
    found = read_uls23_mask(data, "000001_01_01_109_lesion_01.nii")
    assert isinstance(found, MaskEntry)
    assert (found.voxels.shape, found.start, bool(found.voxels.all())) == ((3, 2, 2), (11, 22, 4), True)


def test_voxels_that_are_no_number_are_outside() -> None:
    raw = np.where(INSIDE, 1.0, np.nan)
    found = read_uls23_mask(scaled_nifti(16, "<f4", raw, 1.0, 0.0), "000001_01_01_109_lesion_01.nii")
    assert isinstance(found, MaskEntry)
    assert found.voxels.shape == (3, 2, 2)

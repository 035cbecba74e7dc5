from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.export.csv import release_csv
from etl.phantom import PhantomTruth
from etl.release.annotations import parse_annotations
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.stored import build_store, config_data
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_bytes, csv_row

SERIES = "000001_01_01"


@pytest.mark.slow
def test_accepted_rows_come_back(tmp_path: Path) -> None:
    odd = csv_row(
        SERIES,
        4,
        (3, 5),
        Coarse_lesion_type="-1",
        Patient_age="NaN",
        Train_Val_Test="1",
        DICOM_windows="-182.5, 322.5",
        Measurement_coordinates="6.25, 9.001, 11, 9, 8, 7, 8, 0.000123457",
    )
    rows = [odd, csv_row(SERIES, 4, (3, 5), Patient_gender="X"), csv_row("000002_01_01", 1, (1, 2))]
    config = built(tmp_path, {SERIES: [3, 4, 5], "000002_01_01": [1, 2]}, rows)
    assert release_csv(open_store(config.store).lesions()) == csv_bytes([rows[0], rows[2]])


@pytest.mark.slow
def test_the_phantom_comes_back_byte_for_byte(demo_store: Store, phantom: tuple[Path, PhantomTruth]) -> None:
    assert release_csv(demo_store.lesions()) == (phantom[0] / "DL_info.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DL_info_part.csv", "DL_info_images.csv"])
def test_real_rows_come_back_byte_for_byte(real_release: Path, name: str) -> None:
    """The parsed columns go into the lesions table unchanged, so they are enough for this test."""
    data = (real_release / name).read_bytes()
    assert release_csv(parse_annotations(data, name).lesions) == data


@pytest.mark.slow
def test_a_store_of_real_slices_gives_its_rows(real_release: Path, tmp_path: Path) -> None:
    data = config_data(real_release, tmp_path / "store", limits={"rejects": 1.0})
    data["source"] = {
        "annotations": str(real_release / "DL_info_images.csv"),
        "images": str(real_release / "Images_png"),
    }
    data["select"] = {"series": [SERIES]}
    build_store(data, SerialExecutor())
    lesions = open_store(str(tmp_path / "store")).lesions()
    lines = (real_release / "DL_info_images.csv").read_text().splitlines(keepends=True)
    expected = [lines[0], *(line for line in lines[1:] if line.startswith(f"{SERIES}_"))]
    assert release_csv(lesions).decode() == "".join(expected)
    assert len(lesions) == len(expected) - 1 > 0


@given(
    box=st.tuples(*[st.floats(1, 7)] * 2, *[st.floats(8, 16)] * 2),
    age=st.none() | st.integers(0, 200),
    kind=st.sampled_from([-1, *range(1, 9)]),
    split=st.integers(1, 3),
)
def test_no_number_is_lost(box: tuple[float, ...], age: int | None, kind: int, split: int) -> None:
    row = csv_row(
        SERIES,
        4,
        (3, 5),
        Bounding_boxes=", ".join(map(repr, box)),
        Patient_age="" if age is None else str(age),
        Coarse_lesion_type=str(kind),
        Train_Val_Test=str(split),
    )
    lesions = parse_annotations(csv_bytes([row]), "DL_info.csv").lesions
    assert len(lesions) == 1
    again = parse_annotations(release_csv(lesions), "DL_info.csv").lesions
    pd.testing.assert_frame_equal(lesions, again)

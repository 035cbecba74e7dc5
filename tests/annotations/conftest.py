from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from etl.annotations.sources import GivenRows, given_rows
from etl.release.annotations import parse_annotations

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def others() -> Path:
    """The folder of annotations by others, next to the project."""
    folder = ROOT.parent / "shared" / "annotations"
    if not (folder / "README.md").is_file():
        pytest.skip("needs the public annotations in ../shared/annotations, which are not there")
    return folder


@pytest.fixture(scope="session")
def numbered(real_release: Path) -> pd.DataFrame:
    """5,401 rows of the release as text, in its order: all of val, 512 of train, with their `row_index`."""
    return pd.read_csv(real_release / "DL_info_row_index.csv", dtype=str, keep_default_na=False)


def csv_bytes(table: pd.DataFrame) -> bytes:
    return table.drop(columns=["row_index"], errors="ignore").to_csv(index=False).encode()


def given(table: pd.DataFrame) -> GivenRows:
    return given_rows(parse_annotations(csv_bytes(table), "DL_info.csv"))


@pytest.fixture(scope="session")
def val(numbered: pd.DataFrame) -> GivenRows:
    """The release's validation split, in its order."""
    return given(numbered[numbered.Train_Val_Test == "2"])


@pytest.fixture(scope="session")
def all_known(real_release: Path) -> GivenRows:
    """Every row that is there, in no order."""
    tables = [
        pd.read_csv(real_release / name, dtype=str, keep_default_na=False)
        for name in ("DL_info_part.csv", "DL_info_row_index.csv", "DL_info_images.csv")
    ]
    return given(pd.concat(tables).drop_duplicates(["File_name", "Bounding_boxes"]))

"""Faults that stop a build at once, with exit code 2 and no version."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.errors import EtlError, SourceError, StoreError
from etl.pipeline.build import build, load_plan
from etl.release.annotation_columns import COLUMNS
from etl.run.serial import SerialExecutor
from tests.support.workshop import Workshop, config_of, zipped


def stops(workshop: Workshop, kind: type[EtlError], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        load_plan(workshop.config())
    assert caught.value.exit_code == 2
    assert "where:" in str(caught.value)
    assert not workshop.is_published


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column(workshop: Workshop, column: str) -> None:
    path = workshop.folder / "DL_info.csv"
    path.write_text(path.read_text().replace(column, "Other", 1))
    stops(workshop, SourceError, f"lacks 1 of 18 columns: {column}")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not the release's CSV"),
        (b"<html><body>Sign in</body></html>", "not the release's CSV"),
        (",".join(COLUMNS).encode(), "no rows"),
        ("|".join(COLUMNS).encode() + b"\n1|2", "not the release's CSV"),
    ],
)
def test_a_csv_that_is_none(workshop: Workshop, data: bytes, match: str) -> None:
    (workshop.folder / "DL_info.csv").write_bytes(data)
    stops(workshop, SourceError, match)


def test_no_csv(workshop: Workshop) -> None:
    (workshop.folder / "DL_info.csv").unlink()
    stops(workshop, SourceError, "annotations can't be read")
    (workshop.folder / "DL_info.csv").mkdir()
    stops(workshop, SourceError, "annotations can't be read")


def test_a_csv_whose_rows_are_all_bad(workshop: Workshop) -> None:
    workshop.write_csv([row | {"Spacing_mm_px_": "0, 0, 0"} for row in workshop.rows])
    stops(workshop, SourceError, "nothing to build")


def test_a_csv_of_another_release(workshop: Workshop) -> None:
    workshop.write_archives(zipped({"000077_01_01/001.png": b"x"}))
    stops(workshop, SourceError, "nothing to build")


@pytest.mark.parametrize("members", [{}, {"readme.txt": b"x"}, {"000001_01_01/._103.png": b"x"}])
def test_an_archive_without_slices(workshop: Workshop, members: dict[str, bytes]) -> None:
    workshop.write_archives(zipped(members))
    stops(workshop, SourceError, "holds no slice")


def test_archives_of_which_none_is_whole(workshop: Workshop) -> None:
    whole = zipped(workshop.slices())
    workshop.write_archives(whole[:-5], b"x")
    stops(workshop, SourceError, r"holds no slice(.|\n)*0\.zip: (.|\n)*fetch it again; 1\.zip: ")


def test_no_archive(workshop: Workshop) -> None:
    workshop.sources = {"archives": [str(workshop.folder / "Images_png_*.zip")]}
    stops(workshop, SourceError, "no such archive")


def test_an_empty_folder_and_none(workshop: Workshop) -> None:
    workshop.sources = {"images": str(workshop.folder / "images")}
    stops(workshop, SourceError, "no such folder")
    (workshop.folder / "images" / "000001_01_01").mkdir(parents=True)
    stops(workshop, SourceError, "holds no slice")


@pytest.mark.parametrize("below", ["", "store"])
def test_a_store_that_can_t_be_written(workshop: Workshop, below: str) -> None:
    file = workshop.folder / "occupied"
    file.write_text("a file")
    config = workshop.config().model_copy(update={"store": str(file / below)})
    with pytest.raises(StoreError, match="can't be written") as caught:
        build(config, load_plan(config), SerialExecutor())
    assert caught.value.exit_code == 2
    assert str(file) in str(caught.value)
    assert file.read_text() == "a file"


def test_a_plan_leaves_no_trace(workshop: Workshop, tmp_path: Path) -> None:
    config = config_of(workshop.folder, workshop.sources)
    config = config.model_copy(update={"store": str(tmp_path / "new" / "store")})
    load_plan(config)
    assert not (tmp_path / "new").exists()

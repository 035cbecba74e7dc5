"""DL_info.csv as other programs save it again: the same rows, and one line in the log about its dialect."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from etl.release.annotations import Annotations, parse_annotations
from etl.release.csv_records import read_records
from tests.support.tiny_release import COLUMNS, csv_bytes, csv_row

ROWS = [
    csv_row("000001_01_01", 4, (3, 5)),
    csv_row("000002_01_02", 1100, (998, 1105), Patient_age="NaN", Possibly_noisy="1", Patient_gender="M"),
    csv_row("000003_02_01", 7, (1, 9), Coarse_lesion_type="-1", Train_Val_Test="1"),
    csv_row("000004_01_01", 7, (1, 9), Patient_gender="f"),  # a reject in every dialect
]
OFFICIAL = csv_bytes(ROWS)


def frame(data: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(data))


def saved(**options: object) -> Callable[[bytes], bytes]:
    """Save the table again with pandas, which prints a column with a missing value as decimals."""
    return lambda data: bytes(frame(data).to_csv(index=False, **options), "utf-8")  # type: ignore[call-overload]


def as_floats(data: bytes) -> bytes:
    table = frame(data)
    return bytes(table.astype(dict.fromkeys(table.select_dtypes("int"), float)).to_csv(index=False), "utf-8")


def quoted(data: bytes) -> bytes:
    text = io.StringIO()
    rows = csv.reader(io.StringIO(data.decode()))
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


DIALECTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "pandas": (saved(), "comma-separated UTF-8"),
    "pandas with its index": (lambda data: bytes(frame(data).to_csv(), "utf-8"), "1 other columns"),
    "NA": (saved(na_rep="NA"), "comma-separated UTF-8"),
    "<NA>": (saved(na_rep="<NA>"), "comma-separated UTF-8"),
    "all decimals": (as_floats, "whole numbers printed as 1.0"),
    "True and False": (
        lambda data: bytes(frame(data).astype({"Possibly_noisy": bool}).to_csv(index=False), "utf-8"),
        "comma-separated UTF-8",
    ),
    "byte order mark": (lambda data: b"\xef\xbb\xbf" + data, "byte order mark"),
    "CRLF": (lambda data: data.replace(b"\n", b"\r\n"), "comma-separated UTF-8"),
    "quotes everywhere": (quoted, "comma-separated UTF-8"),
    "columns reversed": (
        lambda data: bytes(frame(data)[list(reversed(COLUMNS))].to_csv(index=False), "utf-8"),
        "columns in another order",
    ),
    "semicolons": (saved(sep=";"), "separated by semicolons"),
    "tabs": (saved(sep="\t"), "separated by tabs"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "UTF-16"),
    "gzip": (gzip.compress, "gzipped"),
    "Excel": (lambda data: saved(sep="\t")(data).decode().encode("utf-16"), "UTF-16, separated by tabs"),
}


def lesions_and_rejects(read: Annotations) -> tuple[object, ...]:
    rejects = [replace(reject, message="") for reject in read.rejects]
    return read.geometries, rejects, read.row_count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "dialect"),
    [*(("made", name) for name in DIALECTS), ("real", "all decimals"), ("real", "Excel")],
)
def test_a_csv_that_was_saved_again_has_the_same_rows(
    source: str, dialect: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    data = OFFICIAL
    if source == "real":
        folder: Path = request.getfixturevalue("real_release")
        data = (folder / "DL_info_part.csv").read_bytes()
    save, understood = DIALECTS[dialect]
    expected = parse_annotations(data, "DL_info.csv")
    caplog.clear()
    with caplog.at_level("INFO"):
        found = parse_annotations(save(data), "DL_info.csv")
    assert_frame_equal(found.lesions, expected.lesions)
    assert lesions_and_rejects(found) == lesions_and_rejects(expected)
    (line,) = [r.getMessage() for r in caplog.records if "not the release's own file" in r.getMessage()]
    assert understood in line
    assert line.endswith(f"{expected.row_count:,} rows")


def test_the_official_format_has_no_dialect() -> None:
    assert read_records(OFFICIAL, "DL_info.csv", COLUMNS).dialect == ""

"""DL_info.csv again, from the lesions table: the release's own 18 columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import pandas as pd

from etl.export.protocol import ExportFile, Format, Selected
from etl.release.annotation_columns import BOX, COLUMNS, RECIST, SPLITS
from etl.store.reader import Store

NAME = "DL_info.csv"
_CODES = {name: code for code, name in SPLITS.items()}


def release_csv(lesions: pd.DataFrame) -> bytes:
    """Return the rows as the release prints them: %g numbers, `, ` inside a quoted field, LF, NaN for no age.

    The result is byte for byte equal to the accepted rows of the official file. A number that needs more
    than the six digits of %g, which the release does not have, is printed with as many as it needs.

    Args:
        lesions: rows of the lesions table with their `split`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row) for row in lesions.to_dict("records"))
    return text.getvalue().encode()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return one row's cells, in the order of `COLUMNS`."""

    def joined(names: Iterable[str]) -> str:
        return ", ".join(_printed(row[name]) for name in names)

    return (
        row["file_name"],
        *(str(row[name]) for name in ("patient_index", "study_index", "series_index", "key_slice_index")),
        joined(RECIST),
        joined(BOX),
        joined(["long_diameter_px", "short_diameter_px"]),
        joined(["norm_x", "norm_y", "norm_z"]),
        "-1" if pd.isna(row["coarse_type_code"]) else str(int(row["coarse_type_code"])),
        str(int(row["possibly_noisy"])),
        f"{row['slice_first']}, {row['slice_last']}",
        joined(["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]),
        f"{row['image_height_px']}, {row['image_width_px']}",
        joined(["window_low_hu", "window_high_hu"]),
        row["sex"],
        "NaN" if pd.isna(row["age_years"]) else str(int(row["age_years"])),
        str(_CODES[row["split"]]),
    )


def _printed(value: float) -> str:
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    return [ExportFile(NAME, lambda: release_csv(selected.lesions))]


FORMAT = Format(
    _files,
    f"{NAME} has the release's 18 columns, one row per lesion of this version, printed as in the\n"
    "release. Coordinates are pixels of the original slices, counted from 1.",
)

"""lesions.csv of an export of volumes: each lesion's place in its file, in voxels and in mm, LPS and RAS."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from etl.export.protocol import ExportFile, Selected

FILE = "lesions.csv"
_CORNERS = ("x1", "y1", "x2", "y2")


def lesion_places(lesions: pd.DataFrame, files: Mapping[str, str]) -> pd.DataFrame:
    """Return one row a lesion.

    Columns: the lesion and its file; `row`, `column`, `slice`: index in the file's array of the middle of the
    box on the key slice, voxel centres from 0; `lps_*_mm` and `ras_*_mm`: the same point in mm; then the box:
    row and column of its corners, and their LPS and RAS coordinates on the key slice.

    Args:
        lesions: rows of the table; those of volumes without a file are left out.
        files: path of the file of each volume in the export, by volume_id.
    """
    lesions = lesions[lesions["volume_id"].isin(list(files))]
    box = {name: lesions[f"bbox_{name}_vox"] for name in _CORNERS}
    mm = {name: lesions[f"bbox_{name}_mm"] for name in _CORNERS}
    x_mm, y_mm, z_mm = (mm["x1"] + mm["x2"]) / 2, (mm["y1"] + mm["y2"]) / 2, -lesions["z_mm"] + 0.0
    columns = {
        "lesion_id": lesions["lesion_id"],
        "file": lesions["volume_id"].map(dict(files)),
        "key_slice": lesions["file_name"],
        "split": lesions["split"],
        "coarse_type": lesions["coarse_type"],
        "long_diameter_mm": lesions["long_diameter_mm"],
        "short_diameter_mm": lesions["short_diameter_mm"],
        "row": (box["y1"] + box["y2"]) / 2,
        "column": (box["x1"] + box["x2"]) / 2,
        "slice": lesions["z_vox"],
        "lps_x_mm": x_mm,
        "lps_y_mm": y_mm,
        "lps_z_mm": z_mm,
        "ras_x_mm": -x_mm + 0.0,
        "ras_y_mm": -y_mm + 0.0,
        "ras_z_mm": z_mm,
        **{f"box_{'row' if name[0] == 'y' else 'column'}{name[1]}": box[name] for name in _CORNERS},
        **{f"box_lps_{name}_mm": mm[name] for name in _CORNERS},
        **{f"box_ras_{name}_mm": -mm[name] + 0.0 for name in _CORNERS},
    }
    return pd.DataFrame(columns)


def places_file(selected: Selected, files: Mapping[str, str]) -> ExportFile:
    """Return lesions.csv; numbers have the digits that give the same float again.

    Args:
        files: see `lesion_places`.
    """
    return ExportFile(FILE, lambda: lesion_places(selected.lesions, files).to_csv(index=False).encode())

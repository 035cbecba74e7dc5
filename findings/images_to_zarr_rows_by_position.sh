#!/usr/bin/env bash
# images-to-zarr 0.3.5 (zarr 3.1.6, pandas 3.1.1, imageio 2.38.1, NumPy 2.4.6): rows of the CSV go to other pictures, or nowhere; HU become 8 bits.
#
# Guess: convert(folders=.., metadata=..) joins a folder of slices and a CSV by the column `filename`, which it demands; the README says that other
# columns are preserved, and the docstring that they are copied for easy joins. Pixels keep their type: the README lists int16 among the types.
# What happens: the names are never compared. Pictures are sorted by path, the CSV is laid next to them as it is, and both names stand in the Parquet
# table. If there are not as many rows as pictures, all columns of the CSV are left out. The array's type is that of the first three pictures, but of
# TIFF only floats and uint16 count, and all else is uint8: signed HU are cut to their last 8 bits. None of it warns. 16-bit PNG are right.
# Seen 2026-11-30, six slices, and the diameters that the table has for the pixels of the same row:
#     CSV in the order of the names                   6 of 6 right
#     CSV sorted by diameter                          1 of 6 right
#     one slice without row, one row without slice    1 of 6 right
#     two lesions on one slice, 7 rows                no diameters in the table
#     a slice missing, 6 rows                         no diameters in the table
#     int16 TIFF of -1000, -50, 0, 60, 300 HU         24, 206, 0, 60, 44 as uint8; as uint16 with 32768 added they are right
# No thread about it was found.
# Whom it hurts: whoever packs DeepLesion's key slices with DL_info.csv. 115 of 5,930 rows of the release are of a slice that has a row already, so
# that the table comes out without lesions; with one row a slice, sorted or sampled, slices get another lesion's box, type and patient.
# Instead: read the CSV after the conversion and join it with the Parquet table by `original_filename`; store PNG or uint16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" images-to-zarr==0.3.5 zarr==3.1.6 pandas==3.1.1 pyarrow==26.0.1 \
  imageio==2.38.1 tifffile==2026.3.3 pillow==13.0.0 scikit-image==0.26.0 numpy==2.4.6
cat >"$work/rows.py" <<'PYTHON'
import sys
from pathlib import Path

import imageio
import numpy as np
import pandas
import zarr
from images_to_zarr import convert

work = Path(sys.argv[1])
MM = {"000001_01_01_015": 12, "000001_02_01_020": 40, "000001_03_01_031": 8, "000004_01_01_018": 25, "000005_01_01_027": 17, "000007_02_01_022": 31}
NOT_LISTED = "000008_01_01_004"
HU = (-1000, -50, 0, 60, 300)


def converted(name, pictures, rows, suffix="png"):
    """Return a pixel of each picture of the store and the table next to it."""
    folder, out = work / name, work / f"{name}_out"
    folder.mkdir()
    for stem, pixels in pictures.items():
        imageio.imwrite(folder / f"{stem}.{suffix}", pixels)
    listed = [{"filename": f"{stem}.{suffix}", "diameter_mm": mm} for stem, mm in rows]
    pandas.DataFrame(listed).to_csv(work / f"{name}.csv", index=False)
    images = zarr.open_group(convert(out, folder, work / f"{name}.csv"), mode="r")["images"]
    return images[:, 0, 0], pandas.read_parquet(out / f"{name}_metadata.parquet")


def right(name, stems, rows):
    """Return how many rows have the diameter that was drawn into the pixels of their picture, or None if the table has no diameters."""
    pixels, table = converted(name, {stem: np.full((32, 32), 32768 + MM.get(stem, 0), np.uint16) for stem in stems}, rows)
    assert sorted(pixels - 32768) == sorted(MM.get(stem, 0) for stem in stems), "pixels of PNG are right"
    return int((table["diameter_mm"] == pixels - 32768).sum()) if "diameter_mm" in table else None


stems, rows = list(MM), list(MM.items())
seen = {
    "CSV in the order of the names": right("ordered", stems, rows),
    "CSV sorted by diameter": right("sorted", stems, sorted(rows, key=lambda row: row[1])),
    "one slice without row, one row without slice": right("gap", stems[:1] + stems[2:] + [NOT_LISTED], rows),
    "two lesions on one slice": right("twice", stems, rows + [(stems[0], 9)]),
    "a slice missing": right("missing", stems[1:], rows),
}
for dtype, shift in (("int16", 0), ("uint16", 32768)):
    pictures = {f"slice_{row}": np.full((32, 32), value + shift, dtype) for row, value in enumerate(HU)}
    pixels, _ = converted(dtype, pictures, [(stem, 1) for stem in pictures], "tiff")
    seen[f"TIFF of {dtype}"] = str(pixels.dtype), tuple(int(pixel) - shift for pixel in pixels)
for name, value in seen.items():
    print(f"{name:46} {value}")
expected = {
    "CSV in the order of the names": 6,
    "CSV sorted by diameter": 1,
    "one slice without row, one row without slice": 1,
    "two lesions on one slice": None,
    "a slice missing": None,
    "TIFF of int16": ("uint8", (24, 206, 0, 60, 44)),
    "TIFF of uint16": ("uint16", HU),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/rows.py" "$work" 2>"$work/progress" || { cat "$work/progress" >&2; exit 1; }

#!/usr/bin/env bash
# Voyager 2.2.3 (NumPy 2.4.6): vectors that are a view of a larger array are taken from the wrong places in memory; neighbours are as good as random.
#
# Guess: add_items and query take any NumPy array of float32, or copy it first, as faiss does; or an error asks for a contiguous array.
# What happens: numbers are read one after another from where the array begins, whatever its strides are. Of every 40th row, that is the first rows;
# of the first 64 of 128 columns, both halves of the first 1,000 rows; of an array in Fortran order, columns for rows. Shapes are right, distances
# look like distances, and there is no warning. float64 is converted, which mends slices, but not Fortran order. 2.1.0 does the same.
# Seen 2026-11-30, 2,000 vectors of 64 numbers, share of queries that find themselves first:
#     asked with     contiguous rows 1.00    every 40th row 0.02    half of the columns 0.00    Fortran order 0.00
#     filled with    contiguous rows 1.00                           half of the columns 0.00    Fortran order 0.00
# No thread about it was found.
# Whom it hurts: whoever searches for similar lesions with a table of embeddings. DataFrame.to_numpy() of one column per dimension is in Fortran order;
# a sample of queries is vectors[::40], a shorter embedding vectors[:, :64]. Lesions "like this one" are then noise, and so are retrieval scores.
# Instead: numpy.ascontiguousarray(vectors, dtype=numpy.float32) before add_items and query.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" voyager==2.2.3 numpy==2.4.6
cat >"$work/neighbours.py" <<'PYTHON'
import sys

import numpy as np
from voyager import Index, Space

ROWS, DIMENSIONS = 2000, 64
table = np.random.default_rng(1).normal(size=(ROWS, 2 * DIMENSIONS)).astype(np.float32)
vectors = np.ascontiguousarray(table[:, :DIMENSIONS])
everyone = np.arange(ROWS)


def filled(with_vectors):
    """Return an index of the vectors, numbered from 0."""
    index = Index(Space.Cosine, num_dimensions=DIMENSIONS)
    index.add_items(with_vectors, num_threads=1)
    return index


def found(index, queries, rows):
    """Return the share of queries whose nearest neighbour is their own row."""
    return float((index.query(queries, 1, query_ef=200)[0][:, 0] == rows).mean())


right = filled(vectors)
seen = {
    "asked with contiguous rows": found(right, vectors, everyone),
    "asked with every 40th row": found(right, vectors[::40], everyone[::40]),
    "asked with half of the columns": found(right, table[:, :DIMENSIONS], everyone),
    "asked with Fortran order": found(right, np.asfortranarray(vectors), everyone),
    "asked with half of the columns, float64": found(right, table.astype(float)[:, :DIMENSIONS], everyone),
    "asked with Fortran order, float64": found(right, np.asfortranarray(vectors.astype(float)), everyone),
    "filled with half of the columns": found(filled(table[:, :DIMENSIONS]), vectors, everyone),
    "filled with Fortran order": found(filled(np.asfortranarray(vectors)), vectors, everyone),
}
for name, share in seen.items():
    print(f"{name:39} {share:.2f}")
right_ones = {"asked with contiguous rows", "asked with half of the columns, float64"}
same = all(share > 0.99 if name in right_ones else share < 0.05 for name, share in seen.items())
sys.exit(0 if same else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/neighbours.py"

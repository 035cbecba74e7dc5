"""Time of exact searches among the release's embeddings, and among a million."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import peak_mib, rounds, timed
from etl.derive.nearest import Gallery, gallery_of

ROWS = (32_735, 1_000_000)
DIMENSIONS = 256
NEIGHBOURS = 9
BATCH = 16


def measure(folder: Path, sizes: tuple[int, ...] = ROWS, repeats: int = 3) -> dict[str, Any]:
    """Measure, for each number of rows, seconds to prepare a gallery of float16 and milliseconds a query.

    Args:
        folder: not used; every part has one.
    """
    found: dict[str, Any] = {}
    for rows in sizes:
        rng = np.random.default_rng(rows)
        vectors = np.empty((rows, DIMENSIONS), np.float16)
        for start in range(0, rows, 2**16):
            block = rng.normal(size=(min(2**16, rows - start), DIMENSIONS))
            vectors[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
        made: list[Gallery] = []
        lesion_id = np.arange(rows)
        seconds = timed(lambda v=vectors, i=lesion_id, m=made: m.append(gallery_of(v, i)))  # type: ignore[misc]
        gallery, queries = made[0], vectors[:: max(rows // BATCH, 1)][:BATCH]
        times = rounds(
            {
                "one": lambda g=gallery, q=queries: g.nearest(q[:1], NEIGHBOURS),  # type: ignore[misc]
                "batch": lambda g=gallery, q=queries: g.nearest(q, NEIGHBOURS),  # type: ignore[misc]
            },
            repeats,
        )
        found[f"search_prepare_seconds_{rows}"] = seconds
        found[f"search_ms_{rows}"] = times["one"].median * 1000
        found[f"search_batch_ms_{rows}"] = times["batch"].median * 1000 / len(queries)
    return found | {"search_peak_mib": peak_mib()}

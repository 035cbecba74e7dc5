"""A small store with masks by others: one of a whole lesion and one of a key slice, on a grid of 1 mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from etl.annotations.grids import Grids
from etl.annotations.mask_sources import MaskStore
from etl.annotations.sources import given_rows, join_source
from etl.annotations.table_rows import annotation_tables
from etl.core.config import More
from etl.publish.add_tables import NewTable, add_tables
from etl.store.reader import Store, open_store
from etl.tables.masks import MASKS
from tests.annotations.documents import nifti
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row, parse_rows
from tests.support.zips import zipped

FIRST, SECOND = "000001_01_01", "000001_02_01"
PRESENT = {FIRST: range(103, 116), SECOND: range(8, 24)}
ROWS = (csv_row(FIRST, 109, (103, 115)), csv_row(SECOND, 14, (8, 23)))
MASKS_BY_NAME = {
    f"{FIRST}_109_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 5)),
    f"{SECOND}_014_sample_0.nii.gz": nifti(np.ones((6, 4, 1)), (0.5, 0.5, 2.0), (5, 6, 6)),
}


def masked_store(
    folder: Path,
    rows: Sequence[dict[str, str]] = ROWS,
    masks: Mapping[str, bytes] = MASKS_BY_NAME,
    present: Mapping[str, range] = PRESENT,
) -> Store:
    """Build a store below a folder and add the masks; return its second version."""
    config = built(folder, present, rows)
    return with_masks(config.store, folder, rows, masks)


def with_masks(
    store: str,
    folder: Path,
    rows: Sequence[dict[str, str]] = ROWS,
    masks: Mapping[str, bytes] = MASKS_BY_NAME,
    level_count: int = 1,
) -> Store:
    """Add masks to a store whose release begins with `rows`; their file is written below `folder`."""
    (folder / "masks.zip").write_bytes(zipped(masks))
    opened, given = open_store(store), given_rows(parse_rows(*rows))
    grids = Grids(opened.volumes(), level_count)
    more = More.model_validate({"kind": "uls23_masks", "file": str(folder / "masks.zip")})
    joined = join_source("uls23", more, given, store=MaskStore(opened.objects.root, grids))
    tables = dict(annotation_tables([joined], grids, given))
    new = [NewTable(MASKS, tables[MASKS], set(range(len(rows))))]
    add_tables(opened.objects, opened.version, new, labels=joined.labels)
    return open_store(store)

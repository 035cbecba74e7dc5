"""A small store with an object of every kind: volumes, a split run, labels, a model, tables, tags."""

from __future__ import annotations

import shutil
from pathlib import Path

from etl.core.config import Config
from etl.io.opening import open_objects
from etl.pipeline.derive import derive
from etl.publish.add_model import add_model
from etl.run.serial import SerialExecutor
from etl.store import open_store
from etl.store.tags import write_tag
from tests.support.masked_store import FIRST, ROWS, SECOND, with_masks
from tests.support.tiny_model import tiny_model
from tests.support.tiny_release import build_serial, csv_row, slice_png, tiny_config, write_release
from tests.support.toy_derivations import plane_means

SPLIT = "000002_01_01"
MODEL_ID = "brightness-3f6a09c2d1e4b785"


def write_all_kinds(folder: Path) -> Config:
    """Build a store of five versions; the first has the tag `paper`, the last names all that it can.

    Of the three slices of the series `SPLIT` the middle one is damaged, so that its run is split in two.
    """
    release = folder / "release"
    present = {FIRST: range(103, 116), SECOND: range(8, 24), SPLIT: (3, 4, 5)}
    write_release(release, present, (*ROWS, csv_row(SPLIT, 3, (3, 5))))
    archive, png = release / "Images_png_01.zip", slice_png(SPLIT, 4)
    archive.write_bytes(archive.read_bytes().replace(png, png[:-1] + b"?"))

    config = tiny_config(release, folder / "store", volume={"pyramid_levels": 2})
    build_serial(config.model_copy(update={"volume": config.volume.model_copy(update={"antialias": False})}))
    build_serial(config)
    with_masks(config.store, folder, level_count=2)
    objects = open_objects(config.store)
    add_model(objects, "brightness", MODEL_ID, tiny_model())
    derive(open_store(config.store), plane_means(), SerialExecutor())
    write_tag(objects, "paper", 1)
    shutil.rmtree(folder / "store" / "runs")
    return config

"""The report of one version: a page and the numbers behind its pictures, kept in the store beside it."""

from __future__ import annotations

import logging
import time

import pandas as pd

from etl.report.console.texts import bytes_text
from etl.report.gallery import Gallery, make_gallery
from etl.report.page import Content, render
from etl.report.pictures import hu_pictures, release_pictures
from etl.report.planes import plane_pictures, sample_planes, sights
from etl.report.quality import checks
from etl.report.summary import summarise
from etl.store.layout import report_path
from etl.store.reader import Store, open_store

logger = logging.getLogger(__name__)

PAGE = "index.html"
SAMPLE = 0.15
"""Of the lesions, on the map of the body."""

_SLICE_COLUMNS = (
    *("volume_id", "slice_index", "hu_minimum", "hu_maximum", "hu_mean"),
    # Versions from before the masks lack these.
    *(f"location_mask_{side}_{end}" for side in ("column", "row") for end in ("first", "last")),
)


def make_report(store: Store, share: float = SAMPLE) -> dict[str, bytes]:
    """The files of a version's report by name, the page last. The same version gives the same bytes.

    Args:
        share: of the lesions that the map of the body shows, 0 to 1.

    Raises:
        StoreError, OSError: the store can't be read. A volume that can't be read costs its picture only.
    """
    there = {name for name, _ in store.version["schemas"]["slices"]}
    slices = store.slices(columns=[name for name in _SLICE_COLUMNS if name in there])
    lesions, volumes = store.lesions(), store.volumes()
    found = checks(lesions, volumes, slices)
    seen = sights(found, volumes)
    worst = [sight for part in seen.values() for sight in part]
    lesion_ids = list(dict.fromkeys(sight.lesion_id for sight in worst if sight.lesion_id is not None))
    gallery = make_gallery(store, (lesions, volumes, slices), lesion_ids)
    planes, failed = plane_pictures(store, worst, volumes)
    release = release_pictures(lesions, volumes, share)
    hu = hu_pictures(slices, sample_planes(store, volumes))
    summary = summarise(store)
    tables = {part.name: part.table for part in (*release, *hu)} | {part.name: part.found for part in found}
    tables |= {"rejects": summary.rejects, "archives": summary.archives, "gallery": _listed(gallery)}
    files = {f"{name}.csv": _csv(table) for name, table in tables.items()}
    content = Content(summary, release, hu, found, gallery, seen, planes, failed)
    return files | {PAGE: render(store, content)}


def write_report(store: Store, share: float = SAMPLE) -> tuple[str, int]:
    """Write a version's report into the store, over one that is there.

    Returns:
        The page's name, relative to the store, and its bytes.

    Raises:
        StoreError, OSError: the store can't be read or written.
    """
    folder = report_path(store.version["version"])
    files = make_report(store, share)
    for name, data in files.items():
        store.objects.write(f"{folder}/{name}", data)
    return f"{folder}/{PAGE}", len(files[PAGE])


def report_after_build(store: str, number: int) -> None:
    """Write the report of a version that was just published; what goes wrong is logged and harms nothing."""
    start = time.monotonic()
    try:
        name, size = write_report(open_store(store, number))
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        logger.warning(
            "version %d is published, but not its report: %s; to try again: jobs/report.py", number, told
        )
        return
    seconds = time.monotonic() - start
    logger.info("report: %s, %s, %.1f s", name, bytes_text(size), seconds)


def _listed(gallery: Gallery) -> pd.DataFrame:
    """A row for each lesion in the gallery."""
    rows = [
        {
            "lesion_id": lesion.lesion_id,
            "volume_id": figure.image.volume_id,
            "file_name": lesion.file_name,
            "plane": figure.image.plane,
            "window_low_hu": figure.image.window_hu[0],
            "window_high_hu": figure.image.window_hu[1],
        }
        for figure in gallery.figures
        for lesion in figure.image.lesions
    ]
    names = ["lesion_id", "volume_id", "file_name", "plane", "window_low_hu", "window_high_hu"]
    return pd.DataFrame(rows, columns=names)


def _csv(table: pd.DataFrame) -> bytes:
    return bytes(table.to_csv(index=False, lineterminator="\n").encode())

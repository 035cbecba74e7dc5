"""The report of one version, kept in the store: a page, and the numbers behind its charts as CSV."""

from __future__ import annotations

import logging
import time

from etl.core.counted import bytes_text
from etl.report.body import body_of
from etl.report.csv_cells import to_csv
from etl.report.gallery import make_gallery
from etl.report.over_time import over_time
from etl.report.page import Content, render
from etl.report.pictures import hu_pictures, release_pictures
from etl.report.planes import plane_pictures, plane_refs
from etl.report.quality import UNUSUAL, checks
from etl.report.summary import summarise
from etl.report.voxels import sample_planes
from etl.store.layout import report_path
from etl.store.reader import Store, open_store
from etl.store.versions import readable, writable

logger = logging.getLogger(__name__)

PAGE = "index.html"
MAP_SHARE = 0.15
"""Share of the lesions that the body map shows."""

_SLICE_COLUMNS = (
    *("volume_id", "slice_index", "hu_minimum", "hu_maximum", "hu_mean"),
    *(f"location_mask_{side}_{end}" for side in ("column", "row") for end in ("first", "last")),
)


def make_report(store: Store, share: float = MAP_SHARE, unusual: float = UNUSUAL) -> dict[str, bytes]:
    """Return the files of a version's report by name, the page last; equal versions give equal bytes.

    Args:
        share: share of the lesions that the body map shows, 0 to 1.
        unusual: limit of the checks, in median absolute deviations from the median.

    Raises:
        StoreError, OSError: the store can't be read. A volume that can't be read only loses its picture.
    """
    # Versions from before the masks lack some of these columns.
    present = {name for name, _ in store.version["schemas"]["slices"]}
    slices = store.slices(columns=[name for name in _SLICE_COLUMNS if name in present])
    lesions, volumes = store.lesions(), store.volumes()
    found = checks(lesions, volumes, slices, unusual)
    refs = plane_refs(found, volumes)
    all_refs = [ref for part in refs.values() for ref in part]
    lesion_ids = list(dict.fromkeys(ref.lesion_id for ref in all_refs if ref.lesion_id is not None))
    gallery = make_gallery(store, (lesions, volumes, slices), lesion_ids)
    planes, failed = plane_pictures(store, all_refs, volumes)
    release = release_pictures(lesions, volumes, share)
    hu = hu_pictures(slices, sample_planes(store, volumes))
    summary, later, body = summarise(store), over_time(store, lesions), body_of(store, lesions)
    tables = {part.name: part.table for part in (*release, *hu)} | {part.name: part.found for part in found}
    tables |= {"rejects": summary.rejects, "archives": summary.archives, "gallery": gallery.listing()}
    tables |= later.tables if later else {}
    tables |= {part.name: part.table for part in body.pictures} if body else {}
    files = {f"{name}.csv": to_csv(table) for name, table in tables.items()}
    content = Content(summary, release, hu, found, gallery, refs, planes, failed, later, body)
    return files | {PAGE: render(store, content)}


def write_report(store: Store, share: float = MAP_SHARE, unusual: float = UNUSUAL) -> tuple[str, int]:
    """Write a version's report into the store, replacing an older one; see `make_report`.

    Returns:
        The page's name, relative to the store, and its size in bytes.

    Raises:
        StoreError: the store can't be read or written.
    """
    folder = report_path(store.version["version"])
    with readable(store.objects):
        files = make_report(store, share, unusual)
    with writable(store.objects):
        for name, data in files.items():
            store.objects.write(f"{folder}/{name}", data)
    return f"{folder}/{PAGE}", len(files[PAGE])


def report_after_build(store: str, number: int, *, is_new: bool = True) -> None:
    """Write the report of a build's version unless it exists; log a failure instead of raising it.

    Args:
        is_new: the version was just published; else an earlier build wrote its report.
    """
    start = time.monotonic()
    try:
        opened = open_store(store, number)
        if not is_new and opened.objects.size(f"{report_path(number)}/{PAGE}") is not None:
            return
        logger.info("writing the report of version %d", number)
        name, size = write_report(opened)
    except Exception as error:
        logger.warning(
            "version %d is published, but not its report: %s: %s; try again with deeplesion report",
            number,
            type(error).__name__,
            error,
        )
        return
    logger.info("report: %s, %s, %.1f s", name, bytes_text(size), time.monotonic() - start)

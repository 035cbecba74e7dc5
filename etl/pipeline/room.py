"""Checks before any work that the store's file system has room for what a build will write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.core.errors import StoreError
from etl.io.places import Objects

if TYPE_CHECKING:
    from etl.pipeline.preview import Preview

LEAST_FREE_BYTES = 16 << 20
"""Room for the tables and the version of any build."""
LEAST_STORED_SHARE = 0.05
"""Share of the voxels' bytes that a store takes at the very least: images with noise compress less."""


def check_any_room(objects: Objects) -> None:
    """Check, before the release is read, that the store's file system is not full.

    Raises:
        StoreError: it is.
    """
    free = objects.free_bytes()
    if free is not None and free < LEAST_FREE_BYTES:
        raise _too_little(objects.root, free, LEAST_FREE_BYTES)


def check_room(preview: Preview, root: str) -> None:
    """Check that the least that the volumes to convert can take is free.

    Raises:
        StoreError: it is not, so that the build is certain to fill the file system.
    """
    voxel_bytes = sum(volume.output_bytes for volume in preview.to_convert)
    least = LEAST_FREE_BYTES + int(voxel_bytes * LEAST_STORED_SHARE)
    if preview.to_convert and preview.free_bytes is not None and preview.free_bytes < least:
        raise _too_little(root, preview.free_bytes, least)


def _too_little(root: str, free: int, least: int) -> StoreError:
    return StoreError(
        "there is too little room for the store",
        where=root,
        value=f"{free:,} bytes are free",
        allowed=f"at least {least:,} bytes, and probably several times as much",
        remedy="free some space, set `store` to another place, or select less",
    )

"""When objects of a store were written, moved as tests want it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from etl.io.local import LocalObjects
from etl.io.places import Objects


def move_written(objects: Objects, name: str, seconds: float) -> None:
    """Let an object have been written so much later."""
    if isinstance(objects, LocalObjects):
        path = Path(objects.root, name)
        written = path.stat().st_mtime + seconds
        os.utime(path, (written, written))
    else:
        from moto.s3.models import s3_backends

        bucket, _, key = f"{objects.root}/{name}".removeprefix("s3://").partition("/")
        (backend,) = (b for b in s3_backends["123456789012"].values() if bucket in b.buckets)
        backend.buckets[bucket].keys[key].last_modified += datetime.timedelta(seconds=seconds)

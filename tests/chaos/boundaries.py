"""The boundaries of writes: every change of a store that this process makes, reported before and after.

Wraps the calls of the operating system and of the S3 driver, whatever code of the store makes them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import wraps
from typing import Any

# Calls that change a store on a disk, and the position of the argument that names the place.
CALLS = {"replace": 1, "rename": 1, "link": 1, "unlink": 0, "remove": 0, "rmdir": 0}
# Requests that change a store in a bucket.
REQUESTS = {
    "put_object",
    "copy_object",
    "delete_object",
    "delete_objects",
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "abort_multipart_upload",
}

OnBoundary = Callable[[str], None]


def watch_boundaries(store: str, on_boundary: OnBoundary) -> None:
    """Call `on_boundary` before and after every change of a store from now on, with a name for the moment.

    Args:
        store: path or s3:// URL.
    """
    if store.startswith("s3://"):
        _watch_bucket(store.removeprefix("s3://"), on_boundary)
        return
    for name, position in CALLS.items():
        setattr(os, name, _watched(store, name, position, on_boundary))
    os.fsync = _halved(store, on_boundary)


def _watched(store: str, name: str, position: int, on_boundary: OnBoundary) -> Callable[..., Any]:
    call = getattr(os, name)

    @wraps(call)
    def around(*args: Any, **kwargs: Any) -> Any:
        path = os.fspath(args[position])
        if not path.startswith(store):
            return call(*args, **kwargs)
        where = f"{name} {path.removeprefix(store).lstrip('/')}"
        on_boundary(f"before {where}")
        result = call(*args, **kwargs)
        on_boundary(f"after {where}")
        return result

    return around


def _halved(store: str, on_boundary: OnBoundary) -> Callable[[int], None]:
    """A file that is not synced yet is cut in half for the moment: that is what a power failure leaves."""
    sync = os.fsync

    def around(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(store) and stat.S_ISREG(os.fstat(descriptor).st_mode):
            with open(path, "rb") as file:
                content = file.read()
            middle = len(content) // 2
            os.ftruncate(descriptor, middle)
            on_boundary(f"half of {path.removeprefix(store).lstrip('/')}")
            os.pwrite(descriptor, content[middle:], middle)
        sync(descriptor)

    return around


def _watch_bucket(store: str, on_boundary: OnBoundary) -> None:
    from s3fs import S3FileSystem

    call = S3FileSystem._call_s3

    @wraps(call)
    async def around(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        place = f"{kwargs.get('Bucket')}/{kwargs.get('Key', '')}"
        if method not in REQUESTS or not place.startswith(store.split("/")[0]):
            return await call(self, method, *args, **kwargs)
        where = f"{method} {place.removeprefix(store).lstrip('/')}"
        on_boundary(f"before {where}")
        result = await call(self, method, *args, **kwargs)
        on_boundary(f"after {where}")
        return result

    S3FileSystem._call_s3 = around

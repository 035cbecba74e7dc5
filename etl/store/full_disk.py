"""Room on a full disk for a prune, which writes a mark before it deletes.

Without room for the mark, the first of what it would delete goes without one: version files, then leftovers
of interrupted writes, then one volume after the other, until the mark can be written. Where the disk is full,
no build can start meanwhile, because it writes a mark of its own first.
"""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Iterable, Sequence

from etl.io.places import PARTIAL, Objects
from etl.store.layout import RUNNING, VERSIONS
from etl.store.named import NAMED_FOLDERS

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MARK_BYTES = 4096


def is_full(error: BaseException | None) -> bool:
    """Return if an error says that a disk or quota is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def written_last(objects: Objects) -> float:
    """Return the time of the store's newest object, which the store's clock has passed; seconds since 1970.

    Raises:
        OSError: the store can't be read.
    """
    folders = (VERSIONS, RUNNING, PARTIAL, *NAMED_FOLDERS)
    return max((item.written_s for f in folders for item in objects.listed(f).values()), default=0.0)


def make_room(objects: Objects, steps: Iterable[Sequence[str]]) -> None:
    """Delete objects, step by step, until a small one can be written.

    Args:
        steps: names of objects.

    Raises:
        OSError: the store can't be read or written, for another reason than a full disk.
    """
    for names in steps:
        objects.remove_all(names)
        if _has_room(objects):
            return


def _has_room(objects: Objects) -> bool:
    name = f"{PARTIAL}/{uuid.uuid4().hex}"
    try:
        objects.write(name, bytes(_MARK_BYTES))
    except OSError as error:
        if not is_full(error):
            raise
        return False
    with contextlib.suppress(FileNotFoundError):
        objects.remove(name)
    return True

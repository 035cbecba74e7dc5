"""What a task frees stays with the worker for the next one, as it would with any other process.

Dask starts its workers with MALLOC_TRIM_THRESHOLD_=65536, with which glibc stops to adapt: each array of
128 KiB and more is given back to the kernel and taken anew page by page, 100,000 page faults a volume.
"""

from __future__ import annotations

import ctypes
import functools

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# How far glibc goes by itself: arrays up to this size are kept, and twice as much of free memory at the end.
_LARGEST_KEPT_BYTES = 32 << 20


@functools.cache
def keep_freed_memory() -> None:
    """Set glibc's thresholds of this process, once; nothing with another C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BYTES)

"""Run one part of the benchmark and print JSON: `python -m benchmarks.part PART FOLDER`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

PARTS = (
    *("conversion", "decoding", "workers", "memory", "planning", "empty_volumes", "reading", "codecs"),
    "checksums",
    "empty_derivations",
    "search",
    "embedding",
    "scoring",
    "masks",
    "loading",
)
# These compare work on one core; all threads of a library are bound to it.
ON_ONE_CORE = ("conversion", "decoding", "checksums", "search", "embedding", "scoring")

if __name__ == "__main__":
    part, folder = sys.argv[1:]
    if part not in PARTS:
        sys.exit(f"no such part: {part!r}; allowed: {', '.join(PARTS)}")
    if part in ON_ONE_CORE and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(json.dumps(importlib.import_module(f"benchmarks.{part}").measure(Path(folder))))

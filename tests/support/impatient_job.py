"""`jobs/build_store.py` with tiny waits and small blocks, as a process of its own that tests can kill."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from etl.staging.fetch import Fetcher
from jobs.build_store import main
from tests.support.remote_release import TAIL_BYTES
from tests.support.transfers import SHORT_WAITS

BLOCK_BYTES = 1 << 18

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        settings = replace(SHORT_WAITS, stall_s=0.3, tail_bytes=TAIL_BYTES)
        patch.setattr("etl.io.retries.DEFAULTS", settings)
        small = partial(Fetcher, block_bytes=BLOCK_BYTES, blocks_a_task=2)
        patch.setattr("etl.pipeline.staged.Fetcher", small)
        main()

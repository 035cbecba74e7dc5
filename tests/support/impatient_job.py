"""`jobs/build_store.py` with tiny waits and small blocks, as a process of its own that tests can kill."""

from __future__ import annotations

from functools import partial

import pytest

from etl.staging.fetch import Fetcher
from jobs.build_store import main
from tests.support.remote_release import TAIL_BYTES

BLOCK_BYTES = 1 << 18

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.io.retries.FIRST_WAIT_SECONDS", 0.001)
        patch.setattr("etl.io.retries.LONGEST_WAIT_SECONDS", 0.01)
        patch.setattr("etl.io.retries.PATIENCE_SECONDS", 0.0)
        patch.setattr("etl.io.http.STALL_SECONDS", 0.3)
        patch.setattr("etl.io.blob_file.TAIL_BYTES", TAIL_BYTES)
        for user in ("etl.pipeline.build", "etl.pipeline.staged"):
            patch.setattr(f"{user}.Fetcher", partial(Fetcher, block_bytes=BLOCK_BYTES, blocks_a_task=2))
        main()

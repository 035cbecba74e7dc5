"""`jobs/build_store.py` with tiny waits and small blocks, as a process of its own that tests can kill."""

from __future__ import annotations

from jobs.build_store import main
from tests.support.remote_release import TAIL_BYTES
from tests.support.transfers import SHORT_WAITS, transfers_changed

if __name__ == "__main__":
    small = {"tail_bytes": TAIL_BYTES, "block_bytes": 1 << 18, "blocks_a_task": 2}
    with transfers_changed(**SHORT_WAITS, **small, stall_s=0.3):
        main()

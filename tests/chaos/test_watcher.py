"""The reader that polls has to have read, or what it saw proves nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.watcher import Watch


@pytest.mark.parametrize("fell_into_it", [True, False])
def test_an_attempt_that_no_reading_fell_into_proves_nothing(fell_into_it: bool, tmp_path: Path) -> None:
    now = time.monotonic()
    times = [(now - 9, now - 8), (now + 60, now + 61)]
    if fell_into_it:
        times.insert(1, (now - 6, now - 5))
    lines = [f"store 1 {began} {ended} whole\n" for began, ended in times]
    (tmp_path / "seen").write_text("".join(lines) + "store 1 cut")
    watch = Watch(tmp_path)
    assert (len(watch.seen()), watch.wrong()) == (len(times), [])
    if fell_into_it:
        watch.assert_read("store", 0, now - 7)
        return
    with pytest.raises(AssertionError):
        watch.assert_read("store", 0, now - 7)

"""The parts `empty_volumes`, `empty_derivations` and `workers`, with real worker processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import empty_derivations, empty_volumes, workers


@pytest.mark.campaign
def test_every_count_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    found = empty_volumes.measure(tmp_path, counts=(20, 50), part=0.002)
    assert [row["volumes"] for row in found["empty_volumes"]] == [20, 50]
    assert found["empty_volumes_per_second"] > 0


@pytest.mark.campaign
def test_every_count_of_derivations_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    found = empty_derivations.measure(tmp_path, counts=(20, 70))
    assert [row["volumes"] for row in found["empty_derivations"]] == [20, 70]
    assert found["empty_derivations_per_second"] > 0


@pytest.mark.campaign
def test_two_workers_against_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = workers.measure(tmp_path, repeats=1, volumes=2, slices=3)
    assert set(found["seconds_by_workers"]) == {"1", "2"}
    assert found["speedup_2_workers"] > 0

"""A store opened in one process is read in others, forked and spawned, from disk and from a bucket."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.support.processes import run
from tests.support.s3_server import Bucket
from tests.support.stored import files_below

STORE = Path(__file__).parent.parent / "contract" / "store_v1"

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="needs PyTorch, which is too large for the lock: make torch",
)
METHODS = ["fork", "spawn"]
FORK = pytest.param("fork", marks=pytest.mark.campaign)
TORCH_FORK, TORCH_SPAWN = (
    pytest.param(f"torch-{method}", marks=[needs_torch, pytest.mark.campaign]) for method in METHODS
)


def check_workers(place: str, method: str) -> None:
    command = [sys.executable, "-m", "tests.support.reading_in_workers", place, method]
    done = run(command)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert len(set(numbers["here"])) == 3
    assert numbers["workers"] == numbers["here"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", FORK, TORCH_FORK])
def test_workers_read_what_their_parent_reads(method: str) -> None:
    check_workers(str(STORE), method)


@pytest.mark.campaign
@pytest.mark.parametrize("method", [*METHODS, TORCH_SPAWN])
def test_workers_read_from_a_bucket(s3_bucket: Bucket, method: str) -> None:
    for name, content in files_below(STORE).items():
        s3_bucket.put(f"kept/{name}", content)
    check_workers(f"{s3_bucket.url}/kept", method)

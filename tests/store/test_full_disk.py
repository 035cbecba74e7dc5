"""A prune on a full disk: it deletes until its mark can be written, then goes on as ever."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import GuardError, StoreError
from etl.io.local import LocalObjects
from etl.store.prune import prune
from etl.store.running import mark_path
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.support.three_volumes import files_of


@dataclass(frozen=True)
class Full(LocalObjects):
    """A disk that has room for another object only below a number of bytes in all."""

    most_bytes: int = 0
    error: int = errno.ENOSPC

    def write(self, name: str, *pieces: bytes) -> None:
        if sum(map(len, files_of(self.root).values())) >= self.most_bytes:
            raise OSError(self.error, "No space left on device", name)
        super().write(name, *pieces)


@pytest.fixture
def config(three_versions: Config) -> Config:
    Path(three_versions.store, ".partial", "0" * 32).write_bytes(b"left")
    return three_versions


def used(store: str) -> int:
    return sum(map(len, files_of(store).values()))


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("short", [0, 15_000, 60_000])
def test_a_prune_makes_room_for_itself(config: Config, code: int, short: int) -> None:
    """The disk has no room before some bytes are gone: a version file, leftovers, or several volumes."""
    full = Full(config.store, used(config.store) - short, code)
    found = prune(full, 1, 0)
    assert found.kept == (3,)
    objects = LocalObjects(config.store)
    assert version_numbers(objects) == [3]
    assert verify(objects, 3).problems == ()
    assert not list(objects.list(".partial"))
    assert prune(objects, 1, 0).units["volumes"] == ()


def test_a_prune_that_finds_no_room_deletes_all_it_may_and_says_so(config: Config) -> None:
    with pytest.raises(StoreError, match="No space left"):
        prune(Full(config.store, 0), 1, 0)
    objects = LocalObjects(config.store)
    assert version_numbers(objects) == [3]
    assert verify(objects, 3).problems == ()
    assert len(list(Path(config.store).glob("volumes/*/*.receipt.json"))) == 3


def test_a_job_that_may_still_run_is_left_alone(config: Config) -> None:
    objects = LocalObjects(config.store)
    objects.write(mark_path("build"), b"{}")
    before = files_of(config.store)
    with pytest.raises(GuardError, match="another job runs on the store"):
        prune(Full(config.store, 0), 1, 0)
    assert files_of(config.store) == before


def test_another_fault_of_the_disk_deletes_nothing(config: Config) -> None:
    before = files_of(config.store)
    with pytest.raises(StoreError):
        prune(Full(config.store, 0, errno.EIO), 1, 0)
    assert files_of(config.store) == before


def test_a_dry_run_needs_no_write_access(config: Config) -> None:
    before = files_of(config.store)
    dry = prune(Full(config.store, 0, errno.EROFS), 1, 0, dry_run=True)
    assert files_of(config.store) == before
    assert dry.versions == (1, 2)

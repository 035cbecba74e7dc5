from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import ConfigError
from etl.io.buckets import BucketStaging
from etl.io.local import LocalStaging
from etl.io.opening import open_blob, open_staging
from etl.io.places import PartGoneError, StagingArea
from tests.support.fetching import Staged
from tests.support.s3_server import Bucket


@pytest.fixture
def area(staged: Staged) -> StagingArea:
    return staged.area


def test_each_place_has_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_staging("here") == LocalStaging(str(tmp_path / "here"))
    assert open_staging("file:///data/staging") == LocalStaging("/data/staging")
    assert open_staging("s3://bucket/prefix/") == BucketStaging("s3://bucket/prefix")
    with pytest.raises(ConfigError, match=r"source\.staging"):
        open_staging("https://host/staging")


def test_an_area_that_does_not_exist_yet_is_empty(area: StagingArea) -> None:
    assert area.size("a.zip") is None
    assert area.part_bytes("a.zip") == 0
    assert area.names("") == area.part_names("") == []
    area.discard("a.zip")
    area.remove("a.zip")
    with pytest.raises(PartGoneError):
        area.finish("a.zip", 1)


def test_a_part_grows_and_becomes_a_file_at_once(area: StagingArea) -> None:
    area.append("a.zip", 0, b"first ")
    area.append("a.zip", 6, b"second")
    assert area.part_bytes("a.zip") == 12
    assert b"".join(area.read_part("a.zip")) == b"first second"
    assert (area.size("a.zip"), area.names(""), area.part_names("")) == (None, [], ["a.zip"])
    area.finish("a.zip", 12)
    assert (area.size("a.zip"), area.names(""), area.part_names("")) == (12, ["a.zip"], [])
    assert open_blob(area.url("a.zip")).read(0, 12) == b"first second"
    area.remove("a.zip")
    assert (area.size("a.zip"), area.names("")) == (None, [])


def test_names_are_found_by_their_beginning_letter_by_letter(area: StagingArea) -> None:
    for name in ("a[1].b.zip", "a1.b.zip", "aXb.zip"):
        area.append(name, 0, b"1")
        area.finish(name, 1)
        area.append(name, 0, b"2")
    assert area.names("a[1].") == area.part_names("a[1].") == ["a[1].b.zip"]
    assert area.names("a") == area.part_names("a") == ["a1.b.zip", "aXb.zip", "a[1].b.zip"]


def test_the_same_block_twice_changes_nothing(area: StagingArea) -> None:
    for _ in range(2):
        area.append("a.zip", 0, b"12345")
        area.append("a.zip", 5, b"678")
    assert b"".join(area.read_part("a.zip")) == b"12345678"


def test_a_discarded_part_is_gone_with_all_its_blocks(area: StagingArea) -> None:
    area.append("a.zip", 0, b"12345")
    area.append("a.zip", 5, b"678")
    area.discard("a.zip")
    assert (area.part_bytes("a.zip"), area.part_names("")) == (0, [])


def test_a_late_block_never_makes_a_gap_that_counts(area: StagingArea) -> None:
    """Another run finished or discarded the part meanwhile, and a third has restarted it."""
    for name, begun in (("a.zip", b""), ("b.zip", b"123")):
        if begun:
            area.append(name, 0, begun)
        try:
            area.append(name, 5, b"678")
        except PartGoneError:
            assert isinstance(area, LocalStaging)
        assert area.part_bytes(name) == len(begun)
        assert b"".join(area.read_part("b.zip") if begun else []) == begun


def test_a_part_of_another_size_is_not_finished(area: StagingArea) -> None:
    """Another run is discarding it block by block, or has restarted it."""
    area.append("a.zip", 0, b"12345")
    with pytest.raises(PartGoneError):
        area.finish("a.zip", 6)
    assert area.size("a.zip") is None


def test_a_part_that_another_run_finished_is_gone(area: StagingArea) -> None:
    area.append("a.zip", 0, b"12345")
    area.finish("a.zip", 5)
    with pytest.raises(PartGoneError):
        area.finish("a.zip", 5)
    assert area.size("a.zip") == 5


@pytest.mark.slow
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5))
def test_blocks_of_any_size_are_joined_in_order(area: StagingArea, blocks: list[bytes]) -> None:
    at = 0
    for block in blocks:
        area.append("a.zip", at, block)
        at += len(block)
        assert area.part_bytes("a.zip") == at
    assert b"".join(area.read_part("a.zip")) == b"".join(blocks)
    area.finish("a.zip", at)
    assert open_blob(area.url("a.zip")).read(0, at) == b"".join(blocks)


def test_a_bucket_joins_real_blocks_without_sending_them_again(s3_bucket: Bucket) -> None:
    area = BucketStaging(f"{s3_bucket.url}/staging")
    block = os.urandom(8 * 2**20)
    area.append("a.zip", 0, block)
    area.append("a.zip", len(block), b"the last one is short")
    assert s3_bucket.all_keys() == [f"staging/.partial/a.zip/{at:015d}" for at in (0, len(block))]
    area.finish("a.zip", len(block) + 21)
    assert s3_bucket.all_keys() == ["staging/a.zip"]
    assert s3_bucket.get("staging/a.zip") == block + b"the last one is short"
    assert "-" in s3_bucket.client.head_object(Bucket=s3_bucket.name, Key="staging/a.zip")["ETag"]  # in parts


def test_a_folder_next_to_it_is_no_archive(area: StagingArea, tmp_path: Path) -> None:
    area.append("a.zip", 0, b"1")
    area.finish("a.zip", 1)
    if isinstance(area, LocalStaging):
        Path(area.root, "a.folder").mkdir()
    else:
        area.append("../a.folder/a.zip", 0, b"1")
    assert area.names("a") == ["a.zip"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_an_oserror(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        LocalStaging(str(tmp_path / "staging")).append("a.zip", 0, b"1")


def test_a_place_that_is_no_folder_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    area = LocalStaging(str(tmp_path / "file"))
    for ask in (lambda: area.size("a.zip"), lambda: area.append("a.zip", 0, b"1")):
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            ask()


def test_a_bucket_that_is_not_there_is_an_oserror(s3_bucket: Bucket) -> None:
    area = BucketStaging(f"{s3_bucket.url}-missing/staging")
    with pytest.raises(OSError, match="bucket"):
        area.append("a.zip", 0, b"1")

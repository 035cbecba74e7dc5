"""The release on this disk, extracted, on a server, in a bucket: one store."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from etl.core.errors import GuardError
from etl.run.serial import SerialExecutor
from etl.staging.fetch import RemoteArchive
from etl.store.reader import open_store
from tests.support.remote_release import (
    ARCHIVES,
    BLOCK_BYTES,
    CSV,
    VOLUMES,
    InBucket,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    build_by_command,
    local_source,
    published_bytes,
    receipts,
    store_data,
)
from tests.support.s3_server import Bucket

pytestmark = pytest.mark.usefixtures("small_blocks")


@dataclass(frozen=True)
class Places:
    """The places of the release, and those where it may be staged."""

    release: Path
    served: Served
    held: InBucket
    folder: Path

    @property
    def bucket(self) -> Bucket:
        return self.held.bucket

    @property
    def in_bucket(self) -> dict[str, Any]:
        return self.held.source(archives=[f"{self.held.url}/Images_png_*.zip"])

    @property
    def with_checksums(self) -> dict[str, Any]:
        def entry(name: str) -> dict[str, str]:
            sha256 = hashlib.sha256((self.release / name).read_bytes()).hexdigest()
            return {"url": f"{self.served.server.url}/{name}", "sha256": sha256}

        return {"annotations": entry(CSV), "archives": [entry(name) for name in ARCHIVES]}

    def without_ranges(self) -> dict[str, Any]:
        self.served.server.has_ranges = False
        return self.served.source(staging=str(self.folder))


@pytest.fixture
def places(
    release: Path,
    served: Served,
    s3_bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Places:
    # Buckets join parts of 5 MiB and more only; tests make do with small ones.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    return Places(release, served, InBucket.of(s3_bucket, release), tmp_path / "staging")


WAYS: dict[str, Callable[[Places], dict[str, Any]]] = {
    "http in place": lambda at: at.served.source(),
    "http staged in a folder": lambda at: at.with_checksums | {"staging": str(at.folder)},
    "http staged in a bucket": lambda at: at.served.source(staging=f"{at.bucket.url}/staging"),
    "http without ranges": lambda at: at.without_ranges(),
    "bucket in place": lambda at: at.in_bucket,
    "bucket staged in a folder": lambda at: at.in_bucket | {"staging": str(at.folder)},
    "file urls": lambda at: {
        "annotations": f"file://{at.release / CSV}",
        "archives": [f"file://{at.release}/Images_png_*.zip"],
    },
    "some here and some there": lambda at: at.served.source(
        archives=[str(at.release / ARCHIVES[0]), *at.served.source()["archives"][1:]], staging=str(at.folder)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_store(way: str, places: Places, local_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = build_as_job(store_data(store, WAYS[way](places)), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert_same_store(store, local_store)
    assert_accounts(store)
    assert receipts(store) == set(VOLUMES)


@pytest.mark.slow
def test_staged_archives_are_the_archives(places: Places, tmp_path: Path) -> None:
    for staging in (str(places.folder), f"{places.bucket.url}/staging"):
        store = tmp_path / ("bucket" if "://" in staging else "folder")
        build_as_job(store_data(store, places.served.source(staging=staging)), SerialExecutor())
    expected = sorted((places.release / name).read_bytes() for name in ARCHIVES)
    assert min(map(len, expected)) > 2 * BLOCK_BYTES
    assert sorted(path.read_bytes() for path in places.folder.glob("*.zip")) == expected
    keys = [key for key in places.bucket.all_keys() if key.startswith("staging/")]
    assert sorted(places.bucket.get(key) for key in keys) == expected


@pytest.mark.slow
def test_extracted_slices_give_the_same_volumes_and_rows(
    release: Path, local_store: Path, tmp_path: Path
) -> None:
    source = {"annotations": str(release / CSV), "images": str(release / "Images_png")}
    build_as_job(store_data(tmp_path, source), SerialExecutor())
    assert_accounts(tmp_path)
    (ours, theirs) = (published_bytes(tmp_path), published_bytes(local_store))
    of_volumes = {name for name in ours if name.startswith("volumes/0")}
    assert {n: ours[n] for n in of_volumes} == {n: theirs[n] for n in theirs if n.startswith("volumes/0")}
    assert len(of_volumes) >= 4 * 3
    stores = open_store(str(tmp_path)), open_store(str(local_store))
    for table in ("lesions", "volumes", "slices", "rejects"):
        found, expected = (
            getattr(store, table)().drop(columns=["archive", "source_archives"], errors="ignore")
            for store in stores
        )
        pd.testing.assert_frame_equal(found, expected)
    assert set(stores[0].slices()["archive"]) == {"Images_png"}
    assert set(stores[1].slices()["archive"]) == set(ARCHIVES)


@pytest.mark.parametrize("place", ["http", pytest.param("bucket", marks=pytest.mark.slow)])
def test_annotations_that_are_another_file_end_with_2_before_any_work(
    place: str, places: Places, tmp_path: Path
) -> None:
    source = places.served.source() if place == "http" else places.in_bucket
    annotations = {"url": source["annotations"], "sha256": "0" * 64}
    data = store_data(tmp_path / "store", source | {"annotations": annotations})
    done = build_by_command(tmp_path, data, code=2)
    sha256 = hashlib.sha256((places.release / CSV).read_bytes()).hexdigest()
    for words in ("another checksum than the config expects", sha256, "0" * 64, annotations["url"]):
        assert words in done.stderr
    assert not (tmp_path / "store").exists()
    assert places.served.server.requests == [] or place == "http"


@pytest.mark.parametrize("place", ["http", pytest.param("bucket", marks=pytest.mark.slow)])
def test_annotations_that_are_not_there_end_with_2(place: str, places: Places, tmp_path: Path) -> None:
    source = places.served.source() if place == "http" else places.in_bucket
    source["annotations"] = source["annotations"].replace(CSV, "none.csv")
    done = build_by_command(tmp_path, store_data(tmp_path / "store", source), code=2)
    assert "the annotations can't be read" in done.stderr
    assert "none.csv" in done.stderr


def test_a_web_page_instead_of_the_annotations_ends_with_2(served: Served, tmp_path: Path) -> None:
    served.server.put(f"/{CSV}", b"<!DOCTYPE html><p>This link has expired.</p>")
    data = store_data(tmp_path / "store", local_source(served.release))
    other = f"source.annotations={served.server.url}/{CSV}"
    assert CSV in build_by_command(tmp_path, data, "--set", other, code=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", ["in place", "staged"])
def test_the_official_links_without_staging_are_checked_slice_by_slice(
    way: str,
    served: Served,
    local_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    official = tuple(
        RemoteArchive(f"{served.server.url}/{name}", name, served.bytes(number), "0" * 64)
        for number, name in enumerate(ARCHIVES, 1)
    )
    monkeypatch.setattr("etl.release.sources.official_archives", lambda: official)
    staging = str(tmp_path / "staging") if way == "staged" else None
    source = served.source(archives=["official"], staging=staging)
    data = store_data(tmp_path / "store", source, limits={"rejects": 1.0})
    if way == "staged":
        with pytest.raises(GuardError, match=r"3 of 3: .*archive_checksum"):
            build_as_job(data, SerialExecutor())
    else:
        build_as_job(data, SerialExecutor())
        assert_same_store(tmp_path / "store", local_store)
    logged = [r for r in caplog.records if "the CRC-32 of each slice is checked" in r.getMessage()]
    assert len(logged) == (way == "in place")

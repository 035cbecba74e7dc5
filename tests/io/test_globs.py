"""Globs, of which no match is left out because a folder can't be listed or a link leads nowhere."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from etl.core.errors import SourceError
from etl.io.bucket_blobs import matching_urls
from etl.io.globs import matching_paths
from etl.io.places import BlobRefused
from etl.release.archives import index_archives
from etl.release.folders import index_folder
from etl.release.sources import ArchiveEntry
from tests.support.faulty_s3 import S3Fault, serve_faulty_s3
from tests.support.s3_server import Bucket, use_s3

PATTERNS = [
    "*.zip",
    "?/*.zip",
    "[ab]/1.zip",
    "*/1.zip",
    "*/x/*",
    "*",
    ".*",
    "*/.h*",
    "none/*",
    "a/1.zip/*",
    "c/[1]",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.zip", "a/2.zip", "b/1.zip", "b/x/3.zip", ".h/1.zip", "b/.hidden", "c/[1]", "4.zip"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_paths_match_as_for_python(folder: Path, pattern: str) -> None:
    expected = sorted(glob.glob(str(folder / pattern))) if pattern != "c/[1]" else [str(folder / pattern)]
    assert matching_paths(str(folder / pattern)) == expected


@pytest.mark.parametrize("pattern", ["**", "**/1.zip", "a/**.zip"])
def test_any_number_of_folders_is_refused(folder: Path, pattern: str) -> None:
    for read in (lambda place: index_archives([ArchiveEntry(place)]), index_folder):
        with pytest.raises(SourceError, match=r"give \* once for each level of folders"):
            read(str(folder / pattern))


@pytest.mark.parametrize("pattern", ["*/*.zip", "b/*.zip"])
def test_a_folder_that_can_t_be_listed(folder: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def fail(path: str) -> list[str]:
        if Path(path).name == "b":
            raise OSError(116, "Stale file handle", path)
        return listed(path)

    monkeypatch.setattr(os, "listdir", fail)
    for read, value in (
        (lambda place: index_archives([ArchiveEntry(place)]), "an archive can't be read"),
        (index_folder, "part of the release can't be read"),
    ):
        with pytest.raises(SourceError, match=rf"{value}(.|\n)*Stale file handle") as caught:
            read(str(folder / pattern))
        assert str(folder / "b") in str(caught.value)


def test_a_link_to_a_disk_that_is_not_mounted(folder: Path) -> None:
    (folder / "5.zip").symlink_to("/none/5.zip")
    for pattern in ("*.zip", "5.zip"):
        with pytest.raises(SourceError, match=r"an archive can't be read(.|\n)*5\.zip"):
            index_archives([ArchiveEntry(str(folder / pattern))])


@pytest.mark.slow
def test_a_folder_of_a_bucket_that_can_t_be_listed(
    s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [s3_bucket.put(f"{name}.zip", b"PK") for name in ("a/1", "b/2")]
    s3_bucket.put("b/deeper/3.zip", b"PK")
    assert matching_urls(f"{s3_bucket.url}/*/*.zip") == urls
    assert matching_urls(f"{s3_bucket.url}/none/*.zip") == matching_urls(f"{s3_bucket.url}/a/1.zip/*") == []
    with pytest.raises(OSError, match="once for each level of folders"):
        matching_urls(f"{s3_bucket.url}/**.zip")
    with serve_faulty_s3() as faulty:
        use_s3(monkeypatch, faulty.url)
        faulty.choose = lambda request: S3Fault.FORBIDDEN if "prefix=b" in request.query else None
        for pattern in ("*/*.zip", "b/*.zip"):
            with pytest.raises(BlobRefused, match="as the test wants it"):
                matching_urls(f"{s3_bucket.url}/{pattern}")

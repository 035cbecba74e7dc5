"""Archives from elsewhere that are made to harm, or just packed in another way, read in place and staged."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from etl.release.index import MAX_SLICE_BYTES
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.processes import BUILD_STORE, LIMIT_SECONDS, environment
from tests.support.remote_release import (
    ARCHIVES,
    VOLUMES,
    InBucket,
    Served,
    assert_accounts,
    assert_same_store,
    assert_the_second_archive_goes_on,
    build_as_job,
    build_by_command,
    published_bytes,
    receipts,
    store_data,
)
from tests.support.small_disks import mounted, remount
from tests.support.stored import files_below, version_names, write_config

pytestmark = pytest.mark.usefixtures("small_blocks", "impatient")

SERIES = "Images_png/000001_01_01"
EVIL = "Images_png/../../../../../../../../../../../../../evil/000001_01_01/109.png"


@pytest.fixture(params=["server", pytest.param("bucket", marks=pytest.mark.slow)])
def offered(request: pytest.FixtureRequest, release: Path) -> Served | InBucket:
    """The release from afar."""
    if request.param == "server":
        served: Served = request.getfixturevalue("served")
        return served
    return InBucket.of(request.getfixturevalue("s3_bucket"), release)


@pytest.fixture(params=["in place", "staged"])
def data(request: pytest.FixtureRequest, offered: Served | InBucket, tmp_path: Path) -> dict[str, Any]:
    """`offered`, to be built into `tmp_path / "work" / "store"`."""
    folder = tmp_path / "work"
    staging = str(folder / "staging") if request.param == "staged" else None
    return store_data(folder / "store", offered.source(staging=staging), limits={"rejects": 1.0})


def packed(offered: Served | InBucket, method: int, extra: dict[str, bytes] | None = None) -> bytes:
    """The first archive once more, with other members before its own."""
    data = io.BytesIO()
    with (
        zipfile.ZipFile(offered.release / ARCHIVES[0]) as source,
        zipfile.ZipFile(data, "w", method, compresslevel=1) as target,
    ):
        for name, content in (extra or {}).items():
            target.writestr(name, content)
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return data.getvalue()


def rejected(store: Path) -> list[tuple[str, str]]:
    """(reason, where) of what the release itself does not lack."""
    rejects = open_store(str(store)).rejects()
    found = zip(rejects["reason"], rejects["found_in"], strict=True)
    return [(reason, where) for reason, where in found if reason != "slice_missing"]


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("is_zip64", [False, True], ids=["", "zip64"])
def test_however_it_is_packed_the_volumes_are_the_same(
    method: int,
    is_zip64: bool,
    offered: Served | InBucket,
    data: dict[str, Any],
    local_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_zip64:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50_000)
    content = packed(offered, method)
    assert (b"PK\x06\x06" in content[-500:]) == is_zip64
    offered.put(ARCHIVES[0], content)
    build_as_job(data, SerialExecutor())
    assert published_bytes(Path(data["store"])) == published_bytes(local_store)


@pytest.mark.slow
def test_a_member_that_declares_too_much_is_never_read(
    offered: Served | InBucket, data: dict[str, Any], local_store: Path
) -> None:
    """No byte of a bomb of 64 MiB in 64 kB is requested, except for the blocks that are staged."""
    bomb = packed(offered, zipfile.ZIP_DEFLATED, {f"{SERIES}/116.png": bytes(4 * MAX_SLICE_BYTES)})
    offered.put(ARCHIVES[0], bomb)
    build_as_job(data, SerialExecutor())
    store = Path(data["store"])
    assert rejected(store) == [("slice_too_large", f"{ARCHIVES[0]}: {SERIES}/116.png")]
    assert_accounts(store)
    volumes = {n: b for n, b in published_bytes(store).items() if n.startswith("volumes/0")}
    assert volumes == {n: b for n, b in published_bytes(local_store).items() if n.startswith("volumes/0")}


@pytest.mark.slow
def test_a_member_that_declares_too_little_is_not_inflated_beyond_it(
    offered: Served | InBucket, data: dict[str, Any], local_store: Path
) -> None:
    """The directory says 1,000 bytes, 64 MiB would come: the slice is rejected, its neighbours are built."""
    name = f"{SERIES}/102.png"
    bomb = bytearray(packed(offered, zipfile.ZIP_DEFLATED, {name: bytes(4 * MAX_SLICE_BYTES)}))
    entry = bomb.rindex(name.encode()) - 46
    assert bomb[entry : entry + 4] == b"PK\x01\x02"
    bomb[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    offered.put(ARCHIVES[0], bytes(bomb))
    build_as_job(data, SerialExecutor())
    store = Path(data["store"])
    assert rejected(store) == [("slice_crc_mismatch", f"{ARCHIVES[0]}: 000001_01_01/102.png")]
    assert receipts(store) == set(VOLUMES)
    assert_accounts(store)
    ours, theirs = published_bytes(store), published_bytes(local_store)
    assert all(ours[name] == theirs[name] for name in theirs if name.startswith("volumes/0"))


@pytest.mark.slow
def test_a_damaged_slice_splits_its_run(offered: Served | InBucket, data: dict[str, Any]) -> None:
    """Slice 109 has a byte that is not its own; the archive's directory knows nothing of it."""
    content = bytearray((offered.release / ARCHIVES[0]).read_bytes())
    content[content.index(f"{SERIES}/109.png".encode()) + 5000] ^= 1
    offered.put(ARCHIVES[0], bytes(content))
    build_as_job(data, SerialExecutor())
    store = Path(data["store"])
    reasons = [reason for reason, _ in rejected(store)]
    assert reasons == ["key_slice_rejected", "slice_crc_mismatch"]
    halves = {"000001_01_01_103-108", "000001_01_01_110-115"}
    assert receipts(store) == set(VOLUMES) - {"000001_01_01_103-115"} | halves
    assert_accounts(store)


@pytest.mark.slow
def test_names_inside_archives_never_become_paths(
    offered: Served | InBucket, data: dict[str, Any], tmp_path: Path
) -> None:
    names = [
        EVIL,
        "../../evil.png",
        "/evil.png",
        f"{SERIES}/../../../evil.png",
        "C:\\evil.png",
        "evil\n.png",
    ]
    content = packed(offered, zipfile.ZIP_STORED, dict.fromkeys(names, b"evil"))
    offered.put(ARCHIVES[0], content)
    build_as_job(data, SerialExecutor())
    store = Path(data["store"])
    assert [reason for reason, _ in rejected(store)] == ["member_name_unexpected"] * len(names)
    assert receipts(store) == set(VOLUMES)
    assert_accounts(store)
    assert {path.name for path in tmp_path.iterdir()} == {"work"}
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {"store", "staging"}
    assert not [name for name in files_below(tmp_path) if "evil" in name]
    assert not any(content == b"evil" for content in files_below(tmp_path).values())
    assert not Path("/evil").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "paths",
    [
        ["/a/..%2F..%2F..%2Fout_01.zip", "/b\\..\\..\\out_02.zip", "/a/%00.zip"],
        ["/1/a.zip", "/2/a.zip", "/3/a.zip"],
    ],
    ids=["dots", "equal names"],
)
def test_names_of_archives_never_leave_the_staging_folder(
    paths: list[str], served: Served, tmp_path: Path
) -> None:
    urls = []
    for path, name in zip(paths, ARCHIVES, strict=True):
        served.server.put(unquote(path), (served.release / name).read_bytes())
        urls.append(served.server.url + path)
    staging = tmp_path / "work" / "staging"
    data = store_data(tmp_path / "work" / "store", served.source(archives=urls, staging=str(staging)))
    build_as_job(data, SerialExecutor())
    assert receipts(tmp_path / "work" / "store") == set(VOLUMES)
    assert {path.name for path in tmp_path.iterdir()} == {"work"}
    assert len([path for path in staging.iterdir() if path.is_file()]) == len(ARCHIVES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one archive and a part of the next."""
    with mounted(tmp_path / "disk", "5m"):
        yield tmp_path / "disk"


@pytest.mark.slow
def test_a_full_staging_folder_ends_with_4_and_the_next_run_goes_on(
    small_disk: Path, served: Served, local_store: Path, tmp_path: Path
) -> None:
    data = store_data(tmp_path / "store", served.source(staging=str(small_disk)))
    done = build_by_command(tmp_path, data, code=4)
    said = done.stderr[done.stderr.index("error: ") :]
    for words in (ARCHIVES[1], "No space left on device", "run the same again"):
        assert words in said
    assert "Traceback" not in said
    assert version_names(tmp_path / "store") == []
    remount(small_disk, "size=20m")
    assert_the_second_archive_goes_on(data, served, local_store)


@pytest.mark.slow
def test_with_too_little_room_for_all_but_not_for_a_few_nothing_need_be_kept(
    small_disk: Path, served: Served, local_store: Path, tmp_path: Path
) -> None:
    source = served.source(staging=str(small_disk), keep_archives=False, downloads=1)
    remount(small_disk, "size=7m")
    assert sum(served.bytes(number) for number in (1, 2, 3)) > 7 * 2**20
    build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_a_write_that_is_refused_ends_the_process_with_4(
    served: Served, local_store: Path, tmp_path: Path
) -> None:
    """A quota refuses like this; the store's own files are smaller."""
    data = store_data(tmp_path / "store", served.source(staging=str(tmp_path / "staging")))
    config = write_config(tmp_path, data)
    done = subprocess.run(
        [*BUILD_STORE, config],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=LIMIT_SECONDS,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
    )
    assert done.returncode == 4, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert version_names(tmp_path / "store") == []
    assert sum(path.stat().st_size for path in (tmp_path / "staging").rglob("*.zip")) >= 1
    build_as_job(data, SerialExecutor())
    assert_same_store(tmp_path / "store", local_store)
    assert os.path.getsize(next((tmp_path / "staging").glob("Images_png_01*"))) == served.bytes(1)

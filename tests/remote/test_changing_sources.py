"""Sources that are other ones after a while: changed, damaged, mended, or gone."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import SourceError
from etl.run.serial import SerialExecutor
from tests.support.http_faults import Cut, Request
from tests.support.remote_release import (
    ARCHIVES,
    CSV,
    VOLUMES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    published_bytes,
    receipts,
    store_data,
)
from tests.support.s3_server import use_s3
from tests.support.spoiling import (
    STRUCK,
    assert_next_run_mends,
    assert_only_touched_is_missing,
    change,
    planned_then,
    reasons,
    shorten,
)
from tests.support.transfers import USUAL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_blocks", "impatient")]


@pytest.mark.parametrize("staging", [None, "staging"])
def test_without_etags_another_size_is_noticed(
    staging: str | None, served: Served, local_store: Path, tmp_path: Path
) -> None:
    served.server.tagged = ""
    source = served.source(staging=staging and str(tmp_path / staging))
    data = store_data(tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 1})
    planned_then(shorten, served, data)()
    assert_only_touched_is_missing(tmp_path / "store", "archive_changed", local_store)
    assert_next_run_mends(served, data, local_store)


@pytest.mark.parametrize("staging", [None, "staging"])
def test_without_etags_other_bytes_of_the_same_size_are_noticed_slice_by_slice(
    staging: str | None, served: Served, local_store: Path, tmp_path: Path
) -> None:
    """Nothing tells that the archive is another one, but the directory that was planned with has the CRCs."""
    served.server.tagged = ""
    source = served.source(staging=staging and str(tmp_path / staging))
    data = store_data(
        tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 1, "allow_fewer_volumes": True}
    )

    def change_a_slice(served: Served) -> None:
        content = bytearray(served.server.files[STRUCK])
        content[content.index(b"000002_01_01/040.png") + 5000] ^= 1
        served.server.put(STRUCK, bytes(content))

    planned_then(change_a_slice, served, data)()
    assert reasons(tmp_path / "store", "slice") == {"slice_crc_mismatch": 1}
    halves = {"000002_01_01_034-039", "000002_01_01_041-045"}
    assert receipts(tmp_path / "store") == set(VOLUMES) - {"000002_01_01_034-045"} | halves
    assert_accounts(tmp_path / "store")
    served.mend()
    for copy in (tmp_path / "staging").glob("Images_png_02.*"):
        copy.unlink()  # nothing tells that it is another one now, either
    build_as_job(data, SerialExecutor())
    ours, theirs = published_bytes(tmp_path / "store"), published_bytes(local_store)
    assert ours == theirs
    # What was noted of the halves stays, and no version names it.
    assert len(list((tmp_path / "store").glob("volumes/*/*.split.json"))) == 1


def test_a_wrong_checksum_is_rejected_and_fetched_anew(
    served: Served, local_store: Path, tmp_path: Path
) -> None:
    sha256 = hashlib.sha256((served.release / ARCHIVES[1]).read_bytes()).hexdigest()
    archives: list[Any] = served.source()["archives"]
    archives[1] = {"url": archives[1], "sha256": sha256}
    source = served.source(archives=archives, staging=str(tmp_path / "staging"))
    data = store_data(tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 1})
    content = bytearray(served.server.files[STRUCK])
    content[500_000] ^= 1
    served.server.put(STRUCK, bytes(content))
    build_as_job(data, SerialExecutor())
    assert_only_touched_is_missing(tmp_path / "store", "archive_checksum", local_store)
    assert not any("Images_png_02" in path.name for path in (tmp_path / "staging").rglob("*"))
    assert_next_run_mends(served, data, local_store)


def test_a_staged_archive_whose_source_changed_is_fetched_anew_and_alone(
    served: Served, local_store: Path, tmp_path: Path
) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    build_as_job(store_data(tmp_path / "store", source, volume={"spacing_mm": 4.0}), SerialExecutor())
    before = {path.name for path in (tmp_path / "staging").glob("*.zip")}
    change(served)
    served.server.requests.clear()
    done = build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert [bool(served.reads(number)) for number in (1, 2, 3)] == [False, True, False]
    after = {path.name for path in (tmp_path / "staging").glob("*.zip")}
    assert len(after) == 3
    assert {name.split(".")[0] for name in after - before} == {"Images_png_02"}
    # The slices are the same, and so are the volumes and what the tables say of them.
    assert published_bytes(tmp_path / "store") == published_bytes(local_store)


def test_a_server_that_is_gone_ends_with_2(served: Served, tmp_path: Path) -> None:
    archives = [url.replace("127.0.0.1", "127.0.0.2") for url in served.source()["archives"]]
    data = store_data(
        tmp_path / "store", served.source(annotations=str(served.release / CSV), archives=archives)
    )
    with pytest.raises(SourceError) as caught:
        build_as_job(data, SerialExecutor())
    assert "127.0.0.2" in str(caught.value)
    assert not Path(data["store"]).exists()


def test_a_bucket_whose_server_is_gone_ends_with_2(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        use_s3(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        for archives in (["s3://bucket/*.zip"], [f"s3://bucket/{name}" for name in ARCHIVES]):
            source = {"annotations": str(release / CSV), "archives": archives}
            with pytest.raises(SourceError, match="EndpointConnectionError") as caught:
                build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
            assert "s3://bucket/" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("staging", [None, "staging"], ids=["in place", "staged"])
def test_a_server_that_goes_away_after_planning_gives_up_what_is_missing(
    staging: str | None, served: Served, local_store: Path, tmp_path: Path
) -> None:
    source = served.source(staging=staging and str(tmp_path / staging))
    data = store_data(tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 3})
    count = 0
    # One volume in place, or the first archive and a block of the second one.
    fine = 4 if staging else 1

    def after_a_while(request: Request) -> Any:
        nonlocal count
        count += 1
        return None if count <= fine else Cut(0, is_reset=True)

    def spoil(served: Served) -> None:
        served.server.chance = after_a_while

    done = planned_then(spoil, served, data)()
    assert (done.converted, receipts(tmp_path / "store")) == (1, {"000001_01_01_103-115"})
    assert count <= fine + len(ARCHIVES) * USUAL.attempts
    assert reasons(tmp_path / "store", "slice") == {"archive_unavailable": 37}
    assert_accounts(tmp_path / "store")
    served.mend()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (3, 1)
    assert_same_store(tmp_path / "store", local_store)
    if staging is None:
        return
    # The block that had arrived is not fetched again.
    assert served.reads(1) == []
    first = served.reads(2)[0]
    assert first is not None
    assert first[0] > 0

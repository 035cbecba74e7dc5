"""Checks before any work: places, the source on every worker, guards that are certain to refuse."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
import yaml
from click.testing import CliRunner

from etl.convert.convert import Converter
from etl.core.config import Config
from etl.core.errors import ConfigError, EtlError, GuardError, RunError, StoreError
from etl.io.local import LocalObjects
from etl.pipeline.build import build, load_plan
from etl.pipeline.preflight import check_places, check_seen, check_shared
from etl.pipeline.room import LEAST_FREE_BYTES
from etl.pipeline.source_access import check_sources
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from jobs.build_store import main
from tests.support.processes import run
from tests.support.s3_server import Bucket
from tests.support.stored import version_names
from tests.support.tiny_release import build_serial, csv_row, tiny_config, write_release, written

SERIES = "000001_01_01"
ROWS = [csv_row(SERIES, 2, (1, 4))]
Seen = TypeVar("Seen")


def config_with(folder: Path, store: str, **source: Any) -> Config:
    """Args: source: paths in the folder, one or a list a key; archives are always a list."""
    below: dict[str, Any] = {"annotations": str(folder / "DL_info.csv")}
    for key, value in source.items():
        places = [str(folder / place) for place in ([value] if isinstance(value, str) else value)]
        below[key] = tuple(places) if len(places) > 1 or key == "archives" else places[0]
    return Config.model_validate({"store": str(folder / store), "source": below})


@pytest.mark.parametrize(
    ("store", "source"),
    [
        ("images/store", {"images": "images"}),
        ("images", {"images": "images"}),
        ("images/a/../b/store", {"images": "images"}),
        ("link/store", {"images": "images"}),
        ("images/store", {"images": "im*"}),
        ("images/store", {"images": ["other", "images"]}),
        ("store", {"images": "store/images"}),
        ("store", {"archives": ["store/a.zip"]}),
        ("store", {"archives": ["store/*.zip"]}),
        (".", {"images": "images"}),
    ],
)
def test_a_store_in_its_source_or_around_it_is_refused(
    store: str, source: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("images", "other", "store/images"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "store" / "a.zip").touch()
    (tmp_path / "link").symlink_to("images")
    with pytest.raises(ConfigError, match=r"the (store|source) lies inside") as caught:
        check_places(config_with(tmp_path, store, **source))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("store", "source"),
    [
        ("images_store", {"images": "images"}),
        ("images/../store", {"images": "images"}),
        ("data/store", {"archives": ["data/*.zip"]}),
    ],
)
def test_places_side_by_side_are_taken(store: str, source: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    check_places(config_with(tmp_path, store, **source))


@pytest.mark.parametrize("store", ["file", "file/store", "broken/store"])
def test_the_place_of_the_store_is_checked_before_the_csv_is_read(store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "broken").symlink_to("nowhere")
    config = config_with(tmp_path, store, archives="missing.zip")
    with pytest.raises(StoreError, match="the store can't be written"):
        load_plan(config)


def test_a_source_that_one_worker_lacks_ends_the_run_and_names_the_worker(tmp_path: Path) -> None:
    present = {SERIES: [1, 2, 3, 4]}
    for zipped in (True, False):
        release = tmp_path / str(zipped)
        write_release(release, present, ROWS, zipped=zipped)
        plan = load_plan(tiny_config(release, tmp_path / "store", zipped=zipped))
        place = Path(plan.index.containers[0].path)

        def on_two_workers(function: Callable[[], str], place: Path = place) -> dict[str, str]:
            sighted = function()
            hidden = place.rename(place.with_name("unmounted"))
            blind = function()
            hidden.rename(place)
            return {"tcp://sighted": sighted, "tcp://blind": blind}

        with pytest.raises(RunError, match="tcp://blind") as caught:
            check_sources(on_two_workers, plan)
        assert caught.value.exit_code == 4
        assert "tcp://sighted" not in str(caught.value)
        assert str(place) in str(caught.value)
        check_sources(lambda function: {"tcp://sighted": function()}, plan)


def test_a_worker_that_joins_later_without_the_source_ends_the_run(tmp_path: Path) -> None:
    """Its view: the archive is nowhere. Nothing is rejected, and no limit publishes the hole."""
    config = written(tmp_path, {SERIES: [1, 2, 3, 4]}, ROWS, limits={"lost_archives": 1})
    plan = load_plan(config)
    blind = tuple(replace(c, path=str(tmp_path / "unmounted.zip")) for c in plan.index.containers)
    with pytest.raises(RunError, match="a worker can't read the source that the driver reads") as caught:
        build(config, plan, SerialExecutor(), converter=Converter(config.store, blind))
    assert caught.value.exit_code == 4
    assert "unmounted.zip" in str(caught.value)
    assert list((tmp_path / "store").glob("versions/*")) == []


@pytest.mark.parametrize(
    ("free_bytes", "where"), [(1 << 20, "before the CSV"), (LEAST_FREE_BYTES, "before work"), (1 << 40, "")]
)
def test_too_little_room_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, where: str
) -> None:
    config = written(tmp_path, {SERIES: [1, 2, 3, 4]}, ROWS)
    monkeypatch.setattr(LocalObjects, "free_bytes", lambda self: free_bytes)
    if where == "before the CSV":
        (tmp_path / "release" / "DL_info.csv").unlink()
        with pytest.raises(StoreError, match="too little room"):
            load_plan(config)
    elif where:
        with pytest.raises(StoreError, match=r"16,777,216 bytes are free"):
            build(config, load_plan(config), SerialExecutor())
        assert list((tmp_path / "store").glob("volumes/*")) == []
    else:
        build(config, load_plan(config), SerialExecutor())


@pytest.mark.parametrize("place", ["s3://no-such-bucket/store", "gs://bucket/store", "S3a://no-such-bucket"])
def test_a_bucket_that_is_none_is_told_before_the_csv_is_read(
    s3_bucket: Bucket, tmp_path: Path, place: str
) -> None:
    source = {"annotations": str(tmp_path / "missing.csv"), "archives": (str(tmp_path / "missing.zip"),)}
    config = Config.model_validate({"store": place, "source": source})
    with pytest.raises(StoreError):
        load_plan(config)


def refusing_release(folder: Path) -> Config:
    """Return a release of which 1 of 2 rows and 2 of 5 slices are rejected before any pixel is read."""
    write_release(folder, {SERIES: [1, 2, 4]}, [*ROWS, csv_row(SERIES, 3, (1, 5), Patient_gender="X")])
    return tiny_config(folder, folder / "store")


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"rejects": 0.4}, ["too many rows are rejected", "1 of 2 (50.00%)", "limits.rejects=SHARE"]),
        ({"rejects": 0.2}, ["rows", "1 of 2 (50.00%)", "slices", "2 of 5 (40.00%)"]),
        ({"rejects": 0.6}, []),
    ],
)
def test_guards_that_are_certain_to_refuse_do_so_before_any_work(
    limits: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    config = refusing_release(tmp_path)
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.resolved()))
    planned = CliRunner().invoke(main, [str(path), "--plan"])
    assert planned.exit_code == (3 if named else 0)
    assert "rejects known so far" in planned.stdout
    assert [text for text in named if text not in planned.stderr] == []
    assert not (tmp_path / "store").exists()
    executor = SerialExecutor()
    if named:
        with pytest.raises(GuardError, match="nothing was converted"):
            build(config, load_plan(config), executor)
        assert executor.stats.stages == {}
    else:
        assert build(config, load_plan(config), executor).published.is_new


def test_fewer_lesions_than_the_version_before_are_refused_before_any_work(tmp_path: Path) -> None:
    release = tmp_path / "release"
    write_release(release, {SERIES: [1, 2, 3, 4]}, [*ROWS, csv_row(SERIES, 3, (1, 4))])
    config = tiny_config(release, tmp_path / "store", limits={"rejects": 0.5})
    build_serial(config)
    write_release(release, {SERIES: [1, 2, 4]}, [ROWS[0], csv_row(SERIES, 9, (1, 4))])
    strict = config.model_copy(update={"limits": config.limits.model_copy(update={"rejects": 0.1})})
    with pytest.raises(GuardError) as caught:
        build_serial(strict)
    named = [
        "rows are rejected",
        "slices are rejected",
        "fewer lesions than version 1",
        "allow_fewer_lesions",
    ]
    assert [text for text in named if text not in str(caught.value)] == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_with_hard_links_inside_one_folder_only_is_enough(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def within_a_folder(source: Any, target: Any) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(code, os.strerror(code))
        link(source, target)

    monkeypatch.setattr(os, "link", within_a_folder)
    release = tmp_path / "release"
    write_release(release, {SERIES: [1, 2, 3, 4]}, ROWS)
    config = tiny_config(release, tmp_path / "store")
    assert build_serial(config).published.is_new
    assert open_store(config.store).version["version"] == 1
    objects = LocalObjects(config.store)
    assert not objects.create("versions/000001.json", b"another")
    assert version_names(tmp_path / "store") == ["000001.json"]


def test_a_file_system_without_hard_links_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", never)
    release = tmp_path / "release"
    write_release(release, {SERIES: [1, 2, 3, 4]}, ROWS)
    executor = SerialExecutor()
    config = tiny_config(release, tmp_path / "store")
    with pytest.raises(EtlError, match="the store can't be written") as caught:
        build(config, load_plan(config), executor)
    assert (caught.value.exit_code, executor.stats.stages) == (2, {})


def test_what_travels_to_workers_loads_no_packages_of_tables() -> None:
    """Each worker imports the modules of what it is sent; pandas would take a quarter of its start."""
    modules = ("convert.convert", "pipeline.preflight", "pipeline.source_access", "staging.fetch")
    code = f"import sys, {', '.join(f'etl.{name}' for name in modules)}; print(sorted(sys.modules))"
    done = run([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    assert "'etl.convert.convert'" in done.stdout
    assert not [name for name in ("pandas", "pyarrow", "xarray", "etl.tables") if f"'{name}'" in done.stdout]


@pytest.mark.parametrize(
    ("error", "value", "remedy"),
    [
        (
            PermissionError("NoCredentialsError"),
            "tcp://b (PermissionError: NoCredentialsError)",
            "credentials",
        ),
        (FileNotFoundError("none"), "tcp://b", "shared file system"),
    ],
)
def test_a_worker_that_can_t_read_the_store_says_why(
    error: OSError, value: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(str(tmp_path))
    objects.write("version", b"1")

    def fail(own: LocalObjects, name: str) -> NoReturn:
        raise error

    def on_two_workers(look: Callable[[], Seen]) -> dict[str, Seen]:
        found = {"tcp://a": look()}
        with monkeypatch.context() as patch:
            patch.setattr(LocalObjects, "read", fail)
            return found | {"tcp://b": look()}

    checks: list[Callable[[], None]] = [
        lambda: check_shared(on_two_workers, objects, None),
        lambda: check_seen(on_two_workers, objects, "version"),
    ]
    for check in checks:
        with pytest.raises(StoreError, match="workers don't see") as caught:
            check()
        assert caught.value.value == f"{tmp_path}: not seen by 1 worker, such as {value}"
        assert remedy in caught.value.remedy

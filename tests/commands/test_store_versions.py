"""jobs/store_versions.py: its output, its effects and its exit codes."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.running import running
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.support.jobs import call_job
from tests.support.processes import ROOT, run
from tests.support.s3_server import Bucket, serve_careless_s3, use_s3
from tests.support.three_volumes import PRESENT, ROWS, files_of, variant
from tests.support.tiny_release import build_serial, written

JOB = [sys.executable, str(ROOT / "jobs" / "store_versions.py")]
FEWER = {"allow_fewer_volumes": True, "allow_fewer_lesions": True}


def two_versions(config: Config) -> None:
    build_serial(config)
    build_serial(variant(config, volume={"spacing_mm": 2.0}, select={"limit": 1}, limits=FEWER))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two versions: all three volumes; then the first alone, at 2 mm. Read only."""
    base = tmp_path_factory.mktemp("versions")
    two_versions(written(base, PRESENT, ROWS))
    return str(base / "store")


job = partial(call_job, "store_versions")


@pytest.mark.slow
def test_list(store: str) -> None:
    before = files_of(store)
    listed = run([*JOB, store, "list"])
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert lines[0].split() == ["version", "when", "(UTC)", "run", "parent", "volumes", "lesions", "bytes"]
    first, second = (line.split() for line in lines[1:])
    assert (first[0], first[4:7]) == ("1", ["-", "3", "3"])
    assert (second[0], second[4:7], second[-1]) == ("2", ["1", "1", "1"], "current")
    versions = json.loads(job(store, "list", "--json").stdout)
    assert [(v["version"], v["parent"], v["volumes"], v["rollback_of"]) for v in versions] == [
        (1, None, 3, None),
        (2, 1, 1, None),
    ]
    assert files_of(store) == before


def test_without_a_command_the_versions_are_listed(store: str, tmp_path: Path) -> None:
    assert job(store).stdout == job(store, "list").stdout
    assert "no store here" in job(str(tmp_path), code=2).stderr


def test_show(store: str) -> None:
    said = job(store, "show", "2").stdout
    for part in ("version 2", "parent 1", "spacing_mm: 2.0", "Images_png_01.zip", "rejects", "numpy"):
        assert part in said
    shown = json.loads(job(store, "show", "1", "--json").stdout)
    assert shown["counts"]["lesions"] == 3
    assert "volumes" not in shown


def test_diff(store: str) -> None:
    said = job(store, "diff", "1", "2").stdout
    assert said.startswith("version 1 -> 2: 0 volumes added, 2 removed, 1 changed, 0 the same\n")
    assert "removed: 000001_01_01_007-007, 000002_01_01_001-002" in said
    assert ["config", "volume.spacing_mm", "1.0", "2.0"] in [line.split() for line in said.splitlines()]
    found = json.loads(job(store, "diff", "2", "1", "--json").stdout)
    assert found["added"] == ["000001_01_01_007-007", "000002_01_01_001-002"]


def test_a_version_that_cannot_be_read_does_not_hide_the_others(store: str, tmp_path: Path) -> None:
    for name, content in files_of(store, "versions").items():
        LocalObjects(str(tmp_path)).write(name, content)
    (tmp_path / "versions/000001.json").write_bytes(b"{")
    lines = job(str(tmp_path), "list").stdout.splitlines()
    assert lines[1].split()[0] == "1"
    assert "damaged" in lines[1]
    assert lines[2].split()[-1] == "current"
    assert "damaged" in job(str(tmp_path), "show", "1", code=2).stderr


def test_a_lost_version_that_has_a_tag_or_came_last_is_listed(store: str, tmp_path: Path) -> None:
    objects, files = LocalObjects(str(tmp_path)), files_of(store, "versions")
    for name, content in files.items():
        objects.write(name, content)
    job(str(tmp_path), "tag", "paper", "1")
    objects.remove("versions/000001.json")
    assert [line.split()[0] for line in job(str(tmp_path), "list").stdout.splitlines()] == [
        "version",
        "1",
        "2",
    ]
    objects.write("versions/000001.json", files["versions/000001.json"])
    objects.remove("versions/000002.json")
    lines = job(str(tmp_path), "list").stdout.splitlines()
    assert lines[1].rstrip().endswith("tag paper, current")
    assert lines[2].rstrip().endswith("its file is missing")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere", "list"),
        ("ftp://host/store", "list"),
        (".", "show", "7"),
        (".", "diff", "1", "7"),
        (".", "rollback", "7"),
        (".", "rollback", "0"),
        (".", "prune"),
        (".", "prune", "--keep", "0"),
        (".", "prune", "--keep", "1", "--older-than", "-1"),
        (".", "remove"),
        (".", "show"),
        ("nowhere", "prune", "--keep", "1"),
    ],
)
def test_what_is_wrong_ends_with_2(store: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    before = files_of(store)
    place = {".": store, "nowhere": str(tmp_path / "nowhere")}.get(arguments[0], arguments[0])
    assert "rror: " in job(place, *arguments[1:], code=2).stderr
    assert files_of(store) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_back_and_pruned(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    if kind == "bucket":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        config = config.model_copy(update={"store": f"{bucket.url}/store"})
    two_versions(config)
    objects = open_objects(config.store)
    assert job(config.store, "rollback", "1").stdout == "version 3 is published: equal to version 1\n"
    assert "nothing was done" in job(config.store, "rollback", "1").stdout
    assert "rolled back to 1, current" in job(config.store, "list").stdout

    names = list(objects.list("volumes"))
    said = job(config.store, "prune", "--keep", "1").stdout
    assert said.startswith("removed 0 B:\n  0 versions\n")
    with running(objects, "20261123T160000Z-1", "build"):
        refused = job(config.store, "prune", "--keep", "1", "--older-than", "0", code=3)
        assert "build 20261123T160000Z-1" in refused.stderr
    would = job(config.store, "prune", "--keep", "1", "--older-than", "0", "--dry-run").stdout
    assert list(objects.list("volumes")) == names
    done = job(config.store, "prune", "--keep", "1", "--older-than", "0").stdout
    assert would == done.replace("removed", "would remove", 1)
    assert "2 versions: 1, 2" in done
    assert "1 volume that no version names (4 objects" in done
    assert version_numbers(objects) == [3]
    assert verify(objects, 3).problems == ()
    assert list(objects.list(".running")) == []

    shard = next(name for name in objects.list("volumes") if name.endswith("0/c/0/0/0"))
    build_serial(variant(config, volume={"spacing_mm": 2.0}))
    objects.remove(shard)
    refused = job(config.store, "rollback", "3", code=3)
    assert f"{shard}: missing" in refused.stderr
    assert version_numbers(objects) == [3, 4]


@pytest.mark.slow
def test_nothing_is_published_where_an_exclusive_create_is_none(
    tmp_path: Path, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    config = config.model_copy(update={"store": f"{s3_bucket.url}/store"})
    two_versions(config)
    before = s3_bucket.all_keys()
    with serve_careless_s3() as endpoint:
        use_s3(monkeypatch, endpoint)
        assert "If-None-Match" in job(config.store, "rollback", "1", code=2).stderr
        assert s3_bucket.all_keys() == before

"""jobs/verify_store.py as a process: exit codes and messages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.config import Config
from etl.store.problems import Repair
from tests.store.verify.damage import VOLUME, version_of
from tests.store.verify.version_cases import VERSION_CASES
from tests.store.verify.volume_cases import VOLUME_CASES

DAMAGE = VOLUME_CASES | VERSION_CASES

ROOT = Path(__file__).resolve().parents[3]


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/verify_store.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_job_says_all_right(config: Config) -> None:
    done = job(config.store)
    assert done.returncode == 0, done.stderr
    count = len(version_of(Path(config.store))["volumes"])
    assert re.fullmatch(rf"all right: version 1 of .+ \({count} volumes, \d+ objects, .+\)\n", done.stdout)


def test_job_lists_what_is_wrong_and_what_repairs_it(store: Path) -> None:
    DAMAGE["missing shard"][0](store)
    DAMAGE["missing table"][0](store)
    done = job(str(store), "--version", "1")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 wrong in version 1 of ")
    assert re.fullmatch(rf"  volumes/{VOLUME}/\w+/0/c/0/0/0: is missing: expected \d+ bytes", lines[1])
    assert re.fullmatch(r"  tables/[^/]+/rejects/part-0\.parquet: is missing: expected \d+ bytes", lines[2])
    assert lines[4:] == [f"  - {Repair.VOLUME.value}", f"  - {Repair.TABLE.value}"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("nowhere",), (".", "--version", "7"), ("ftp://host/store",), ()])
def test_job_without_a_store_ends_with_2(config: Config, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    places = {"nowhere": str(tmp_path / "nowhere"), ".": config.store}
    done = job(*(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "rror: " in done.stderr
    assert "Traceback" not in done.stderr


def test_job_writes_nothing(store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert job(str(store)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from tests.support.jobs import call_job
from tests.support.processes import LIMIT_SECONDS, ROOT, running, wait_until
from tests.support.stored import build_store, config_data, files_below

pytestmark = pytest.mark.slow

EXPORT = [sys.executable, str(ROOT / "jobs" / "export.py")]


@pytest.fixture(scope="module")
def store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("job") / "store"
    for select in ({"patients": [1, 2]}, {}):
        data = config_data(phantom[0], root, select=select, volume={"spacing_mm": 2.0})
        build_store(data, SerialExecutor())
    return root


def test_a_version_and_a_part_can_be_chosen(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call_job("export", str(store), str(out), "--format", "csv", "--version", "1", "--split", "train")
    assert "1 file of 3 volumes and 3 lesions" in done.stdout
    assert len((out / "DL_info.csv").read_text().splitlines()) == 4
    assert json.loads((out / "export.json").read_text())["store_version"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version", "9"], "no such version"),
        (["--patient", "77"], "no such patient"),
        (["--split", "train", "--type", "lung"], "no lesion matches"),
        (["--split", "training"], "'training' is not one of"),
        (["--type", "brain"], "'brain' is not one of"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_written(
    store: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = call_job("export", str(store), str(tmp_path / "out"), "--format", "csv", *arguments, code=2)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["s3://bucket/x", "s3:/bucket/x", "gs://bucket/x"])
def test_an_export_to_a_url_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call_job("export", str(store), out, "--format", "csv", code=2)
    assert "URL" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_is_one_error(tmp_path: Path) -> None:
    done = call_job("export", str(tmp_path / "nowhere"), str(tmp_path / "out"), "--format", "nifti", code=2)
    assert "there is no store here" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.campaign)])
def test_an_export_that_is_stopped_leaves_whole_files_and_continues(
    store: Path, tmp_path: Path, end: signal.Signals
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    call_job("export", str(store), str(whole), "--format", "nifti")
    command = [*EXPORT, str(store), str(cut), "--format", "nifti"]
    with running(command, tmp_path / "log") as process:
        wait_until(lambda: any(cut.glob("*.nii.gz")), "a first file")
        process.send_signal(end)
        process.wait(LIMIT_SECONDS)
    log = (tmp_path / "log").read_text()
    expected = files_below(whole)
    there = {name: data for name, data in files_below(cut).items() if name.endswith(".nii.gz")}
    assert there.items() <= expected.items()
    if end is signal.SIGINT:
        assert process.returncode == 130, log
        assert f"Continue with the same command: {shlex.join(command)}" in log
    assert len(there) < 13
    done = call_job("export", str(store), str(cut), "--format", "nifti")
    assert f"{len(there)} were there" in done.stdout
    assert files_below(cut) == expected

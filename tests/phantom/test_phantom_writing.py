from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import ConfigError, StoreError
from etl.phantom import PhantomTruth, phantom_truth, write_phantom
from tests.support.processes import LIMIT_SECONDS, ROOT

Phantom = tuple[Path, PhantomTruth]


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    out = tmp_path_factory.mktemp("minimal") / "release"
    return out, write_phantom(out, patients=1, archives=2, extracted=True)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_same_arguments_same_bytes(minimal: Phantom, tmp_path: Path) -> None:
    out, truth = minimal
    assert write_phantom(tmp_path / "again", patients=1, archives=2, extracted=True) == truth
    assert contents(tmp_path / "again") == contents(out)
    other = write_phantom(tmp_path / "other", patients=1, archives=2, seed=1, extracted=True)
    assert other.lesions[0].centre_px != truth.lesions[0].centre_px
    name = "Images_png/000001_01_01/103.png"
    assert (tmp_path / "other" / name).read_bytes() != (out / name).read_bytes()


def test_a_patient_is_the_same_among_more(minimal: Phantom, phantom: Phantom) -> None:
    assert phantom[1].lesions[: len(minimal[1].lesions)] == minimal[1].lesions
    rows = (minimal[0] / "DL_info.csv").read_bytes()
    assert (phantom[0] / "DL_info.csv").read_bytes().startswith(rows)


def test_more_than_eight_patients_repeat_the_ordinary_ones(phantom: Phantom, tmp_path: Path) -> None:
    truth = phantom_truth(patients=20)
    assert {lesion.series_id[:6] for lesion in truth.lesions} == {f"{number:06d}" for number in range(1, 21)}
    assert truth.missing_slices == phantom[1].missing_slices
    assert [lesion.noisy for lesion in truth.lesions].count(True) == 1
    assert [lesion.box_past_edge for lesion in truth.lesions].count(True) == 1
    places = [(lesion.slice_index, lesion.centre_px) for lesion in truth.lesions]
    assert len(set(places)) == len(places)


def test_minimal_release(minimal: Phantom) -> None:
    out, truth = minimal
    assert (truth.series, truth.slices, truth.volumes, len(truth.lesions)) == (1, 13, 1, 3)
    assert {str(path.relative_to(out)) for path in out.rglob("*.png")} == {
        f"Images_png/000001_01_01/{name}.png" for name in (*range(103, 116), "._103")
    }
    archived = {}
    for archive in out.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            assert opened.testzip() is None
            archived |= {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}
    assert archived == {name: (out / name).read_bytes() for name in archived}
    assert len(archived) == 14
    assert (out / "Images_png/000001_01_01/._103.png").read_bytes()[:4] == bytes.fromhex("00051607")


def test_the_truth_is_written_next_to_it(minimal: Phantom) -> None:
    out, truth = minimal
    written = json.loads((out / "phantom.json").read_text())
    assert written["phantom_version"] == 1
    assert written["truth"] == json.loads(json.dumps(asdict(truth)))


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_is_lost_is_rewritten(minimal: Phantom, tmp_path: Path) -> None:
    whole = contents(minimal[0])
    out = tmp_path / "release"
    shutil.copytree(minimal[0], out)
    (out / "notes.txt").write_text("mine")
    before = times(out)
    write_phantom(out, patients=1, archives=2, extracted=True)
    assert times(out) == before

    for lost in ("Images_png_02.zip", "Images_png/000001_01_01/110.png"):
        (out / lost).unlink()
        (out / ".phantom.partial").mkdir()
        (out / ".phantom.partial" / "Images_png_01.zip").write_bytes(b"of a run that was killed")
        write_phantom(out, patients=1, archives=2, extracted=True)
        assert contents(out) == whole | {"notes.txt": b"mine"}


@pytest.mark.slow
def test_other_arguments_replace_what_was_there(minimal: Phantom, tmp_path: Path) -> None:
    out = tmp_path / "release"
    shutil.copytree(minimal[0], out)
    write_phantom(out, patients=1, archives=1)
    assert sorted(contents(out)) == ["DL_info.csv", "Images_png_01.zip", "phantom.json"]
    assert not (out / "Images_png").exists()


@pytest.mark.parametrize("name", ["DL_info.csv", "phantom.json", "Images_png_01.zip"])
def test_a_folder_that_holds_something_else_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match="isn't a synthetic release") as caught:
        write_phantom(tmp_path, patients=1)
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == {name: b"{}"}


@pytest.mark.parametrize("arguments", [{"archives": 2, "extracted": True}, {"archives": 1}])
@pytest.mark.parametrize(
    "name", ["DL_info.csv", "Images_png_01.zip", "Images_png_30.zip", "Images_png/000077_01_01/001.png"]
)
def test_another_release_next_to_a_synthetic_one_is_left_alone(
    name: str, arguments: dict[str, Any], minimal: Phantom, tmp_path: Path
) -> None:
    out = tmp_path / "release"
    shutil.copytree(minimal[0], out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(b"of the NIH")
    (out / "Images_png_02.zip").unlink()
    before = contents(out)
    with pytest.raises(ConfigError, match="isn't a synthetic release") as caught:
        write_phantom(out, patients=1, **arguments)
    error = caught.value
    assert (error.where, error.value) == (str(out), [name])
    assert error.allowed
    assert error.remedy
    assert contents(out) == before


def test_a_link_to_another_release_is_left_alone(minimal: Phantom, tmp_path: Path) -> None:
    out = tmp_path / "release"
    shutil.copytree(minimal[0], out)
    shutil.move(out / "Images_png", tmp_path / "elsewhere")
    (out / "Images_png").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="isn't a synthetic release"):
        write_phantom(out, patients=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"patients": 0}, "1 to 9999"),
        ({"archives": 0}, "1 to 99"),
        ({"patients": 1, "archives": 14}, "1 to 13"),
        ({"seed": -1}, "0 to 4294967295"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, int], allowed: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=allowed):
        write_phantom(tmp_path / "release", **arguments)
    assert not (tmp_path / "release").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_phantom(tmp_path / "file" / "release", patients=1)


# the job


def make_phantom(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "make_phantom.py"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@pytest.mark.slow
def test_job_writes_a_release_and_reuses_it(minimal: Phantom, tmp_path: Path) -> None:
    arguments = ("out", "--patients", "1", "--archives", "2", "--extracted")
    first = make_phantom(*arguments, folder=tmp_path)
    line = "out: 1 patient, 1 series, 1 volume, 13 slices, 3 lesions, 2 archives"
    assert (first.returncode, first.stdout, first.stderr) == (0, f"{line}\n", "")
    assert contents(tmp_path / "out") == contents(minimal[0])
    second = make_phantom(*arguments, folder=tmp_path)
    assert (second.returncode, second.stdout) == (0, f"{line} (already there, nothing written)\n")


def test_job_explains_itself(tmp_path: Path) -> None:
    helped = make_phantom("--help", folder=tmp_path)
    assert helped.returncode == 0
    for word in (
        "OUT",
        "--patients",
        "--archives",
        "--seed",
        "--extracted",
        "Example: deeplesion phantom",
    ):
        assert word in helped.stdout


@pytest.mark.slow
def test_job_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("all of it")
    refused = make_phantom("out", folder=tmp_path)
    assert refused.returncode == 2
    assert "thesis.tex" in refused.stderr
    assert "remedy" in refused.stderr
    assert contents(tmp_path / "out") == {"thesis.tex": b"all of it"}
    assert make_phantom("new", "--patients", "none", folder=tmp_path).returncode == 2
    assert make_phantom("new", "--archives", "1000", folder=tmp_path).returncode == 2
    assert make_phantom("s3://bucket/new", folder=tmp_path).returncode == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]

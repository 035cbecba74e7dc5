"""The main job: its output, and the exit code of each way that it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from jobs.build_store import main
from tests.support.jobs import call_job
from tests.support.processes import (
    BUILD_STORE,
    DASK_SUBMIT,
    LIMIT_SECONDS,
    ROOT,
    environment,
    kill_tree,
    run,
)
from tests.support.stored import build_store, config_data, version_names, write_config

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def data(phantom: tuple[Path, PhantomTruth], tmp_path: Path) -> dict[str, Any]:
    """Patients 1 and 2, serial: 4 volumes, 50 slices, one of 51 promised ones missing."""
    sections = {"select": {"patients": [1, 2]}, "volume": {"spacing_mm": 3.0}, "report": False}
    return config_data(phantom[0], tmp_path / "store", **sections)


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.as_posix(), path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.slow
def test_build_prints_what_is_there_and_how_to_open_it(data: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path, data)
    done = run([*BUILD_STORE, config], env=environment(FORCE_COLOR="1"))
    assert done.returncode == 0, done.stderr
    for line in (
        f"store    {data['store']}",
        "version  1, new: versions/000001.json",
        "volumes  4: converted 4, reused 0",
        "slices   50 in volumes, 0 rejected, 230 not selected, 1 promised and missing",
        "lesions  6 of 2 patients, 0 rejected, 15 not selected",
        "        1  slice_missing",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    assert re.search(r"^speed +50 slices in .* slices/s, .* MB/s", done.stdout, re.MULTILINE)

    opening = [line.strip() for line in done.stdout.splitlines()[-3:]]
    names: dict[str, Any] = {}
    exec("\n".join(opening), names)
    assert len(names["lesions"]) == 6
    assert names["voxels_hu"].dtype == "int16"

    # A log: a time on every line, one line for the config, no control codes.
    times = re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO ", done.stderr, re.MULTILINE)
    assert len(times) >= 4
    assert "\x1b" not in done.stdout + done.stderr
    assert "4/4 volumes (0 reused), 1 reject" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if " INFO config " in line]
    assert f"{config}: store {data['store']}; " in line
    assert "select.patients=[1, 2]" in line
    assert "volume.spacing_mm=3.0" in line
    assert "volume.interpolation" not in line
    shown = CliRunner().invoke(main, [config, "--show-config"])
    resolved = yaml.safe_load(shown.stdout)
    assert (resolved["source"].pop("partial"), resolved["source"].pop("more")) == (False, {})
    assert resolved == open_store(data["store"]).version["config"]

    again = call_job("build_store", config)
    assert "volumes  4: converted 0, reused 4" in again.stdout.splitlines()
    assert "version  1, as before" in again.stdout
    assert version_names(Path(data["store"])) == ["000001.json"]


def test_plan_writes_nothing(
    data: dict[str, Any], phantom: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    config = write_config(tmp_path, data)
    before, release = listing(tmp_path), listing(phantom[0])
    done = call_job("build_store", config, "--plan", "--set", "volume.spacing_mm=1")
    assert listing(tmp_path) == before
    assert listing(phantom[0]) == release
    assert not Path(data["store"]).exists()
    volume = "000002_01_01_034-045  convert  12 x 512 x 512 at 2.5 x 0.859375 x 0.859375 mm -> 28 x 440 x 440"
    assert volume in done.stdout
    for pattern in (
        r"^volumes +4: 4 to convert, 0 to reuse$",
        r"^slices +50 of 280 \(230 not selected\)$",
        r"^rows of the CSV +6 of 21 \(15 not selected\)$",
        r"^archives +1 of 3 touched$",
        r"^bytes in +\d+\.\d MB of PNG files$",
        r"^bytes out +\d+\.\d MB of voxels before compression$",
        r"^free at the store +\d",
        r"^peak memory a task +\d+\.\d MB \(00000",
        r"^peak memory in all +\d+\.\d MB with 1 worker$",
        r"^ +1  slice_missing$",
    ):
        assert re.search(pattern, done.stdout, re.MULTILINE), f"{pattern}\n{done.stdout}"


@pytest.mark.slow
def test_plan_tells_what_would_be_reused(data: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path, data)
    build_store(data, SerialExecutor())
    _, written_first, *lost = sorted(Path(data["store"]).glob("volumes/*/*.receipt.json"))
    os.utime(written_first, (0, 0))
    for receipt in lost:
        receipt.unlink()
    before = listing(tmp_path)
    done = call_job("build_store", config, "--plan")
    assert listing(tmp_path) == before
    expected = r"^volumes +4: 2 to convert, 1 to reuse, 1 to read and reuse if right$"
    assert re.search(expected, done.stdout, re.MULTILINE)
    states = [line.split()[1] for line in done.stdout.splitlines()[:4]]
    assert states == ["reuse", "check", "convert", "convert"]
    assert done.stdout.startswith("000001_01_01_103-115  reuse ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "volume.spacing=1"], ["volume.spacing", "did you mean `spacing_mm`"]),
        (["--set", "volume.spacing_mm=zero"], ["volume.spacing_mm", "zero", "native"]),
        (["--set", "volume.spacing_mm"], ["--set takes key.path=value"]),
        (["--set", "source.annotations=nowhere.csv"], ["nowhere.csv", "No such file"]),
        (["--set", "select.patients=[99]"], ["nothing to build"]),
        (["--nonsense"], ["No such option", "--nonsense"]),
    ],
    ids=lambda value: value[-1],
)
def test_wrong_input_ends_with_2_before_any_work(
    arguments: list[str], words: list[str], data: dict[str, Any], tmp_path: Path
) -> None:
    done = call_job("build_store", write_config(tmp_path, data), *arguments, code=2)
    for word in words:
        assert word in done.stderr
    assert not Path(data["store"]).exists()


def test_missing_config_ends_with_2(tmp_path: Path) -> None:
    done = call_job("build_store", str(tmp_path / "none.yaml"), code=2)
    assert done.stderr.startswith("error: the config can't be read\n")
    assert "none.yaml" in done.stderr


def test_environment_overrides_the_file_and_set_overrides_both(data: dict[str, Any], tmp_path: Path) -> None:
    runner = CliRunner(env={"DEEPLESION__VOLUME__SPACING_MM": "3", "DEEPLESION__SELECT__PATIENTS": "[1]"})
    command = [write_config(tmp_path, data), "--plan"]
    assert "at 3 x 3 x 3 mm" in runner.invoke(main, command).stdout
    assert "at 4 x 4 x 4 mm" in runner.invoke(main, [*command, "--set", "volume.spacing_mm=4"]).stdout


@pytest.mark.slow
def test_guard_ends_with_3_and_publishes_nothing(data: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path, data)
    done = call_job("build_store", config, "--set", "limits.rejects=0.001", code=3)
    assert "too many slices are rejected" in done.stderr
    assert "1 of 51" in done.stderr
    assert "--set limits.rejects=SHARE" in done.stderr
    assert version_names(Path(data["store"])) == []
    allowed = build_store(data, SerialExecutor())
    assert (allowed.converted, allowed.reused) == (4, 0)


@pytest.mark.slow
def test_broken_machine_ends_with_4_and_keeps_the_volumes(data: dict[str, Any], tmp_path: Path) -> None:
    store = Path(data["store"])
    store.mkdir()
    (store / "tables").write_text("in the way")
    config = write_config(tmp_path, data)
    call_job("build_store", config, code=4)
    assert version_names(store) == []
    (store / "tables").unlink()
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused) == (0, 4)


@pytest.mark.slow
def test_dask_submit_builds_on_an_embedded_cluster(data: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path, data | {"cluster": "local"})
    done = run([*DASK_SUBMIT, "--workers", "2", str(ROOT / "jobs" / "build_store.py"), config])
    assert done.returncode == 0, done.stderr
    assert "2 workers" in done.stderr
    assert "volumes  4: converted 4, reused 0" in done.stdout.splitlines()


def on_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Run on a terminal of this width; return the exit code and the text shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in environment(TERM="xterm").items() if name not in ("CI", "COLUMNS")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    try:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not data:
                break
            shown += data
        return process.wait(LIMIT_SECONDS), shown.decode()
    finally:
        os.close(ours)
        kill_tree(process)


@pytest.mark.slow
def test_terminal_has_a_live_bar(data: dict[str, Any], tmp_path: Path) -> None:
    code, shown = on_terminal([*BUILD_STORE, write_config(tmp_path, data)], columns=80)
    assert code == 0, shown
    assert "\x1b[" in shown
    plain = ANSI.sub("", shown)
    assert re.search(r"4/4 volumes \(0 reused\), 1 reject .*100% +left +\d+:\d\d:\d\d", plain), plain
    assert re.search(r"^\d+ slices/s, \d+\.\d MB/s", plain, re.MULTILINE), plain
    assert "volumes  4: converted 4, reused 0" in plain
    assert max(len(line.rsplit("\r", 1)[-1]) for line in plain.split("\n") if "slices/s, " in line) <= 80


@pytest.mark.slow
def test_a_build_ends_with_its_report_unless_the_config_says_no(data: dict[str, Any], tmp_path: Path) -> None:
    page = Path(data["store"]) / "reports" / "000001" / "index.html"
    call_job("build_store", write_config(tmp_path, data))
    assert not page.exists()
    done = call_job("build_store", write_config(tmp_path, data | {"report": True}))
    assert "report: reports/000001/index.html" in done.stderr
    assert page.is_file()


@pytest.mark.slow
def test_a_report_that_can_not_be_written_does_not_fail_the_build(
    data: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "reports").write_text("a file where the folder should be")
    done = call_job("build_store", write_config(tmp_path, data | {"report": True}))
    assert "version 1 is published, but not its report" in done.stderr
    assert "version  1, new" in done.stdout

"""Jobs whose output is closed, full, or a pipe that nobody reads, or whose encoding lacks a character."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.processes import BUILD_STORE, LIMIT_SECONDS, ROOT, environment
from tests.support.stored import config_data, version_names
from tests.support.tiny_release import csv_row, write_release

# A job as those of `jobs/`, without their imports: each ends as the decorator ends it.
JOB = """
import sys, click
from etl.core.errors import SourceError
from etl.report.console.command import job, print_done

@click.command()
@click.argument("what")
@job("nothing is lost")
def main(what):
    click.echo("first \\u00e9 \\udcff", err=True)
    if what == "done":
        print_done("version 1 \\u00e9 \\udcff\\n" * 3)
    elif what == "wrong":
        raise SourceError("no caf\\u00e9 here")
    elif what == "broken":
        raise ZeroDivisionError("https://me:hunter2sEcReT@host/a?sig=hunter2sEcReT")
    else:
        for _ in range(1000):
            click.echo("a line of the result \\u00e9 \\udcff")

main()
"""
CLOSED, FULL, BROKEN = ">&-", "> /dev/full", "| true"


def ended(command: list[str], redirected: str, **variables: str) -> tuple[int, str, str]:
    """Run in bash; return exit code, output and error."""
    script = '"$@" ' + redirected + "; exit ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=LIMIT_SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("what", "redirected", "code"),
    [
        ("done", CLOSED, 0),
        ("done", FULL, 0),
        ("done", BROKEN, 0),
        ("print", CLOSED, 0),
        ("print", BROKEN, 0),
        ("print", FULL, 4),
        ("print", "2>&-", 0),
        ("print", "2>/dev/full", 0),
        ("print", ">&- 2>&- <&-", 0),
        ("print", ">/dev/full 2>/dev/full", 4),
        ("wrong", "2>&-", 2),
        ("wrong", "2>/dev/full", 2),
        ("wrong", "2>&1 | true", 2),
        ("broken", "2>/dev/full", 1),
    ],
)
def test_the_exit_code_is_the_documented_one_whatever_the_output_is(
    what: str, redirected: str, code: int
) -> None:
    found, _, error = ended([sys.executable, "-c", JOB, what], redirected)
    assert found == code
    assert "Exception ignored" not in error
    assert "Traceback" not in error
    if (what, redirected) == ("print", FULL):
        assert "the result can't be printed" in error
    if (what, redirected) == ("done", FULL):
        assert "done, but its result can't be printed (No space left on device):\nversion 1" in error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_character_that_the_encoding_lacks_is_an_escape(encoding: str) -> None:
    code, output, error = ended([sys.executable, "-c", JOB, "done"], "", PYTHONIOENCODING=encoding)
    assert code == 0
    assert "version 1" in output
    assert r"\udcff" in output
    assert r"\udcff" in error


def test_an_unexpected_error_shows_no_secret() -> None:
    code, _, error = ended([sys.executable, "-c", JOB, "broken"], "")
    assert code == 1
    assert "ZeroDivisionError: https://...@host/a?..." in error
    # The first line of a trace shows the program, which has it in this test.
    assert error.count("hunter2sEcReT") == 0


@pytest.mark.slow
def test_a_published_build_ends_with_0_though_nobody_reads_it(tmp_path: Path) -> None:
    write_release(tmp_path / "release", {"000001_01_01": [3, 4, 5]}, [csv_row("000001_01_01", 4, (3, 5))])
    content = config_data(tmp_path / "release", tmp_path / "störe")
    config = tmp_path / "config \udcff.yaml"
    config.write_text(yaml.safe_dump(content))
    for redirected in (">/dev/full 2>/dev/full", "2>&1 | true", ">&- 2>&- <&-", ""):
        code, _, error = ended([*BUILD_STORE, str(config)], redirected, PYTHONIOENCODING="ascii")
        assert (code, "Traceback" in error) == (0, False), error
    assert version_names(tmp_path / "störe") == ["000001.json"]
    # So does what is done to its versions: it would not be done again.
    versions = [sys.executable, str(ROOT / "jobs" / "store_versions.py"), str(tmp_path / "störe")]
    for words in (["tag", "paper", "1"], ["untag", "paper"]):
        code, _, error = ended([*versions, *words], FULL)
        assert (code, "done, but its result can't be printed" in error) == (0, True), error


@pytest.mark.slow
def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    scale = {"slope_mean": 1, "slope_deviation": 1, "scores": [], "norm_z": [], "landmarks": []}
    content = {
        "input": {"pixels": 8, "pixel_mm": 7, "window_hu": [-175, 275]},
        "scale": scale | {"landmarks_from": ""},
    }
    for name in ("model.onnx", "config.json"):
        (tmp_path / name).write_text(json.dumps(content))
    script = "import sys; sys.modules[sys.argv.pop(1)] = None; from etl.commands.{0} import main; main()"
    evaluate = [sys.executable, "-c", script.format("evaluate_regressor")]
    code, _, error = ended([*evaluate, "onnxruntime", str(tmp_path), str(tmp_path)], "")
    assert (code, "deeplesion-store[derive]" in error) == (2, True), error
    verify = [sys.executable, "-c", script.format("verify_store")]
    code, _, error = ended([*verify, "dask", str(tmp_path)], "")
    assert (code, "deeplesion-store[build]" in error) == (2, True), error

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from etl.derive.match_calibration import COMMITTED, encode, read_calibration
from jobs.calibrate_matching import main


@pytest.fixture(scope="module")
def inputs(real_release: Path) -> list[str]:
    pairs = real_release.parent / "annotations" / "dlt" / "valid.json"
    if not pairs.is_file():
        pytest.skip("needs ../shared/annotations/dlt, which is not there")
    return [str(real_release / "DL_info_row_index.csv"), str(pairs)]


def printed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_committed_calibration_is_scored_from_csv_and_pairs_alone(inputs: list[str]) -> None:
    result = printed(*inputs, "--evaluate")
    assert result["pairs"] == {"listed": 906, "joined": 453, "not_joined": 0}
    mutual, paper = result["mutual"], result["paper"]
    assert mutual["f"] >= 0.935
    assert mutual["patients_without_error"] >= 0.80
    assert mutual["top1_of_known"] >= 0.975
    assert mutual["f"] > paper["f"]
    assert mutual["top1"] > paper["top1"]
    for row in (mutual, paper, result["mutual_z_noise_0.01"], result["mutual_z_noise_0.02"]):
        assert {"top1", "precision", "recall", "f", "patients_without_error"} == set(row["intervals"])
        assert row["known_pairs"] == 991
        for name, (low, high) in row["intervals"].items():
            assert low <= row[name] <= high
    assert result["calibration"] == read_calibration().made
    assert len(result["limits"]) == 4


@pytest.mark.campaign
def test_folds_of_patients_and_the_committed_file_are_made_again(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    result = printed(*inputs, "--out", str(out))
    assert result["mutual"]["f"] >= 0.935
    assert result["mutual"]["patients_without_error"] >= 0.80
    assert len(result["chosen_by_fold"]) == 5
    made, committed = read_calibration(out), read_calibration(COMMITTED)
    assert made.threshold == committed.threshold
    assert made.angle_weight == committed.angle_weight
    assert made.paper_threshold == committed.paper_threshold
    assert abs(made.residual - committed.residual).max() < 1e-9
    scored = printed(*inputs, "--evaluate", "--calibration", str(out))
    assert scored["mutual"] == printed(*inputs, "--evaluate")["mutual"]
    assert encode(made) == out.read_text()


@pytest.mark.slow
def test_wrong_inputs_end_with_one_message(inputs: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [inputs[0], inputs[0], "--evaluate"])
    assert done.exit_code == 2
    assert "the file does not hold pairs of lesions" in done.output
    done = CliRunner().invoke(main, [*inputs, "--calibration", inputs[1]])
    assert done.exit_code == 2
    assert "--calibration goes with --evaluate" in done.output
    done = CliRunner().invoke(main, [*inputs, "--evaluate", "--calibration", inputs[1]])
    assert done.exit_code == 2
    assert "the calibration of matching can't be read" in done.output
    done = CliRunner().invoke(main, [*inputs, "--evaluate", "--out", str(tmp_path / "made.json")])
    assert done.exit_code == 2
    assert "--out goes without --evaluate" in done.output
    done = CliRunner().invoke(main, [*inputs, "--out", str(tmp_path / "no" / "made.json")])
    assert done.exit_code == 2
    assert "the calibration can't be written" in done.output

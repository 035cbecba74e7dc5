from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl.derive.match_calibration import COMMITTED, encode, read_calibration
from tests.support.jobs import call_job


@pytest.fixture(scope="module")
def inputs(real_release: Path) -> list[str]:
    pairs = real_release.parent / "annotations" / "dlt" / "valid.json"
    if not pairs.is_file():
        pytest.skip("needs ../shared/annotations/dlt, which is not there")
    return [str(real_release / "DL_info_row_index.csv"), str(pairs)]


def printed(*arguments: str) -> dict[str, Any]:
    return json.loads(call_job("calibrate_matching", *arguments).stdout)


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
    made = tmp_path / "made.json"
    for arguments, said in (
        ((inputs[0], inputs[0], "--evaluate"), "the file does not hold pairs of lesions"),
        ((*inputs, "--calibration", inputs[1]), "--calibration goes with --evaluate"),
        (
            (*inputs, "--evaluate", "--calibration", inputs[1]),
            "the calibration of matching can't be read",
        ),
        ((*inputs, "--evaluate", "--out", str(made)), "--out goes without --evaluate"),
        ((*inputs, "--out", str(made / "made.json")), "the calibration can't be written"),
    ):
        assert said in call_job("calibrate_matching", *arguments, code=2).output

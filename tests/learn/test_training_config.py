"""Configs of trainings are read as other configs are, and refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etl.core.config_file import validated
from etl.core.errors import ConfigError
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.regressor_config import RegressorConfig

CONFIGS = (RegressorConfig, EmbeddingConfig)


@pytest.mark.parametrize("model", CONFIGS)
def test_places_are_expanded(
    model: type[RegressorConfig | EmbeddingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch")
    data = {"work": "~/learn", "data": {"cache": "$SCRATCH/cache"}, "net": "lite0", "weights": "~/lite0.whl"}
    found = validated(model, data, "a test")
    assert [found.work, found.data.cache, found.weights] == [
        str(Path.home() / "learn"),
        "/scratch/cache",
        str(Path.home() / "lite0.whl"),
    ]


@pytest.mark.parametrize("model", CONFIGS)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://bucket/learn", "only a path on this machine"),
        ("s3:/bucket", "only a path on this machine"),
        ("", "at least 1 character"),
        ("$NOT_SET_ANYWHERE/learn", "NOT_SET_ANYWHERE"),
    ],
)
def test_a_place_that_is_no_path_is_refused(
    model: type[RegressorConfig | EmbeddingConfig], place: str, said: str
) -> None:
    for data in ({"work": place}, {"data": {"cache": place}}):
        with pytest.raises(ConfigError, match="nothing was done") as error:
            validated(model, data, "a test")
        assert said in str(error.value)


@pytest.mark.parametrize("rules", [{"near_place": 0.2}, {"far_mm": 4.0}, {"near_mm": 8, "far_mm": 7.5}])
def test_lesions_are_not_near_and_far_at_once(rules: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="allowed: at most far_"):
        validated(EmbeddingConfig, {"sequences": rules}, "a test")


@pytest.mark.parametrize("model", CONFIGS)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"input": {"window_hu": [0, 40]}, "augment": {"window_hu": 20}}, "augment.window_hu is 20; allowed"),
        ({"input": {"window_hu": [-5, 15]}}, "allowed: below 10, half of the width of input.window_hu"),
        ({"seed": 2**64}, "less than 18446744073709551616"),
    ],
)
def test_numbers_that_a_step_can_not_use_are_refused(
    model: type[RegressorConfig | EmbeddingConfig], data: dict[str, Any], said: str
) -> None:
    """A window whose ends pass each other shows air as bone; PyTorch's generators take 64 bits."""
    with pytest.raises(ConfigError, match=said):
        validated(model, data, "a test")
    validated(model, {"input": {"window_hu": [0, 40]}, "augment": {"window_hu": 19}}, "a test")

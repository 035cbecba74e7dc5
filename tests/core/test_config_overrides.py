"""Values of a config that the environment or `--set` gives instead of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from etl.core.config import File
from etl.core.errors import ConfigError
from tests.support.configs import SMALLEST, load, with_value


def test_the_environment_wins_over_the_file_and_set_over_both(tmp_path: Path) -> None:
    text = with_value("volume.spacing_mm", 0.7)
    spacing = "DEEPLESION__VOLUME__SPACING_MM"
    assert load(tmp_path, text).volume.spacing_mm == 0.7
    assert load(tmp_path, text, **{spacing: "0.8"}).volume.spacing_mm == 0.8
    assert load(tmp_path, text, "volume.spacing_mm=0.9", **{spacing: "0.8"}).volume.spacing_mm == 0.9
    both = load(tmp_path, text, "volume.spacing_mm=2", "volume.spacing_mm=native", **{spacing: "0.8"})
    assert both.volume.spacing_mm == "native"


def test_other_variables_of_the_environment_are_left_alone(tmp_path: Path) -> None:
    config = load(tmp_path, yaml.safe_dump(SMALLEST), STORE="other", DEEPLESION_STORE="other")
    assert config.store == "s"


def test_overrides_make_sections_and_replace_lists(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        yaml.safe_dump(SMALLEST),
        "select.splits=[val, test]",
        "volume.codec.level=3",
        "source.images=null",
        "source.archives=[a.zip]",
        "store=s3://bucket/a=b",
    )
    assert config.select.splits == ("val", "test")
    assert config.volume.codec.level == 3
    assert (config.source.images, config.source.archives) == (None, (File(url="a.zip"),))
    assert config.store == "s3://bucket/a=b"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("volume.spacing_mm", "key.path=value"),
        ("=1", "key.path=value"),
        ("volume.spacing_mm=[", "--set volume.spacing_mm"),
        ("store.path=x", "`store` is a value, not a section"),
        ("volume.spacing_mm=-1", "`volume.spacing_mm` = -1"),
        ("volum.spacing_mm=1", "did you mean `volume`"),
        ("volume..spacing_mm=1", "`volume.` is not a key"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, yaml.safe_dump(SMALLEST), override)
    assert named in str(caught.value)


def test_an_error_names_all_places_that_gave_values(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, yaml.safe_dump(SMALLEST), "select.limit=1", DEEPLESION__VOLUME__SPACING="1")
    assert caught.value.where.endswith(".yaml, DEEPLESION__VOLUME__SPACING, --set select.limit")


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DEEPLESION__VOLUME"):
        load(tmp_path, yaml.safe_dump(SMALLEST), DEEPLESION__VOLUME="{")
    with pytest.raises(ConfigError, match=r"`volume\.spacing`"):
        load(tmp_path, yaml.safe_dump(SMALLEST), DEEPLESION__VOLUME__SPACING="1")

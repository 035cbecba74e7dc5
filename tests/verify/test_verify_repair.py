"""The remedies that verification names do repair the damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from tests.support.damage import VERSION, problems_of, volume_folder
from tests.support.version_cases import VERSION_CASES
from tests.support.volume_cases import VOLUME_CASES

DAMAGE = VOLUME_CASES | VERSION_CASES


def build_again(config: Config, store: Path) -> bool:
    """True where a new version was published."""
    config = config.model_copy(update={"store": str(store)})
    return build(config, load_plan(config), SerialExecutor()).published.is_new


@pytest.mark.slow
@pytest.mark.parametrize("name", ["missing shard", "flipped bit in a shard", "truncated receipt"])
def test_deleting_a_damaged_volume_and_building_again_repairs_it(
    store: Path, config: Config, name: str
) -> None:
    DAMAGE[name][0](store)
    shutil.rmtree(volume_folder(store))
    assert build_again(config, store) is False
    assert problems_of(store) == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["missing table", "truncated table", "flipped bit in a table"])
def test_building_again_repairs_the_tables_of_the_current_version(
    store: Path, config: Config, name: str
) -> None:
    DAMAGE[name][0](store)
    assert build_again(config, store) is False
    assert problems_of(store) == ()


@pytest.mark.slow
def test_deleting_a_damaged_root_and_building_again_repairs_it(store: Path, config: Config) -> None:
    DAMAGE["root of another contract"][0](store)
    (store / "store.json").unlink()
    assert build_again(config, store) is False
    assert problems_of(store) == ()


@pytest.mark.parametrize("name", ["truncated version", "lost lesions", "missing table"])
def test_moving_a_version_aside_and_building_again_repairs_its_tables(
    store: Path, config: Config, name: str
) -> None:
    DAMAGE[name][0](store)
    (store / VERSION).unlink()
    assert build_again(config, store) is True
    assert problems_of(store) == ()

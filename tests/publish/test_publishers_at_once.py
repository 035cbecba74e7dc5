from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from etl.core.config import Config
from etl.core.errors import GuardError, StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.pipeline.build import build, load_plan
from etl.publish.publish import Published, publish
from etl.run.serial import SerialExecutor
from etl.store.layout import version_path
from etl.store.reader import open_store
from etl.store.versions import new_run_id, version_numbers
from tests.support.three_volumes import converted, variant
from tests.support.tiny_release import build_serial


@dataclass(frozen=True)
class Interrupted(LocalObjects):
    """The store as a publisher sees it whose exclusive creates others get ahead of.

    Attributes:
        before: called once, before the first create of a version.
        lose_replies: report that a version was there already after creating it.
    """

    before: list[Callable[[], object]] = field(default_factory=list)
    lose_replies: bool = False

    def create(self, name: str, data: bytes) -> bool:
        if not name.startswith("versions/"):
            return super().create(name, data)
        while self.before:
            self.before.pop()()
        created = super().create(name, data)
        return created and not self.lose_replies


def publish_interrupted(
    config: Config, before: Iterable[Callable[[], object]], *, lose_replies: bool = False
) -> Published:
    plan, conversions = converted(config)
    objects = Interrupted(open_objects(config.store).root, [*before], lose_replies)
    return publish(objects, config, plan, conversions, new_run_id())


def test_two_publishers_at_once_both_publish(config: Config) -> None:
    other = variant(config, volume={"spacing_mm": 2.0})
    published = publish_interrupted(config, [lambda: build_serial(other)])
    assert (published.version["version"], published.version["parent"]) == (2, 1)
    first, second = open_store(config.store, 1), open_store(config.store, 2)
    assert first.version["config"]["volume"]["spacing_mm"] == 2.0
    assert second.version["config"]["volume"]["spacing_mm"] == 1.0
    assert first.version["run_id"] != second.version["run_id"]
    for store in (first, second):
        assert len(store.lesions()) == 3
        assert len(store.slices()) == 6
        assert all(np.asarray(store.array(volume_id)).size for volume_id in store.volumes()["volume_id"])


def test_a_publisher_that_is_overtaken_twice_publishes_on_top(config: Config) -> None:
    others = [lambda s=s: build_serial(variant(config, volume={"spacing_mm": s})) for s in (2.0, 4.0)]
    assert publish_interrupted(config, others).version["version"] == 3
    assert version_numbers(open_objects(config.store)) == [1, 2, 3]


def test_guards_hold_against_the_version_that_got_ahead(config: Config) -> None:
    fewer = variant(config, select={"limit": 1})
    with pytest.raises(GuardError, match="fewer volumes than version 1"):
        publish_interrupted(fewer, [lambda: build_serial(config)])
    assert version_numbers(open_objects(config.store)) == [1]


def test_a_lost_reply_to_the_create_is_recognised_by_the_run(config: Config) -> None:
    published = publish_interrupted(config, [], lose_replies=True)
    assert (published.version["version"], published.is_new) == (1, True)
    assert version_numbers(open_objects(config.store)) == [1]
    assert open_store(config.store).version == published.version


def test_a_lost_reply_after_being_overtaken_is_recognised_too(config: Config) -> None:
    other = variant(config, volume={"spacing_mm": 2.0})
    published = publish_interrupted(config, [lambda: build_serial(other)], lose_replies=True)
    assert published.version["version"] == 2
    assert version_numbers(open_objects(config.store)) == [1, 2]


def test_a_store_of_another_contract_is_left_alone(config: Config) -> None:
    version = dict(build_serial(config).published.version)
    path = Path(config.store, version_path(1))
    path.write_text(json.dumps(version | {"contract_version": 3}))
    with pytest.raises(StoreError, match="another contract"):
        build(config, load_plan(config), SerialExecutor())
    assert version_numbers(open_objects(config.store)) == [1]

"""Whole builds as processes that start at the same moment on one store, on the disk and in a bucket."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.core.config import Config
from etl.core.errors import RunError
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.pipeline.build import Build, build, load_plan
from etl.run.protocol import Queue
from etl.run.serial import SerialExecutor
from etl.store.history import missing_objects
from etl.store.prune import prune
from etl.store.reader import open_store
from etl.store.running import DEAD_SECONDS, running
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.store.test_running import make_older
from tests.support.processes import BUILD_STORE, LIMIT_SECONDS, wait_until
from tests.support.processes import running as process_running
from tests.support.s3_server import Bucket
from tests.support.three_volumes import variant
from tests.support.tiny_release import build_serial


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.campaign)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    return f"{bucket.url}/store"


def start(
    stack: contextlib.ExitStack, folder: Path, name: str, config: Config, **volume: float
) -> subprocess.Popen[bytes]:
    """A build as a process, its output in `name`.log."""
    data = variant(config, volume=volume).model_dump(mode="json")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))
    command = [*BUILD_STORE, str(folder / f"{name}.yaml")]
    return stack.enter_context(process_running(command, folder / f"{name}.log"))


@pytest.mark.slow
def test_two_builds_of_the_same_end_well_and_publish_the_same(
    place: str, config: Config, tmp_path: Path
) -> None:
    config = config.model_copy(update={"store": place})
    with contextlib.ExitStack() as stack:
        processes = [start(stack, tmp_path, name, config) for name in ("a", "b")]
        codes = [process.wait(LIMIT_SECONDS) for process in processes]
    assert codes == [0, 0], (tmp_path / "a.log").read_text() + (tmp_path / "b.log").read_text()
    assert_published(open_objects(place), 1.0, 1.0)


@pytest.mark.campaign
def test_two_builds_of_different_parameters_both_publish(place: str, config: Config, tmp_path: Path) -> None:
    config = config.model_copy(update={"store": place})
    with contextlib.ExitStack() as stack:
        processes = [
            start(stack, tmp_path, name, config, spacing_mm=spacing)
            for name, spacing in (("a", 1.0), ("b", 2.0))
        ]
        codes = [process.wait(LIMIT_SECONDS) for process in processes]
    assert codes == [0, 0], (tmp_path / "a.log").read_text() + (tmp_path / "b.log").read_text()
    assert len(assert_published(open_objects(place), 1.0, 2.0)) == 2


def assert_published(objects: Objects, *spacings: float) -> list[int]:
    """One or two whole versions of all volumes; no mark is left."""
    numbers = version_numbers(objects)
    assert numbers in ([1], [1, 2])
    for number in numbers:
        assert verify(objects, number).problems == ()
        assert len(open_store(objects.root, number).lesions()) == 3
    found = {open_store(objects.root, n).version["config"]["volume"]["spacing_mm"] for n in numbers}
    assert found == set(spacings)
    assert list(objects.list(".running")) == []
    return numbers


@pytest.mark.campaign
def test_a_build_waits_for_a_prune_and_marks_itself(place: str, config: Config, tmp_path: Path) -> None:
    config = config.model_copy(update={"store": place})
    build_serial(config)
    objects = open_objects(place)
    with contextlib.ExitStack() as stack:
        with running(objects, "20261123T160000Z-1", "prune"):
            process = start(stack, tmp_path, "a", config, spacing_mm=2.0)
            log = tmp_path / "a.log"
            wait_until(
                lambda: "waiting for the end of prune 20261123T160000Z-1" in log.read_text(), "it waited"
            )
            kinds = [b'"kind": "build"' in objects.read(name) for name in objects.list(".running")]
            assert sorted(kinds) == [False, True]
            assert version_numbers(objects) == [1]
        assert process.wait(LIMIT_SECONDS) == 0
    assert version_numbers(objects) == [1, 2]
    assert list(objects.list(".running")) == []


@pytest.mark.slow
def test_a_build_that_was_held_up_publishes_if_nothing_was_pruned(config: Config) -> None:
    build_serial(config)
    build = held_up(variant(config, volume={"spacing_mm": 2.0}), lambda: None)
    assert (build.converted, build.published.version["version"]) == (3, 2)
    assert verify(open_objects(config.store), 2).problems == ()


@pytest.mark.slow
def test_a_build_that_was_held_up_names_nothing_that_was_pruned(config: Config) -> None:
    build_serial(config)
    build_serial(variant(config, volume={"spacing_mm": 4.0}))

    def prune_all() -> None:
        assert prune(open_objects(config.store), 1, 0).versions == (1,)

    # It reuses volumes of version 1 alone, and is held up before it publishes.
    with pytest.raises(RunError, match="a prune deleted what it relied on"):
        held_up(config, prune_all)
    objects = open_objects(config.store)
    assert version_numbers(objects) == [2]
    again = build_serial(config)
    assert (again.converted, again.published.version["version"]) == (3, 3)
    assert missing_objects(objects, again.published.version) == []


def held_up(config: Config, meanwhile: Callable[[], None]) -> Build:
    """A build that stops for more than 15 minutes, by the store's clock, before it publishes."""

    class HeldUp(SerialExecutor):
        def execute(self, work: Queue) -> Generator[Any, None, None]:
            yield from super().execute(work)
            (name,) = open_objects(config.store).list(".running")
            make_older(config.store, Path(name).stem, DEAD_SECONDS + 1)
            meanwhile()

    return build(config, load_plan(config), HeldUp())

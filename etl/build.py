"""The whole line: release -> plan -> convert -> publish. Where the work happens is the executor's affair."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from etl.config import Config
from etl.convert import Conversion, Converter
from etl.errors import RunError, SourceError
from etl.plan import Plan, make_plan
from etl.publish import Published, new_run_id, publish
from etl.release.annotations import Annotations, parse_annotations
from etl.release.archives import index_archives
from etl.release.folders import index_folder
from etl.release.index import SliceIndex
from etl.store.objects import open_objects

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over items somewhere and gives results as they come, in any order.

    It retries what fails; what still fails raises RunError, and results given so far stay good.
    """

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]: ...


@dataclass(frozen=True, eq=False)
class Build:
    """What a build did.

    Attributes:
        published: the version that holds it.
        converted, reused: volumes.
        source_bytes: of the PNG files of what was converted.
        seconds: from the first conversion to the last.
    """

    published: Published
    converted: int
    reused: int
    converted_slices: int
    source_bytes: int
    seconds: float


def load_plan(config: Config, on_bytes: Callable[[int], None] = lambda n: None) -> Plan:
    """Read the CSV and the archives' directories, and plan.

    Args:
        on_bytes: called with the bytes read for checksums, which a folder of slices needs.

    Raises:
        SourceError: the release can't be used, or nothing in it is to be built.
    """
    annotations = _read_annotations(config.source.annotations)
    logger.info("read %s: %d rows", annotations.source, annotations.row_count)
    index = _read_index(config)
    logger.info("found %d slices in %d archives or folders", index.found_count, len(index.containers))
    plan = make_plan(annotations, index, config, on_bytes)
    if not plan.volumes:
        rejected = "; ".join(f"{r.found_in}: {r.reason}" for r in plan.rejects[:3]) or "none"
        raise SourceError(
            "there is nothing to build",
            where=f"{config.source.annotations} with {len(index.containers)} archives or folders",
            value=(
                f"{index.found_count} slices, {plan.slices_not_selected} not selected; "
                f"{annotations.row_count} rows, {plan.rows_not_selected} not selected"
            ),
            allowed="at least one run of slices that a row of the CSV describes",
            remedy=f"look at `select`; do CSV and archives belong together? First rejects: {rejected}",
        )
    return plan


def converter_of(config: Config, plan: Plan) -> Converter:
    """What converts this plan's volumes."""
    return Converter(open_objects(config.store).root, config.volume, plan.index.containers)


def find_reusable(config: Config, plan: Plan) -> list[Conversion]:
    """The planned volumes that the store has whole already. Nothing is written."""
    converter = converter_of(config, plan)
    with ThreadPoolExecutor(8) as pool:
        return [found for found in pool.map(converter.recall, plan.volumes) if found is not None]


def build(
    config: Config,
    plan: Plan,
    executor: Executor,
    on_conversion: Callable[[Conversion], None] = lambda conversion: None,
) -> Build:
    """Convert every planned volume and publish.

    Args:
        on_conversion: called with each conversion as it comes in.

    Raises:
        StoreError: the store can't be written; raised before any work.
        RunError: work failed after retries, or the version could not be written; finished volumes are kept
            and a rerun continues from them.
        GuardError: built, but publishing was refused.
    """
    objects = open_objects(config.store)
    objects.check_writable()
    start = time.monotonic()
    conversions = []
    # Closed here, not when it is collected, or an interrupted run would go on on the cluster.
    with contextlib.closing(executor.run(converter_of(config, plan), plan.volumes)) as results:
        for conversion in results:
            conversions.append(conversion)
            on_conversion(conversion)
    seconds = time.monotonic() - start
    try:
        published = publish(objects, config, plan, conversions, new_run_id())
    except OSError as error:
        raise RunError(
            "the version could not be published; the converted volumes are kept",
            where=config.store,
            value=f"{type(error).__name__}: {error}",
            remedy="mend the cause (disk, space, permissions) and run the same again",
        ) from error
    fresh = [c for c in conversions if c.converted]
    return Build(
        published,
        converted=sum(c.converted for c in conversions),
        reused=sum(len(c.built) - c.converted for c in conversions),
        converted_slices=sum(c.slice_count for c in fresh),
        source_bytes=sum(c.source_bytes for c in fresh),
        seconds=seconds,
    )


def _read_annotations(path: str) -> Annotations:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SourceError(
            "the annotations can't be read",
            where="source.annotations",
            value=f"{path}: {error.strerror or error}",
            remedy="give the path of DL_info.csv",
        ) from error
    return parse_annotations(data, os.path.basename(path))


def _read_index(config: Config) -> SliceIndex:
    if config.source.images is not None:
        return index_folder(config.source.images)
    assert config.source.archives is not None  # the config has one of the two
    return index_archives(config.source.archives)

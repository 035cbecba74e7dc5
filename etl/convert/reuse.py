"""What earlier runs left and a build takes over: found by receipts, and read where these don't prove it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from etl.convert.convert import Converter
from etl.convert.results import Conversion, Recalled
from etl.core.config import Config
from etl.io.opening import open_objects
from etl.plan.plan import Plan, PlannedVolume
from etl.store.versions import readable

logger = logging.getLogger(__name__)

Run = Callable[[Callable[[PlannedVolume], str], Sequence[PlannedVolume]], Generator[str, None, None]]


@dataclass(frozen=True)
class _Proof:
    """The volume_id of a planned volume that is right, else ""; the driver has the rest of it."""

    converter: Converter

    def __call__(self, planned: PlannedVolume) -> str:
        return planned.volume_id if self.converter.prove(planned) else ""


def converter_of(config: Config, plan: Plan) -> Converter:
    """What converts this plan's volumes, from where the archives lie now."""
    return Converter(open_objects(config.store).root, config.volume, plan.index.containers)


def find_reusable(config: Config, plan: Plan) -> list[Recalled]:
    """The planned volumes that the store has whole already, in the plan's order. Nothing is written.

    Raises:
        StoreError: the store can't be read.
    """
    converter = converter_of(config, plan)
    with readable(open_objects(config.store)), ThreadPoolExecutor(8) as pool:
        return [found for found in pool.map(converter.recall, plan.volumes) if found is not None]


def reusable(
    converter: Converter, plan: Plan, found: Sequence[Recalled], run: Run
) -> Generator[Conversion, None, None]:
    """What was found and is right: at once where receipts prove it, else when it was read.

    Args:
        found: of `find_reusable`.
        run: calls a function for each item, somewhere, and gives the results in any order.
    """
    doubtful = {
        recalled.conversion.planned_id: recalled.conversion for recalled in found if recalled.unproven
    }
    yield from (recalled.conversion for recalled in found if not recalled.unproven)
    if not doubtful:
        return
    logger.info(
        "%d volumes have objects that were written after their receipts: reading those", len(doubtful)
    )
    volumes = [volume for volume in plan.volumes if volume.volume_id in doubtful]
    with contextlib.closing(run(_Proof(converter), volumes)) as proven:
        yield from (doubtful[volume_id] for volume_id in proven if volume_id)

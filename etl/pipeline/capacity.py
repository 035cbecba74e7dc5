"""Which volumes the workers can hold."""

from __future__ import annotations

from collections.abc import Iterable

from etl.convert.convert import Converter
from etl.convert.results import Conversion
from etl.core.rejects import Reason
from etl.plan.plan import PlannedVolume


def split_fitting(
    volumes: Iterable[PlannedVolume], converter: Converter, most_bytes: int | None
) -> tuple[list[PlannedVolume], list[Conversion]]:
    """(volumes that some worker can hold, rejections of the others).

    Args:
        most_bytes: what the largest worker has for a task; None without a limit.
    """
    fitting, rejected = [], []
    for volume in volumes:
        needed = converter.memory_bytes(volume)
        if most_bytes is None or needed <= most_bytes:
            fitting.append(volume)
            continue
        message = f"it needs {needed:,} bytes; the largest worker has {most_bytes:,} for a task"
        rejected.append(converter.reject(volume, Reason.VOLUME_TOO_LARGE, message))
    return fitting, rejected

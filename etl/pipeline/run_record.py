"""The record of a run, runs/<run>.json, for operators. Readers of a store ignore it."""

from __future__ import annotations

import contextlib
import logging
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict

from etl.convert.results import Conversion
from etl.core.config import Config
from etl.core.secrets import without_secrets, without_secrets_in_urls
from etl.io.places import Objects
from etl.publish.publish import Published, code_versions, installed_version
from etl.run.protocol import ExecutionStats
from etl.store.layout import run_path, to_json
from etl.store.versions import now_text

logger = logging.getLogger(__name__)


class Record:
    """The facts of a run so far. `recorded` makes it, and writes it at the end."""

    def __init__(
        self, objects: Objects, config: Config, run_id: str, planned: int, stats: ExecutionStats
    ) -> None:
        self._objects, self._config, self._run_id, self._stats = objects, config, run_id, stats
        self._planned, self._started_at, self._start = planned, now_text(), time.monotonic()
        self._stages: dict[str, float] = {}
        self._converted = self._reused = self._slices = self._bytes = 0
        self._report: str | None = None
        self._published: Published | None = None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the duration of the block."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._stages[name] = time.monotonic() - start

    def add(self, conversion: Conversion) -> None:
        """Count one conversion."""
        self._converted += conversion.converted
        self._reused += len(conversion.built) - conversion.converted
        if conversion.converted:
            self._slices += conversion.slice_count
            self._bytes += conversion.source_bytes

    def keep_report(self, page: bytes) -> None:
        """Write Dask's performance report next to the record.

        Raises:
            OSError: the store can't be written.
        """
        path = run_path(self._run_id, "html")
        self._objects.write(path, without_secrets_in_urls(page.decode()).encode())
        self._report = path

    def publish(self, published: Published) -> None:
        """Record the version that holds the run's result."""
        self._published = published

    def write(self, exit_code: int, error: str | None) -> None:
        """Write the record; a failure is logged, and does not end the run."""
        work_s = max(self._stages.get("work", 0.0), 1e-9)
        stats = asdict(self._stats)
        data = {
            "run_id": self._run_id,
            "started_at": self._started_at,
            "seconds": time.monotonic() - self._start,
            "exit_code": exit_code,
            "error": error,
            "version": self._published.version["version"] if self._published else None,
            "is_new": self._published.is_new if self._published else None,
            "volumes": {
                "planned": self._planned,
                "converted": self._converted,
                "reused": self._reused,
            },
            "slices_converted": self._slices,
            "source_bytes": self._bytes,
            "slices_per_s": self._slices / work_s if self._slices else 0.0,
            "source_bytes_per_s": self._bytes / work_s if self._bytes else 0.0,
            "seconds_by_stage": self._stages,
            "tasks": stats.pop("stages"),
            **stats,
            "performance_report": self._report,
            "environment": _environment(),
            "config": self._config.resolved(),
        }
        try:
            self._objects.write(run_path(self._run_id, "json"), to_json(data))
        except OSError as failure:
            logger.warning("the record of this run could not be written: %s", failure)


@contextlib.contextmanager
def recorded(
    objects: Objects, config: Config, run_id: str, planned: int, stats: ExecutionStats
) -> Iterator[Record]:
    """Record the block, and write the record however the block ends.

    Args:
        planned: number of planned volumes.
        stats: statistics of the executor that the block uses.
    """
    record = Record(objects, config, run_id, planned, stats)
    try:
        yield record
    except BaseException as error:
        interrupted = 130 if isinstance(error, KeyboardInterrupt) else 1
        said = without_secrets(f"{type(error).__name__}: {error}")
        record.write(getattr(error, "exit_code", interrupted), said)
        raise
    record.write(0, None)


def _environment() -> dict[str, str]:
    names = ("dask", "distributed")
    here = {"host": socket.gethostname(), "platform": platform.platform()}
    return here | code_versions() | {name: installed_version(name) for name in names}

"""Checks that every worker reads the local archives and folders that the driver reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from etl.convert.results import Lost
from etl.core.counted import counted
from etl.core.errors import RunError
from etl.core.urls import is_local
from etl.plan.plan import Plan


@dataclass(frozen=True)
class _Readable:
    """Returns the error of the first path that can't be read, else ""; a value that travels to workers."""

    paths: tuple[str, ...]

    def __call__(self) -> str:
        for path in self.paths:
            try:
                if os.path.isdir(path):
                    os.scandir(path).close()
                else:
                    with open(path, "rb") as file:
                        file.read(1)
            except OSError as error:
                return f"{path}: {error.strerror}"
        return ""


def check_sources(everywhere: Callable[[Callable[[], str]], Mapping[str, str]], plan: Plan) -> None:
    """Check that every worker reads the local archives and folders of a plan.

    Args:
        everywhere: calls a function in every worker and returns the results by the worker's name.

    Raises:
        RunError: naming the workers that can't; the release itself is not at fault, so nothing is rejected.
    """
    numbers = sorted({number for volume in plan.volumes for number in volume.container_numbers})
    paths = [plan.index.containers[n].path for n in numbers if n not in plan.index.remote]
    look = _Readable(tuple(paths))
    # An archive that the driver can't read either is a fault of the archive, which conversion rejects.
    if not paths or look():
        return
    blind = [f"{worker} ({error})" for worker, error in everywhere(look).items() if error]
    if blind:
        raise RunError(
            "workers can't read the source that the driver reads; nothing was converted",
            where="source",
            value=f"{counted(len(blind), 'worker')}, such as {'; '.join(blind[:3])}",
            allowed="a source that the driver and every worker reach under the same path",
            remedy="mount it where those workers run, or stop those workers",
        )


def check_lost(lost: Lost, plan: Plan) -> None:
    """Check that an archive that a worker lost is lost for the driver too: workers may join after the check.

    Raises:
        RunError: the driver reads it, so the fault is that worker's.
    """
    container = plan.index.containers[lost.container]
    path = container.path
    if not is_local(path) or container.is_staged or _Readable((path,))():
        return
    if os.path.getsize(path) == container.bytes:
        raise RunError(
            "a worker can't read the source that the driver reads; finished volumes are kept",
            where=path,
            value=lost.message,
            allowed="a source that the driver and every worker reach under the same path",
            remedy="mount it where that worker runs, or stop that worker, and run the same again",
        )

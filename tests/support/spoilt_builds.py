"""Builds with a faulty converter: it kills its worker, never ends, or is slow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Status, get_worker

from etl.convert.convert import Converter
from etl.convert.results import Conversion, Lost
from etl.core.config import Config
from etl.pipeline.build import Build, build, load_plan
from etl.plan.plan import PlannedVolume
from etl.run.protocol import Executor
from tests.support.processes import wait_until
from tests.support.tiny_release import csv_row, written

VOLUMES = 8
BAD = 3
SERIES = [f"{patient:06d}_01_01" for patient in range(1, VOLUMES + 1)]
SLICES = 4


def config_of(folder: Path, slices: Mapping[str, int] = {}, **limits: Any) -> Config:
    """Return the config of a release of small volumes, in `folder`; `slices` by series."""
    counts = {series: slices.get(series, SLICES) for series in SERIES}
    present = {series: range(1, count + 1) for series, count in counts.items()}
    rows = [csv_row(series, 2, (1, count)) for series, count in counts.items()]
    return written(folder, present, rows, limits=limits)


def build_spoilt(
    kind: type[Spoilt], config: Config, executor: Executor, folder: Path
) -> tuple[Build, list[str]]:
    """Return the build with another converter, and the names of the notes that the converter left."""
    notes = folder / "notes"
    notes.mkdir()
    plan = load_plan(config)
    converter = kind(config.store, plan.index.containers, notes=str(notes), patient=BAD)
    done = build(config, plan, executor, converter=converter)
    return done, sorted(note.name for note in notes.iterdir())


@dataclass(frozen=True)
class Spoilt(Converter):
    """Notes each attempt at the volume of one patient in a folder.

    Attributes:
        notes: the folder.
        patient: whose volume it is.
    """

    notes: str = ""
    patient: int = 0

    def __call__(self, planned: PlannedVolume) -> Conversion | Lost:
        if planned.series.patient == self.patient:
            Path(self.notes, f"{time.time_ns()}").touch()
            self.spoil()
        return super().__call__(planned)

    def spoil(self) -> None:
        raise NotImplementedError


class Deadly(Spoilt):
    """Kills its process, as the system does with one that uses too much memory."""

    def spoil(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Spoilt):
    """Hangs, as reads of a network folder do without a server."""

    def spoil(self) -> None:
        time.sleep(600)


class HangingOnce(Spoilt):
    """Its second attempt is as any other."""

    def spoil(self) -> None:
        if len(list(Path(self.notes).iterdir())) == 1:
            time.sleep(600)


class Noting(Spoilt):
    """Nothing is wrong with it."""

    def spoil(self) -> None:
        pass


class Retiring(Spoilt):
    """Retires its worker during the first attempt, as at the end of a lifetime."""

    def spoil(self) -> None:
        if len(list(Path(self.notes).iterdir())) == 1:
            worker = get_worker()
            worker.loop.add_callback(worker.close_gracefully)
            wait_until(lambda: worker.status == Status.closing, "the scheduler had let the worker go")


class Outlasting(Spoilt):
    """Runs until the end of its worker's lifetime in the first attempt."""

    def spoil(self) -> None:
        if len(list(Path(self.notes).iterdir())) == 1:
            wait_until(lambda: get_worker().status == Status.closing, "the worker's lifetime had ended")


class Lingering(Spoilt):
    """Every volume takes its time, and notes its number, its start and its end in ns."""

    def __call__(self, planned: PlannedVolume) -> Conversion | Lost:
        start = time.monotonic_ns()
        time.sleep(0.5)
        done = Converter.__call__(self, planned)
        Path(self.notes, f"{planned.series.patient} {start} {time.monotonic_ns()}").touch()
        return done

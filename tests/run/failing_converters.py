"""Converters that spoil one volume in a worker: it takes the worker down, or never ends."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from etl.convert import Conversion, Converter, Lost
from etl.plan import PlannedVolume


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
    """As the system does it with a process that has too much memory."""

    def spoil(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Spoilt):
    """As reads of a network folder do whose server is gone."""

    def spoil(self) -> None:
        time.sleep(600)


class HangingOnce(Spoilt):
    """Its second attempt is as any other."""

    def spoil(self) -> None:
        if len(list(Path(self.notes).iterdir())) == 1:
            time.sleep(600)

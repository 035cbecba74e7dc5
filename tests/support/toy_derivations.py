"""Derived tables that are quick to compute, and one function for each way in which computing can fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from etl.derive.volume_table import Derivation, StoredVolume, VolumeFault, VolumeRow
from etl.tables.table import FLOAT, INT, TEXT, Table, field

PLANES = Table(
    "planes",
    "mean of each plane of a volume",
    pa.schema(
        [
            field("volume_id", TEXT, "volume"),
            field("plane", INT, "index along z"),
            field("mean_hu", FLOAT, "mean of the plane", "HU"),
        ]
    ),
    key=("volume_id", "plane"),
    unit="volume",
    unit_columns=("volume_id",),
    made_by="tests",
)
PEAKS = Table(
    "peaks",
    "greatest voxel of a lesion's volume",
    pa.schema([field("lesion_id", INT, "lesion"), field("peak_hu", INT, "greatest voxel", "HU")]),
    key=("lesion_id",),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="tests",
)


@dataclass(frozen=True)
class PlaneMeans:
    """Mean of each plane plus `added` HU; volumes whose id begins with a key of `faults` fail in that way."""

    added: float = 0.0
    faults: tuple[tuple[str, str], ...] = ()
    needs_bytes: int = 0

    def __call__(self, volume: StoredVolume) -> Mapping[str, Any]:
        volume_id = volume.row.volume_id
        means = np.asarray(volume.hu[:]).mean(axis=(1, 2)) + self.added
        planes = list(range(len(means)))
        for start, fault in self.faults:
            if volume_id.startswith(start):
                if fault == "fault":
                    raise VolumeFault("no body in it")
                if fault == "bug":
                    raise ZeroDivisionError("a bug")
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if fault == "stranger":
                    volume_id = "999999_01_01_001-001"
                if fault == "twice":
                    planes = [0] * len(means)
        return {"volume_id": [volume_id] * len(means), "plane": planes, "mean_hu": means}

    def memory_bytes(self, row: VolumeRow) -> int:
        return self.needs_bytes if row.volume_id.startswith("000002") else 0


@dataclass(frozen=True)
class Peaks:
    def __call__(self, volume: StoredVolume) -> Mapping[str, Any]:
        lesions = volume.lesions["lesion_id"]
        return {"lesion_id": lesions, "peak_hu": [int(np.asarray(volume.hu[:]).max())] * len(lesions)}

    def memory_bytes(self, row: VolumeRow) -> int:
        return 0


def plane_means(**parameters: Any) -> Derivation:
    return Derivation(PLANES, PlaneMeans(**parameters), code=1, parameters=_as_json(parameters))


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    # Faults are of the machine in these tests: the same rows are expected without them.
    return {name: value for name, value in parameters.items() if name == "added"}


PEAKS_OF_LESIONS = Derivation(PEAKS, Peaks(), code=1)

"""The files of a derived table: each is computed from many volumes by one task, and written once."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.errors import StoreError
from etl.core.rejects import Reason
from etl.derive.volume_table import Derivation, StoredVolume, VolumeFault, VolumeRow
from etl.io.opening import open_objects
from etl.io.places import Objects, object_info
from etl.publish.add_tables import Part
from etl.store.layout import TABLES_FOLDER, tables_path
from etl.store.level_voxels import open_level
from etl.store.parquet import derived_from, derived_name, encode_derived

_NAME = re.compile(r"volumes-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class Job:
    """One volume to compute rows from.

    Attributes:
        inputs: the volume or the lesions that the rows belong to, each with the digest of its token.
        lesions: columns of its lesions that the derivation reads.
    """

    row: VolumeRow
    inputs: tuple[tuple[Any, str], ...]
    lesions: Mapping[str, list[Any]]


@dataclass(frozen=True)
class DerivedReject:
    """One volume without rows, and why."""

    volume_id: str
    reason: Reason
    message: str


@dataclass(frozen=True, eq=False)
class Derived:
    """The result of one task.

    Attributes:
        part: the file that was written; None where no volume gave rows.
        volume_ids: the volumes that it covers.
        rejects: the other volumes.
    """

    part: Part | None
    volume_ids: tuple[str, ...]
    rejects: tuple[DerivedReject, ...]


@dataclass(frozen=True, eq=False)
class Deriver:
    """Computes and writes one file; a value that travels to workers.

    Attributes:
        store: path or URL of the store, which every worker reaches.
        run_id: of the run, in the file's path.
    """

    store: str
    run_id: str
    derivation: Derivation

    def __call__(self, jobs: Sequence[Job]) -> Derived:
        """Compute the rows of these volumes and write them; a fault of one volume rejects that volume.

        Raises:
            OSError: a fault of this machine (store not readable or writable); worth a retry.
            MemoryError: this machine has too little memory now.
        """
        objects, table = open_objects(self.store), self.derivation.table
        parts = [table.rows_schema.empty_table()]
        done: list[Job] = []
        rejects: list[DerivedReject] = []
        for job in jobs:
            rows = self._rows(objects, job)
            if isinstance(rows, DerivedReject):
                rejects.append(rows)
            else:
                done.append(job)
                parts.append(rows)
        if not done:
            return Derived(None, (), tuple(rejects))
        inputs = dict(pair for job in done for pair in job.inputs)
        derived = {"recipe": self.derivation.fingerprint, "inputs": list(inputs.items())}
        file = encode_derived(table, pa.concat_tables(parts), list(inputs), derived)
        path = f"{tables_path(self.run_id)}/{file.path}"
        objects.write(path, file.data)
        entry = asdict(object_info(path, file.data)) | {"rows": file.rows}
        return Derived(Part(entry, inputs), tuple(job.row.volume_id for job in done), tuple(rejects))

    def _rows(self, objects: Objects, job: Job) -> pa.Table | DerivedReject:
        table, volume_id = self.derivation.table, job.row.volume_id
        try:
            volume = StoredVolume(job.row, open_level(objects, job.row.path), job.lesions)
            rows = table.rows(self.derivation.function(volume))
            _check(rows, self.derivation, {unit for unit, _ in job.inputs})
        except (OSError, MemoryError):
            raise
        except VolumeFault as fault:
            return DerivedReject(volume_id, Reason.VOLUME_NOT_DERIVED, str(fault))
        except StoreError as error:
            return DerivedReject(volume_id, Reason.VOLUME_UNREADABLE, f"{error.what}: {error.value}")
        # Damaged bytes and faults of the function raise anything; all other volumes are still computed.
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            return DerivedReject(volume_id, Reason.VOLUME_NOT_DERIVED, message)
        return rows


def _check(rows: pa.Table, derivation: Derivation, units: set[Any]) -> None:
    """Raise VolumeFault where rows belong to something else, or a key occurs twice."""
    table = derivation.table
    strange = set(rows[table.unit_columns[0]].unique().to_pylist()) - units
    if strange:
        raise VolumeFault(f"rows of {sorted(strange, key=str)[:3]}, which are not of this volume")
    if table.key and rows.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows != len(
        rows
    ):
        raise VolumeFault(f"a key ({', '.join(table.key)}) occurs more than once")


def part_names(objects: Objects, table: str) -> list[str]:
    """Return the names of all files that runs wrote for a derived table, named by a version or not."""
    own = re.compile(rf"{TABLES_FOLDER}/[^/]+/{re.escape(table)}/{_NAME.pattern}")
    return [name for name in objects.list(TABLES_FOLDER) if own.fullmatch(name)]


@dataclass(frozen=True)
class PartLooker:
    """Reads what a file was computed with and from; a value that travels to workers."""

    store: str
    recipe: str

    def __call__(self, name: str) -> Part | None:
        """Return the file's entry and inputs; None where it was computed otherwise, or is gone or damaged.

        Raises:
            OSError: the store can't be read.
        """
        try:
            data = open_objects(self.store).read(name)
        except FileNotFoundError:
            return None
        if derived_name(data) != name.rpartition("/")[2]:
            return None
        rows = pq.read_table(io.BytesIO(data))
        derived = derived_from(rows.schema)
        if derived is None or derived.get("recipe") != self.recipe:
            return None
        entry = asdict(object_info(name, data)) | {"rows": len(rows)}
        return Part(entry, dict(derived["inputs"]))

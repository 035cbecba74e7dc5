"""Ways to damage a store: on disk as it happens, or forged so that every digest is right again."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.io.local import LocalObjects
from etl.io.places import object_info
from etl.store.layout import SEAL_AT, to_json
from etl.store.receipts import Receipt
from etl.store.sealed import sealed
from etl.verify.problems import Problem, Repair
from etl.verify.verify import verify

VERSION = "versions/000001.json"
# A volume with lesions, and others before and after it.
VOLUME = "000002_02_01_008-019"

Damage = Callable[[Path], object]
# name -> (damage, repair of the first problem, (where, what) of every problem as `short` gives them)
Cases = dict[str, tuple[Damage, Repair, list[tuple[str, str]]]]


def problems_of(store: Path, number: int = 1) -> tuple[Problem, ...]:
    return verify(LocalObjects(str(store)), number).problems


def short(problem: Problem) -> tuple[str, str]:
    """(where, what) without what differs from build to build."""
    where = re.sub(r"^(volumes/[^/]+)/[0-9a-f]{16}(\.ome\.zarr)?[/.]", r"\1/", problem.where)
    return re.sub(r"^tables/[^/]+/", "", where), problem.what


def version_of(store: Path) -> dict[str, Any]:
    return json.loads((store / VERSION).read_bytes())


def edit_version(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    version = version_of(store)
    change(version)
    (store / VERSION).write_bytes(to_json(sealed(version)))


def volume_folder(store: Path, volume_id: str = VOLUME) -> Path:
    (folder,) = (store / "volumes" / volume_id).glob("*.ome.zarr")
    return folder


def receipt_file(store: Path, volume_id: str = VOLUME) -> Path:
    (file,) = (store / "volumes" / volume_id).glob("*.receipt.json")
    return file


def table_file(store: Path, name: str, part: int = 0) -> Path:
    return store / version_of(store)["tables"][name][part]["path"]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def edit_json(path: Path, change: Callable[[dict[str, Any]], object], *, is_sealed: bool = False) -> None:
    """Change a document; its own checksum follows where `is_sealed`, and is then wrong elsewhere."""
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(to_json(sealed(content) if is_sealed else content))


def reseal(path: Path, at: Sequence[str] = ()) -> None:
    """Let a document's own checksum follow its content."""
    path.write_bytes(to_json(sealed(json.loads(path.read_bytes()), at)))


def forge_table(store: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite a table's files, and the version to name them with their new digests."""
    version = version_of(store)
    for entry in version["tables"][name]:
        table = change(pq.read_table(store / entry["path"], partitioning=None))
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        (store / entry["path"]).write_bytes(buffer.getvalue())
        info = object_info(entry["path"], buffer.getvalue())
        entry.update(bytes=info.bytes, sha256=info.sha256, rows=table.num_rows)
    (store / VERSION).write_bytes(to_json(sealed(version)))


def forge_volume(store: Path, change: Callable[[Receipt], Receipt] = lambda receipt: receipt) -> None:
    """Let receipt, version and catalogue follow what was changed in VOLUME's objects."""
    folder = volume_folder(store)
    for metadata in folder.rglob("zarr.json"):
        with contextlib.suppress(ValueError, KeyError):
            reseal(metadata, SEAL_AT)
    receipt = change(Receipt.from_bytes(receipt_file(store).read_bytes()))
    names = [item.path for item in receipt.objects if (folder / item.path).is_file()]
    receipt = replace(receipt, objects=tuple(object_info(n, (folder / n).read_bytes()) for n in names))
    receipt_file(store).write_bytes(receipt.to_bytes())
    info = receipt.info()

    def follow(version: dict[str, Any]) -> None:
        (entry,) = (e for e in version["volumes"] if e["volume_id"] == VOLUME)
        entry.update(bytes=info.bytes, sha256=info.sha256)

    edit_version(store, follow)
    forge_table(
        store,
        "volumes",
        lambda table: set_value(
            set_value(table, "bytes", info.bytes, volume_id=VOLUME), "sha256", info.sha256, volume_id=VOLUME
        ),
    )


def set_value(table: pa.Table, column: str, value: Any, **key: Any) -> pa.Table:
    """The table with one column changed in the rows where another has a value."""
    ((name, wanted),) = key.items()
    number, field = table.schema.get_field_index(column), table.schema.field(column)
    hit = pc.equal(table[name], wanted)
    return table.set_column(
        number, field, pc.if_else(hit, pa.scalar(value, field.type), table[column]).cast(field.type)
    )

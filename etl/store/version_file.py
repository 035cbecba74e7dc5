"""The content of a version file, checked whenever one is read: checksum, keys, types, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from etl.store.layout import LABELS, MODELS, TABLES_FOLDER, VOLUMES
from etl.store.sealed import SEAL, is_intact

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Part = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*"
Digest = r"[0-9a-f]{16,64}"
"""The end of a label's or model's name: hex digits of a hash over everything that decides its bytes."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Volume(_Model):
    volume_id: str
    path: Annotated[str, Field(pattern=rf"^{VOLUMES}/{Part}/{Part}$")]
    bytes: NonNegativeInt
    sha256: Sha256


class _Labels(_Model):
    volume_id: str
    path: Annotated[str, Field(pattern=rf"^{LABELS}/({Part}/){{1,2}}{Digest}\.ome\.zarr$")]
    bytes: NonNegativeInt
    sha256: Sha256


class _ModelFile(_Model):
    path: Annotated[str, Field(pattern=rf"^{Part}(/{Part})*$")]
    bytes: NonNegativeInt
    sha256: Sha256


class _TrainedModel(_Model):
    name: str
    model_id: Annotated[str, Field(pattern=rf"^([A-Za-z0-9_][A-Za-z0-9_.+-]*-)?{Digest}$")]
    path: str
    files: Annotated[list[_ModelFile], Field(min_length=1)]


class _TableFile(_Model):
    path: Annotated[str, Field(pattern=rf"^{TABLES_FOLDER}/{Part}(/{Part})+$")]
    bytes: NonNegativeInt
    sha256: Sha256
    rows: NonNegativeInt


class _Counts(_Model):
    volumes: NonNegativeInt
    lesions: NonNegativeInt
    slices: NonNegativeInt


class _Coverage(_Model):
    covered: NonNegativeInt
    of: NonNegativeInt


class _AddedTable(_Model):
    description: str
    made_by: str
    key: list[str]
    unit: str | None
    unit_columns: list[str]
    partition: dict[str, Any] | None
    coverage: _Coverage | None


class _Version(_Model):
    contract_version: Annotated[int, Field(ge=1, le=2)]
    version: PositiveInt
    parent: PositiveInt | None
    parent_sha256: Sha256 | None = None
    sha256: Sha256 | None = None
    run_id: str
    created_at: str
    counts: _Counts
    annotations: dict[str, Any]
    archives: list[dict[str, Any]]
    config: dict[str, Any]
    code: dict[str, str]
    schemas: dict[str, list[Annotated[list[str], Field(min_length=2, max_length=2)]]]
    tables: dict[str, list[_TableFile]]
    added_tables: dict[str, _AddedTable] = {}
    volumes: list[_Volume]
    labels: list[_Labels] = []
    models: list[_TrainedModel] = []


def faults(content: Mapping[str, Any], number: int) -> Iterator[str]:
    """Yield what is wrong with a version file's content, each as `key: what it is, what is allowed`.

    Args:
        number: in the file's name.
    """
    if (content.get("contract_version") != 1 or SEAL in content) and not is_intact(content):
        yield f"{SEAL}: not that of the content, which was changed"
        return
    try:
        version = _Version.model_validate(content)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            key = ".".join(map(str, one["loc"]))
            value = "" if one["type"] == "missing" else f" ({str(one['input'])[:60]!r})"
            yield f"{key}: {one['msg']}{value}"
        return
    if version.version != number:
        yield f"version: {version.version} in a file that is named {number:06d}.json"
    if version.parent is not None and version.parent >= number:
        yield f"parent: {version.parent}, allowed: less than {number}"
    if version.contract_version > 1 and (version.parent is None) != (version.parent_sha256 is None):
        yield f"parent_sha256: {version.parent_sha256} with the parent {version.parent}"
    rows = {name: sum(file.rows for file in files) for name, files in version.tables.items()}
    for name, found, expected in (
        ("counts.volumes", version.counts.volumes, len(version.volumes)),
        ("counts.volumes", version.counts.volumes, rows.get("volumes")),
        ("counts.lesions", version.counts.lesions, rows.get("lesions")),
        ("counts.slices", version.counts.slices, rows.get("slices")),
        ("tables", sorted(version.tables), sorted(version.schemas)),
    ):
        if found != expected:
            yield f"{name}: {found}, but {expected} by what the version names"
    for key, names in (
        ("volume_id", [entry.volume_id for entry in version.volumes]),
        ("path", [file.path for files in version.tables.values() for file in files]),
        ("path", [entry.path for entry in version.labels]),
        ("model_id", [entry.model_id for entry in version.models]),
        ("files", [f"{entry.path}/{file.path}" for entry in version.models for file in entry.files]),
    ):
        for name in (name for name, times in Counter(names).items() if times > 1):
            yield f"{key}: {name} is named more than once"
    for entry in version.volumes:
        if entry.path.split("/")[1] != entry.volume_id:
            yield f"path: {entry.path} of volume {entry.volume_id}"
    for model in version.models:
        if model.path != f"{MODELS}/{model.name}/{model.model_id}":
            yield f"path: {model.path} of model {model.model_id}"
    known = {entry.volume_id for entry in version.volumes}
    for volume_id in {entry.volume_id for entry in version.labels} - known:
        yield f"labels: of volume {volume_id}, which the version does not have"
    for name in version.added_tables.keys() - version.tables.keys():
        yield f"added_tables: {name} has no entry in `tables`"

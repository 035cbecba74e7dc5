"""Tables of a version with Croissant metadata, which data set catalogues and their loaders read.

Croissant 1.0: docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.export.protocol import ExportFile, Format, Selected
from etl.io.places import object_info
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL, to_json, version_path
from etl.store.parquet import read_file
from etl.store.reader import Store
from etl.store.versions import table_entries
from etl.tables.registry import declared
from etl.tables.table import Partition, Table

NAME = "croissant.json"

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification; tools warn about any other."""


def croissant_document(
    version: Mapping[str, Any], version_bytes: bytes, schemas: Mapping[str, pa.Schema]
) -> dict[str, Any]:
    """Return Croissant metadata of a version; paths are relative to the store, or to a copy of its tables.

    It lists every table file and the version file with size and SHA-256. Volumes are one file set: the record
    set `volumes` has each one's path and the SHA-256 of its receipt, which lists the SHA-256 of every object.

    Args:
        version: content of the version file.
        version_bytes: the version file.
        schemas: Arrow schema of the files of each table.
    """
    tables = {name: entries for name, entries in version["tables"].items() if entries}
    info = object_info(version_path(version["version"]), version_bytes)
    files = [_file(info.path, info.bytes, info.sha256, "application/json")]
    files += [
        _file(entry["path"], entry["bytes"], entry["sha256"], "application/x-parquet")
        for entries in tables.values()
        for entry in entries
    ]
    sets = [
        _file_set(f"{name}-files", f"the table `{name}`", [entry["path"] for entry in entries])
        for name, entries in tables.items()
    ]
    volumes = _file_set("volume-files", "OME-Zarr 0.5 images; the table `volumes` says which", ["volumes/*"])
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "DeepLesion-store",
        "description": (
            "CT volumes in Hounsfield units (OME-Zarr) and lesion annotations (Parquet), made from the NIH "
            f"DeepLesion release. {ACKNOWLEDGEMENT}"
        ),
        "url": SOURCE_URL,
        "isBasedOn": SOURCE_URL,
        "citeAs": CITATION,
        "creator": {"@type": "sc:Organization", "name": "NIH Clinical Center", "url": SOURCE_URL},
        "datePublished": version["created_at"],
        "version": f"{version['version']}.0.0",
        "isLiveDataset": False,
        "distribution": [*files, *sets, volumes | {"encodingFormat": "application/vnd+zarr"}],
        "recordSet": [_record_set(declared(version, name), schemas[name]) for name in tables],
    }


def _file(path: str, size: int, sha256: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _file_set(name: str, description: str, paths: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": "application/x-parquet",
        "includes": paths,
    }


def _record_set(table: Table, schema: pa.Schema) -> dict[str, Any]:
    fields = [_field(table.name, field) for field in schema]
    if table.partition is not None:
        fields.append(_partition_field(table.name, table.partition))
    made = {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": (schema.metadata or {})[b"description"].decode(),
        "field": fields,
    }
    keys = [{"@id": f"{table.name}/{name}"} for name in table.key]
    return made | ({"key": keys[0] if len(keys) == 1 else keys} if keys else {})


def _field(table: str, field: pa.Field) -> dict[str, Any]:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f" ({metadata['unit']})" if "unit" in metadata else ""
    made = {
        "@type": "cr:Field",
        "@id": f"{table}/{field.name}",
        "name": field.name,
        "description": metadata["description"] + unit,
        "dataType": _data_type(field.type),
        "source": {"fileSet": {"@id": f"{table}-files"}, "extract": {"column": field.name}},
    }
    return made | ({"repeated": True} if _is_list(field.type) else {})


def _partition_field(table: str, partition: Partition) -> dict[str, Any]:
    """Return the field of a column that the folders of the files name instead of the files."""
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{partition.name}",
        "name": partition.name,
        "description": partition.description,
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": f"{table}-files"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f".*{partition.name}=([^/]+)/.*"},
        },
    }


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _data_type(kind: pa.DataType) -> str:
    if _is_list(kind):
        return _data_type(kind.value_type)
    for is_kind, name in (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_string, "sc:Text"),
    ):
        if is_kind(kind):
            return name
    raise TypeError(f"no Croissant type is known for a column of {kind}")


def _encode(store: Store) -> bytes:
    version = store.version
    schemas = {
        name: pq.read_schema(io.BytesIO(read_file(store.objects, entries[0])))
        for name, entries in version["tables"].items()
        if entries
    }
    version_bytes = store.objects.read(version_path(version["version"]))
    return to_json(croissant_document(version, version_bytes, schemas))


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    version = version_path(store.version["version"])
    tables = [
        ExportFile(entry["path"], partial(read_file, store.objects, entry))
        for entry in table_entries(store.version)
    ]
    return [
        ExportFile(version, partial(store.objects.read, version)),
        *tables,
        ExportFile(NAME, partial(_encode, store)),
    ]


FORMAT = Format(
    _files,
    f"{NAME} describes the whole version: files with sizes and SHA-256, and every column of the tables\n"
    "with its type, unit and meaning. The version file and the tables are copied next to it, where a\n"
    "Croissant loader finds them; the volumes stay in the store. The same file works in the store's folder.",
    selects=False,
)

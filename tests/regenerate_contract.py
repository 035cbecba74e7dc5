"""The contract with readers, as text: `python -m tests.regenerate_contract` writes it to tests/contract/ and
the columns to docs/store.md.

The texts come from a small build. What differs from run to run, or with the versions of libraries, is
shown as `<what it is>`.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.config import Config
from etl.core.rejects import Kind, Reason
from etl.store.layout import CONTRACT_VERSION, receipt_path, to_json, version_path
from etl.tables.registry import BUILD_TABLES, TABLES
from etl.tables.table import Table
from tests.support.tiny_release import build_serial, csv_row, tiny_config, write_release

FOLDER = Path(__file__).parent / "contract"
DOCUMENT = Path(__file__).parent.parent / "docs" / "store.md"
SERIES = "000001_01_01"


def contract_config(folder: Path, store: Path, **sections: dict[str, Any]) -> Config:
    """Write the release of the contract's example to `folder`; return the config of a build of it."""
    release = folder / "release"
    rows = (
        csv_row(SERIES, 4, (3, 7), Train_Val_Test="1", Coarse_lesion_type="-1"),
        csv_row(SERIES, 7, (3, 7), Train_Val_Test="1", Coarse_lesion_type="-1", Patient_age="NaN"),
        csv_row("000002_01_01", 2, (1, 2)),
        csv_row("000002_01_01", 2, (1, 2), Patient_gender="X"),
    )
    write_release(release, {SERIES: [3, 4, 6, 7], "000002_01_01": [1, 2]}, rows)
    return tiny_config(release, store, volume={"pyramid_levels": 2}, **sections)


def contract_texts(folder: Path) -> dict[str, str]:
    """File name below tests/contract/ -> text, of a store that is built in `folder`."""
    store = folder / "store"
    version = build_serial(contract_config(folder, store)).published.version
    first = version["volumes"][0]["path"]
    placeholders = {str(folder): "<folder>", version["run_id"]: "<run>"}
    placeholders |= {re.split(r"[/.]", volume["path"])[2]: "<fingerprint>" for volume in version["volumes"]}
    documents = {
        "store.json": "store.json",
        "volume_zarr.json": f"{first}/zarr.json",
        "level_zarr.json": f"{first}/0/zarr.json",
        "receipt.json": receipt_path(first),
        "version.json": version_path(1),
    }
    texts = {
        name: _short_lists(
            to_json(_without_variable_values(json.loads((store / path).read_bytes()))).decode()
        )
        for name, path in documents.items()
    }
    for table in BUILD_TABLES:
        path = version["tables"][table][0]["path"]
        texts[f"{table}.schema.txt"] = schema_text(pq.read_schema(store / path))
    texts["reject_reasons.txt"] = "".join(f"{value}\n" for value in (*Kind, *Reason))
    names = sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    texts["tree.txt"] = "".join(f"{name}\n" for name in names)
    for value, placeholder in placeholders.items():
        texts = {name: text.replace(value, placeholder) for name, text in texts.items()}
    return texts


def schema_text(schema: pa.Schema) -> str:
    """A schema for review: one line a column with type, nullability, unit and description."""
    lines = []
    for column in schema:
        about = about_column(column)
        unit = f" [{about['unit']}]" if "unit" in about else ""
        null = " nullable" if column.nullable else ""
        lines.append(f"{column.name}: {column.type}{null}{unit} - {about['description']}\n")
    return "".join(lines)


def schema_markdown(table: Table) -> str:
    """The columns of a table as a Markdown section for docs/store.md."""
    lines = [f"### {table.name}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in table.schema:
        about = about_column(column)
        kind = f"{column.type}, may be null" if column.nullable else f"{column.type}"
        text = about["description"].replace("|", "\\|")
        lines.append(f"| `{column.name}` | {kind} | {about.get('unit', '')} | {text} |")
    return "\n".join(lines)


def about_column(column: pa.Field) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}


def _without_variable_values(data: Any, key: str = "") -> Any:
    if isinstance(data, dict):
        if key == "code":
            return dict.fromkeys(data, "<version>")
        return {name: _without_variable_values(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [_without_variable_values(value) for value in data]
    # Compressed bytes differ with the versions of zlib, Blosc and Arrow.
    if key in ("bytes", "sha256", "directory_sha256", "created_at") and data is not None:
        return f"<{key}>"
    return data


def _short_lists(text: str) -> str:
    """Innermost lists on one line each, for review."""
    return re.sub(r"\[\n[^][{}]*\]", lambda found: "[" + " ".join(found[0][1:-1].split()) + "]", text)


def with_columns(document: str) -> str:
    """docs/store.md with the columns of all tables, as the schemas describe them, between its two marks."""
    columns = "".join(f"\n{schema_markdown(table)}\n" for table in TABLES.values()) + "\n"
    return re.sub(
        r"(<!-- columns: .*? -->\n).*(?=<!-- end of columns -->)",
        lambda m: m[1] + columns,
        document,
        flags=re.S,
    )


# Of no promise: receipts are the builder's own. Names that are data, and what says how voxels are encoded.
_NOT_PROMISED = ("receipt.json",)
_DATA = re.compile(r"\.(code|rejects_by_reason)\.|^\.(codecs|chunk_grid|chunk_key_encoding)\b")


def breaking_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Columns, reasons and keys of `old` that `new` lacks, or has with another type or unit."""
    for name, text in old.items():
        if name.endswith(".json") and name not in _NOT_PROMISED:
            kinds = dict(_json_keys(json.loads(new.get(name, "{}"))))
            for key, kind in dict.fromkeys(_json_keys(json.loads(text))):
                # A value that is null in the example has its kind elsewhere.
                if kinds.get(key) not in ((kind, "null") if kind != "null" else kinds.values()):
                    yield f"{name}: {key.removeprefix('.')}: {kind}"
        elif name.endswith(".txt") and name != "tree.txt":
            columns = [line.split(" - ")[0] for line in new.get(name, "").splitlines()]
            lines = (line.split(" - ")[0] for line in text.splitlines())
            yield from (f"{name}: {line}" for line in lines if line not in columns)


def _json_keys(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key, `[]` for every item of a list, and kind of each value below."""
    if _DATA.search(key):
        return
    if key:
        yield key, _kind(data)
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _json_keys(value, f"{key}.{name}")
    elif isinstance(data, list):
        for value in data:
            yield from _json_keys(value, f"{key}[]")


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "bool", int: "number", float: "number"}
    return kinds.get(type(value), "null")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = contract_texts(Path(folder))
    old = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.is_file()}
    known = re.search(r'"contract_version": (\d+)', old.get("version.json", ""))
    broken = list(breaking_changes(old, texts))
    if broken and known and int(known[1]) >= CONTRACT_VERSION:
        lines = "\n".join(f"  {line}" for line in broken)
        sys.exit(f"readers break on what is gone or changed; raise CONTRACT_VERSION first:\n{lines}")
    FOLDER.mkdir(exist_ok=True)
    for name in old.keys() - texts.keys():
        (FOLDER / name).unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_columns(document), encoding="utf-8")
    changed = sorted(name for name in old | texts if old.get(name) != texts.get(name))
    print("changed:", ", ".join(changed) or "nothing")


if __name__ == "__main__":
    main()

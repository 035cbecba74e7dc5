"""Build stores in tests, and say what one holds so that two can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from etl.core.config import Config
from etl.pipeline.build import Build, build, load_plan
from etl.run.protocol import Executor


def config_data(release: Path, store: Path, **sections: Any) -> dict[str, Any]:
    """A config of a synthetic release, as a YAML file would give it; `sections` replace or add keys."""
    source = {
        "annotations": str(release / "DL_info.csv"),
        "archives": [str(release / "Images_png_*.zip")],
    }
    return {
        "store": str(store),
        "source": source,
        "limits": {"rejects": 0.05},
        "cluster": "serial",
    } | sections


def write_config(folder: Path, data: dict[str, Any]) -> str:
    """Path of a config file; JSON is YAML."""
    path = folder / "config.yaml"
    path.write_text(json.dumps(data))
    return str(path)


def config_of(data: dict[str, Any]) -> Config:
    return Config.model_validate_json(json.dumps(data))


def build_store(data: dict[str, Any], executor: Executor) -> Build:
    config = config_of(data)
    return build(config, load_plan(config), executor)


def version_names(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "versions").glob("*.json"))


def read_versions(store: Path) -> list[dict[str, Any]]:
    return [json.loads((store / "versions" / name).read_bytes()) for name in version_names(store)]


def files_below(folder: Path) -> dict[str, bytes]:
    """Path relative to the folder -> bytes, of every file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def published_files(store: Path) -> dict[str, bytes]:
    """Return a store's files for readers: all except the records of runs."""
    return {name: data for name, data in files_below(store).items() if not name.startswith("runs/")}


def table_bytes(store: Path, version: dict[str, Any]) -> dict[str, bytes]:
    """Path below the run's folder -> bytes, of every table file that a version names."""
    base = f"tables/{version['run_id']}/"
    paths = [entry["path"] for files in version["tables"].values() for entry in files]
    assert all(path.startswith(base) for path in paths)
    return {path.removeprefix(base): (store / path).read_bytes() for path in paths}


def without_run(version: dict[str, Any]) -> dict[str, Any]:
    """A version without what differs between two runs of a build: run, time, store, cluster and checksums."""
    text = json.dumps(version).replace(f"tables/{version['run_id']}/", "tables/RUN/")
    same = json.loads(text)
    del same["run_id"], same["created_at"], same["config"]["store"], same["config"]["cluster"]
    del same["sha256"], same["parent_sha256"]
    return dict(same)

"""Reads conf/cluster/*.yaml by name or path and validates them by their kind."""

from __future__ import annotations

from pathlib import Path

from etl.core.config_file import read_mapping, validated
from etl.core.errors import ConfigError
from etl.core.own_configs import CONFIGS
from etl.run.cluster_kinds import Cluster, ExistingScheduler, Kubernetes, Local, OtherClass, Serial, Slurm

KINDS: dict[str, type[Cluster]] = {
    "serial": Serial,
    "local": Local,
    "scheduler": ExistingScheduler,
    "slurm": Slurm,
    "kubernetes": Kubernetes,
    "class": OtherClass,
}
# Kinds that need no file, so that a job runs wherever the package is installed.
BUILT_IN: dict[str, Cluster] = {"serial": Serial(kind="serial"), "local": Local(kind="local")}


def load_cluster(name: str) -> Cluster:
    """Return the cluster config with this name or path.

    Args:
        name: `NAME` of conf/cluster/NAME.yaml, in the working directory or of the package; or a path,
            which contains a slash or ends in .yaml.

    Raises:
        ConfigError: there is no such name or file, or the file is wrong.
    """
    path = _find(name)
    if path is None:
        return BUILT_IN[name]
    data = read_mapping(path)
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(
            "`kind` is missing or unknown", where=str(path), value=kind, allowed=", ".join(KINDS)
        )
    return validated(KINDS[kind], data, str(path))


def _find(name: str) -> Path | None:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    folders = [Path("conf/cluster"), CONFIGS / "cluster"]
    for folder in folders:
        if (path := folder / f"{name}.yaml").is_file():
            return path
    if name in BUILT_IN:
        return None
    there = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise ConfigError(
        "no cluster has this name",
        where="cluster",
        value=name,
        allowed=f"{', '.join(sorted(there | set(BUILT_IN)))}, or a YAML file",
        remedy="use a name of conf/cluster, or write a file like those",
    )

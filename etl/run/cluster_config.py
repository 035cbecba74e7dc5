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


def scheduler_at(address: str, where: str, **more: float | None) -> ExistingScheduler:
    """Return the config of the scheduler at an address that no file gives.

    Args:
        where: the option or environment variable with the address.

    Raises:
        ConfigError: it is no address, or it holds a password.
    """
    data = {"kind": "scheduler", "address": address, **more}
    remedy = "give the address that `dask scheduler` printed, such as tcp://10.0.0.1:8786"
    return validated(ExistingScheduler, data, where, remedy)


def _find(name: str) -> Path | None:
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    folders = [Path("conf/cluster"), CONFIGS / "cluster"]
    for path in [Path(name)] if is_path else [folder / f"{name}.yaml" for folder in folders]:
        if path.exists():
            return path
    if name in BUILT_IN:
        return None
    there = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise ConfigError(
        "there is no such file" if is_path else "no cluster has this name",
        where="cluster",
        value=name,
        allowed=f"{', '.join(sorted(there | set(BUILT_IN)))}, or a YAML file",
        remedy="use one of these names, or write a file: deeplesion config cluster/local > cluster.yaml",
    )

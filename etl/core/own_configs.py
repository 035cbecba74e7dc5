"""The configs that come with the package: the folder conf/ of a checkout, which is a link to them."""

from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "conf"
"""Folder of the configs; its folder `cluster` has one file a cluster."""


def own_configs() -> list[str]:
    """Return the names of the configs that come with the package, sorted."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Return the path of a config: of the file itself, or of the package's own with this bare name."""
    path = Path(name)
    is_bare = path.name == str(name) and not path.suffix
    return CONFIGS / f"{name}.yaml" if is_bare and not path.exists() and str(name) in own_configs() else path

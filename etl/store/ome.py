"""The parts of OME-Zarr metadata that volumes and labels have in common. Source: OME-Zarr 0.5."""

from __future__ import annotations

import json
from typing import Any

from etl.imaging.pyramid import level_translation_mm
from etl.store.layout import AXES, ORIENTATION, SEAL_AT, Spacing
from etl.store.sealed import sealed


def multiscale(name: str, spacing_mm: Spacing, level_count: int) -> dict[str, Any]:
    """Return name, axes with their anatomical orientation, and levels, each of half the resolution before."""
    axes = [
        {
            "name": axis,
            "type": "space",
            "unit": "millimeter",
            "orientation": {"type": "anatomical", "value": direction},
        }
        for axis, direction in zip(AXES, ORIENTATION, strict=True)
    ]
    datasets = []
    for level in range(level_count):
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [s * 2**level for s in spacing_mm]}]
        if level:
            shift = list(level_translation_mm(level, spacing_mm))
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    return {"name": name, "axes": axes, "datasets": datasets}


def sealed_metadata(content: dict[str, Any], indent: int | None = None) -> bytes:
    """Return a `zarr.json` with its checksum among its attributes, which are added where it has none."""
    content.setdefault("attributes", {}).setdefault(SEAL_AT[-1], {})
    return json.dumps(sealed(content, SEAL_AT), indent=indent).encode()

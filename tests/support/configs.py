"""Configs as text, loaded from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from etl.core.config import Config
from etl.core.config_file import load_config

SMALLEST: dict[str, Any] = {"store": "s", "source": {"annotations": "a.csv", "images": "png"}}


def load(tmp_path: Path, text: str, *overrides: str, **environment: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides=overrides, environment=environment)


def with_value(dotted: str, value: Any) -> str:
    data = json.loads(json.dumps(SMALLEST))
    *sections, last = dotted.split(".")
    target = data
    for section in sections:
        target = target.setdefault(section, {})
    target[last] = value
    return yaml.safe_dump(data)

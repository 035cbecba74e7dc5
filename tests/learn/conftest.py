"""All tests here are slow: most files import PyTorch at their top, and are not collected without it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.support.require import VARIABLE

HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript", "safetensors"))
if not HAS_TORCH and "torch" in os.environ.get(VARIABLE, "").split():
    raise ModuleNotFoundError(f"{VARIABLE} says that torch is there: make torch")
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave this folder out where slow tests are not asked for: collecting it takes seconds."""
    return True if "not slow" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder as slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)

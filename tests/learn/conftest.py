"""Most files here import PyTorch at their top; without it they are not collected."""

from __future__ import annotations

import importlib.util
import os

from tests.support.require import VARIABLE

HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript", "safetensors"))
if not HAS_TORCH and "torch" in os.environ.get(VARIABLE, "").split():
    raise ModuleNotFoundError(f"{VARIABLE} says that torch is there: make torch")
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]

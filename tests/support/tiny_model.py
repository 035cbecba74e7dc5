"""A model that scores a slice by its mean brightness, 4 x mean - 1; made without training."""

from __future__ import annotations

import base64
import json
from typing import Any

from etl.store.layout import to_json

PIXELS = 32
# ONNX of MeanBrightness in tests/learn/test_model_folder.py, which compares it with the exporter's.
MEAN_BRIGHTNESS_ONNX = base64.b64decode(
    "CAoSEGRlZXBsZXNpb24tc3RvcmU60wIKYgoGc2xpY2VzCgd2YWx1ZV8zEgd2YWx1ZV82GgxSZWR1Y2VNZWFuXzAiClJlZHVj"
    "ZU1lYW4qGwoUbm9vcF93aXRoX2VtcHR5X2F4ZXMYAKABAioPCghrZWVwZGltcxgAoAECCicKB3ZhbHVlXzYKB3ZhbHVlXzQS"
    "B3ZhbHVlXzcaBU11bF8xIgNNdWwKJgoHdmFsdWVfNwoHdmFsdWVfNRIGc2NvcmVzGgVTdWJfMiIDU3ViEglyZWdyZXNzb3Iq"
    "JwgDEAdCB3ZhbHVlXzNKGAEAAAAAAAAAAgAAAAAAAAADAAAAAAAAACoREAFCB3ZhbHVlXzRKBAAAgEAqERABQgd2YWx1ZV81"
    "SgQAAIA/WiYKBnNsaWNlcxIcChoIARIWCggSBnNsaWNlcwoCCAEKAgggCgIIIGIaCgZzY29yZXMSEAoOCAESCgoIEgZzbGlj"
    "ZXNCBAoAEBQ="
)
SCALE: dict[str, Any] = {
    "slope_mean": 0.1,
    "slope_deviation": 0.05,
    "scores": [-1.0, 3.0],
    "norm_z": [0.0, 1.0],
    "landmarks": [["chest", 0.0], ["abdomen", 0.4], ["pelvis", 0.7]],
    "landmarks_from": "made up",
}


def tiny_model(**scale: Any) -> dict[str, bytes]:
    """The files of a model; `scale` replaces values of its scale."""
    config = {
        "input": {"pixels": PIXELS, "pixel_mm": 1.0, "window_hu": [-175.0, 275.0]},
        "scale": SCALE | scale,
    }
    return {
        "model.onnx": MEAN_BRIGHTNESS_ONNX,
        "config.json": to_json(json.loads(json.dumps(config))),
        "README.md": b"# Brightness\n",
    }

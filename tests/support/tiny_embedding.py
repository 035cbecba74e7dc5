"""A model whose vector is the mean brightness of three planes, and of the middle one by the box's width."""

from __future__ import annotations

import base64
import json

from etl.store.layout import to_json

PIXELS = 16
ID = "means-0123456789abcdef"
# ONNX of PlaneMeans in tests/learn/test_embedding_model.py, which compares it with the exporter's.
PLANE_MEANS_ONNX = base64.b64decode(
    "CAoSEGRlZXBsZXNpb24tc3RvcmU6wwUKYQoFY3JvcHMKB3ZhbHVlXzQSB3ZhbHVlXzkaDFJlZHVjZU1lYW5fMCIKUmVkdWNlTWVh"
    "biobChRub29wX3dpdGhfZW1wdHlfYXhlcxgAoAECKg8KCGtlZXBkaW1zGACgAQIKRQoFYm94ZXMKB3ZhbHVlXzUKB3ZhbHVlXzYK"
    "B3ZhbHVlXzcKB3ZhbHVlXzcSCHZhbHVlXzEwGgdTbGljZV8xIgVTbGljZQpFCgVib3hlcwoHdmFsdWVfOAoHdmFsdWVfNwoHdmFs"
    "dWVfNwoHdmFsdWVfNxIIdmFsdWVfMTEaB1NsaWNlXzIiBVNsaWNlCioKCHZhbHVlXzEwCgh2YWx1ZV8xMRIIdmFsdWVfMTIaBVN1"
    "Yl8zIgNTdWIKRwoHdmFsdWVfOQoHdmFsdWVfNwoHdmFsdWVfNQoHdmFsdWVfNwoHdmFsdWVfNxIIdmFsdWVfMTMaB1NsaWNlXzQi"
    "BVNsaWNlCioKCHZhbHVlXzEzCgh2YWx1ZV8xMhIIdmFsdWVfMTQaBU11bF81IgNNdWwKOwoHdmFsdWVfOQoIdmFsdWVfMTQSB3Zl"
    "Y3RvcnMaCENvbmNhdF82IgZDb25jYXQqCwoEYXhpcxgBoAECEgllbWJlZGRpbmcqHwgCEAdCB3ZhbHVlXzRKEAIAAAAAAAAAAwAA"
    "AAAAAAAqFwgBEAdCB3ZhbHVlXzVKCAIAAAAAAAAAKhcIARAHQgd2YWx1ZV82SggDAAAAAAAAACoXCAEQB0IHdmFsdWVfN0oIAQAA"
    "AAAAAAAqFwgBEAdCB3ZhbHVlXzhKCAAAAAAAAAAAWiQKBWNyb3BzEhsKGQgBEhUKBxIFY3JvcHMKAggDCgIIEAoCCBBaHAoFYm94"
    "ZXMSEwoRCAESDQoHEgVjcm9wcwoCCARiHgoHdmVjdG9ycxITChEIARINCgcSBWNyb3BzCgIIBEIECgAQFA=="
)
INPUT = {
    "pixels": PIXELS,
    "edge_mm": 16.0,
    "slices": 3,
    "slice_mm": 2.0,
    "window_hu": [-1024.0, 3071.0],
    "margin_mm": 2.0,
}


def tiny_embedding(name: str = "means", **values: object) -> dict[str, bytes]:
    """The files of a model of four numbers; `values` replace those of its input."""
    config = {"kind": "embedding", "name": name, "input": INPUT | values, "dimensions": 4}
    return {
        "model.onnx": PLANE_MEANS_ONNX,
        "config.json": to_json(json.loads(json.dumps(config))),
        "README.md": b"# Means\n",
    }

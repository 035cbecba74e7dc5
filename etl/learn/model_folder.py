"""The files of a trained model: weights, ONNX, config and metrics; the same bytes wherever they are made."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx as onnx_format
import torch
from safetensors.numpy import save
from torch import nn

from etl.derive.volume_table import digest_of
from etl.store.layout import to_json
from etl.store.models import CONFIG, ONNX

OPSET = 20
WEIGHTS, METRICS, CARD = "model.safetensors", "metrics.json", "README.md"


def digest_of_model(weights: Mapping[str, np.ndarray], decides: Any) -> str:
    """Return 16 hexadecimal digits over weights and all else that decides a score.

    Args:
        weights: arrays by name.
        decides: pre-processing and what maps scores to positions, as a JSON value.
    """
    digest = hashlib.sha256(digest_of(decides).encode())
    for name, values in sorted(weights.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def arrays_of(net: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of a net by name, contiguous, on the CPU."""
    state = net.state_dict()
    return {name: np.ascontiguousarray(state[name].cpu().numpy()) for name in sorted(state)}


def weights_bytes(weights: Mapping[str, np.ndarray], model_id: str) -> bytes:
    """Return the weights as safetensors, with one key of metadata: more come in any order."""
    own = {"model": json.dumps({"model_id": model_id})}
    return save({name: np.ascontiguousarray(values) for name, values in weights.items()}, metadata=own)


def onnx_bytes(net: nn.Module, pixels: int) -> bytes:
    """Return a net that gives slices one score each as ONNX; see `exported`.

    Args:
        net: on the CPU; takes (n, 1, pixels, pixels), any n.
    """
    return exported(net, {"slices": torch.zeros(2, 1, pixels, pixels)}, "scores", "regressor")


def exported(net: nn.Module, inputs: Mapping[str, torch.Tensor], output: str, kind: str) -> bytes:
    """Return a net as one ONNX file of a pinned opset, with nothing of the machine that made it.

    The exporter writes the paths and lines of the source into every node, and names that depend on them.

    Args:
        net: on the CPU.
        inputs: an example of each input by its name in the file, in the order of `forward`; their first axis
            may then have any length.
        output: name of the output in the file.
        kind: of model, which names the graph.
    """
    net.eval()
    names = list(net.forward.__code__.co_varnames[1 : len(inputs) + 1])
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    first = torch.export.Dim(next(iter(inputs)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            tuple(inputs.values()),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            dynamic_shapes={name: {0: first} for name in names},
            input_names=list(inputs),
            output_names=[output],
            verbose=False,
        )
    assert program is not None
    return stripped(program.model_proto, kind)


def stripped(model: onnx_format.ModelProto, kind: str) -> bytes:
    """Return an ONNX model without metadata, doc strings and producer, its values and nodes renumbered."""
    graph = model.graph
    names: dict[str, str] = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}

    def named(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}")

    for tensor in graph.initializer:
        tensor.name = named(tensor.name)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        node.ClearField("doc_string")
        del node.metadata_props[:]
        node.input[:] = [named(name) for name in node.input]
        node.output[:] = [named(name) for name in node.output]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    graph.ClearField("doc_string")
    for name in ("doc_string", "producer_version", "domain"):
        model.ClearField(name)
    graph.name, model.producer_name = kind, "deeplesion-store"
    onnx_format.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def model_files(
    net: nn.Module,
    onnx: bytes,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
    decides: Any,
) -> tuple[str, dict[str, bytes]]:
    """Return (model_id, files by name) of a trained net.

    Args:
        onnx: the net as ONNX.
        config: input, training and split, as JSON values.
        decides: the part of `config` that, with the weights, decides what the model gives.
    """
    weights = arrays_of(net)
    model_id = f"{config['name']}-{digest_of_model(weights, decides)}"
    files = {
        WEIGHTS: weights_bytes(weights, model_id),
        ONNX: onnx,
        CONFIG: to_json({"model_id": model_id, **config}),
        METRICS: to_json(dict(metrics)),
        CARD: card.replace("MODEL_ID", model_id).encode(),
    }
    return model_id, files

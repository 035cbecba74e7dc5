"""The models of a version: found by name or id, and their files, held against the version's SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etl.core.errors import AbsentError, StoreError
from etl.derive.onnx_session import Device
from etl.derive.stored_model import StoredModel
from etl.io.places import Objects
from etl.store.layout import MODELS
from etl.store.versions import Version, readable

Model = Mapping[str, Any]
"""One model as a version names it: name, model_id, path, files (each path, bytes, sha256)."""

CONFIG, ONNX = "config.json", "model.onnx"
_REMEDY = "train it again, or take the file from a copy of the store"


def models_of(version: Version) -> Sequence[Model]:
    """Return the models of a version, in the order in which they were added."""
    found: Sequence[Model] = version.get("models", ())
    return found


def choose_model(objects: Objects, version: Version, wanted: str) -> Model:
    """Return a model by its name (the one added last), its id or digest, or the beginning of these.

    Raises:
        StoreError: there is no such model, or more than one id begins so.
    """
    models = models_of(version)
    named = [model for model in models if model["name"] == wanted]
    found = named[-1:] or [model for model in models if wanted and _begins(model, wanted)]
    if len(found) != 1:
        known = ", ".join(f"{model['model_id']} ({model['name']})" for model in models)
        raise AbsentError(
            "no such model in this version" if not found else "several models begin so",
            where=f"{objects.root}, version {version['version']}",
            value=wanted,
            allowed=known or "none: this version has no models",
            remedy="give more of the id of one"
            if found
            else "train one: deeplesion train-regressor STORE regressor, or deeplesion train-embedding",
        )
    return found[0]


def _begins(model: Model, wanted: str) -> bool:
    model_id = str(model["model_id"])
    return model_id.startswith(wanted) or model_id.removeprefix(f"{model['name']}-").startswith(wanted)


def model_file(objects: Objects, model: Model, name: str) -> bytes:
    """Return the bytes of a model's file.

    Raises:
        StoreError: the model has no such file, or it is missing or damaged.
    """
    entry = next((file for file in model["files"] if file["path"] == name), None)
    where = f"{objects.root}/{model['path']}/{name}"
    if entry is None:
        raise AbsentError("the model has no such file", where=where, value=name)
    try:
        with readable(objects):
            data = objects.read(f"{model['path']}/{name}")
    except StoreError as error:
        raise StoreError(
            "a model's file can't be read", where=where, value=error.value, remedy=_REMEDY
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise StoreError(
            "a model's file is damaged",
            where=where,
            value=f"SHA-256 {found}",
            allowed=f"SHA-256 {entry['sha256']}",
            remedy=_REMEDY,
        )
    return data


def onnx_of(objects: Objects, model: Model, device: Device = "cpu") -> StoredModel:
    """Return a model's ONNX file, to be applied on a device, after it was read once.

    Raises:
        StoreError: it is missing or damaged; no volume is to blame, and another try is no remedy.
    """
    sha256 = hashlib.sha256(model_file(objects, model, ONNX)).hexdigest()
    return StoredModel(objects.root, f"{model['path']}/{ONNX}", sha256, device)


def model_config(objects: Objects, model: Model) -> dict[str, Any]:
    """Return a model's config.json."""
    return dict(json.loads(model_file(objects, model, CONFIG)))


REGRESSOR, EMBEDDING = "regressor", "embedding"
"""Kinds of models. The config.json of an old regressor does not say that it is one."""


def model_of_kind(objects: Objects, version: Version, wanted: str, kind: str) -> tuple[Model, dict[str, Any]]:
    """Return a model of a kind by its name or id, and its config.json.

    Raises:
        StoreError: there is no such model, or it is of another kind.
    """
    model = choose_model(objects, version, wanted)
    config = model_config(objects, model)
    found = config.get("kind", REGRESSOR)
    if found != kind:
        raise StoreError(
            "this model is of another kind",
            where=f"{objects.root}, version {version['version']}",
            value=f"{model['model_id']}: {found}",
            allowed=kind,
            remedy="score slices with a regressor, embed lesions with an embedding",
        )
    return model, config


def model_path(name: str, model_id: str) -> str:
    """Return the path of a model's folder, relative to the store."""
    return f"{MODELS}/{name}/{model_id}"

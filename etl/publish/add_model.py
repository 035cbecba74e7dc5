"""A model that a job trained, added to a store in a new version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from etl.core.errors import StoreError
from etl.io.places import Objects, object_info
from etl.store.history import check_not_pruned
from etl.store.models import Model, model_file, model_path, models_of
from etl.store.running import running
from etl.store.versions import (
    Version,
    new_run_id,
    publish_version,
    read_with_sha256,
    under_new_run,
    version_numbers,
)


def add_model(objects: Objects, name: str, model_id: str, files: Mapping[str, bytes]) -> tuple[Version, bool]:
    """Write the files of a model and publish a version that names them.

    A model that any version names stays as it is; of its files those that were lost or damaged since are
    written again, if these are the same. Files that differ and that no version names remain from a run that
    was killed, perhaps damaged since; they are written again.

    Args:
        model_id: NAME-DIGEST, of weights and all else that decides a score.
        files: bytes by name.

    Returns:
        (version that names the model, True); the current version and False where it named it already.

    Raises:
        StoreError: nothing was published here yet, the store can't be written, or a version names the model
            with other files than these, one of which was lost or damaged.
        RunError: other runs took the next version's number again and again, or a prune took files.
        OSError: the store can't be read or written.
    """
    run_id = new_run_id()
    objects.check_writable()
    with running(objects, run_id, "tables") as own:
        own.wait_for("prune")
        entry = _write(objects, name, model_id, files)

        def body_on(current: Version | None) -> Version | None:
            if current is None:
                raise StoreError("there is no published version to add a model to", where=objects.root)
            models = models_of(current)
            if any(model["model_id"] == model_id for model in models):
                return None
            body = under_new_run(current, run_id) | {"models": [*models, entry]}
            check_not_pruned(objects, own, body)
            return body

        version = publish_version(objects, run_id, body_on)
    return version, version["run_id"] == run_id


def _write(objects: Objects, name: str, model_id: str, files: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Write the files; return the entry of the model in a version."""
    path = model_path(name, model_id)
    entries = [asdict(object_info(file, data)) for file, data in sorted(files.items())]
    named = _named_before(objects, model_id, path)
    if named is not None:
        for entry in named["files"]:
            if entry in entries:
                _write_again(objects, f"{path}/{entry['path']}", files[entry["path"]])
            model_file(objects, named, entry["path"])
        return named
    for file, data in sorted(files.items()):
        _write_again(objects, f"{path}/{file}", data)
    return {"name": name, "model_id": model_id, "path": path, "files": entries}


def _write_again(objects: Objects, path: str, data: bytes) -> None:
    """Write an object unless it is there with these bytes."""
    if not objects.create(path, data) and objects.read(path) != data:
        objects.write(path, data)


def _named_before(objects: Objects, model_id: str, path: str) -> Model | None:
    """Return the entry of a model in the last version that names it.

    Where nothing of the model is there, only the current version is asked: hundreds would take long.
    """
    numbers = version_numbers(objects)
    for number in reversed(numbers if any(objects.list(path)) else numbers[-1:]):
        version = read_with_sha256(objects, number)[0]
        for model in models_of(version):
            if model["model_id"] == model_id:
                return model
    return None

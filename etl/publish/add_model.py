"""A model that a job trained, added to a store in a new version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from etl.core.errors import StoreError
from etl.io.places import Objects, object_info
from etl.store.history import check_not_pruned
from etl.store.models import model_path, models_of
from etl.store.running import running
from etl.store.versions import Version, new_run_id, publish_version, under_new_run


def add_model(objects: Objects, name: str, model_id: str, files: Mapping[str, bytes]) -> tuple[Version, bool]:
    """Write the files of a model and publish a version that names them.

    Files are immutable: where the store has a file of this model already, that one stays.

    Args:
        model_id: NAME-DIGEST, of weights and all else that decides a score.
        files: bytes by name.

    Returns:
        (version that names the model, True); the current version and False where it named it already.

    Raises:
        StoreError: nothing was published here yet, or the store can't be written.
        RunError: other runs took the next version's number again and again, or a prune took files.
        OSError: the store can't be read or written.
    """
    run_id, path = new_run_id(), model_path(name, model_id)
    objects.check_writable()
    with running(objects, run_id, "tables") as own:
        own.wait_for("prune")
        entries: list[dict[str, Any]] = []
        for file, data in sorted(files.items()):
            there = not objects.create(f"{path}/{file}", data)
            written = objects.read(f"{path}/{file}") if there else data
            entries.append(asdict(object_info(file, written)))
        entry = {"name": name, "model_id": model_id, "path": path, "files": entries}

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

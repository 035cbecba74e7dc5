"""The parts that are the same for all commands that train models, or apply them to a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from etl.derive.volume_table import Derivation
    from etl.io.places import Objects
    from etl.pipeline.derive import Derivations
    from etl.store.reader import Store

DEVICE = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where onnxruntime runs.",
)
"""Option of the commands that apply a model."""
MOST_REJECTS = click.option(
    "--most-rejects",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Largest share of volumes without rows that is published; one volume always may be.",
)
"""Option of the commands that make a table from voxels."""

STEPS_NOW = click.option("--steps-now", type=click.IntRange(1), metavar="N", help="Stop after N more steps.")
TRAINING_DEVICE = click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Of PyTorch, such as cuda or cuda:1.",
)
"""Options of the commands that train a model."""


def check_onnxruntime() -> None:
    """Raise ConfigError where onnxruntime, which applies models, is not installed."""
    import importlib.util

    from etl.core.errors import ConfigError

    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError(
            "onnxruntime is missing", remedy="pip install 'deeplesion-store[derive]', on every worker too"
        )


def check_torch() -> None:
    """Raise ConfigError where a package that training needs is not installed."""
    import importlib.util

    from etl.core.errors import ConfigError

    missing = [
        name for name in ("torch", "onnx", "onnxscript", "safetensors") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise ConfigError(
            "training needs packages that are missing",
            value=", ".join(missing),
            remedy="pip install 'deeplesion-store[learn]', or make torch",
        )


def check_one_process(what: str, allowed: str) -> None:
    """Raise ConfigError where torchrun started several processes for what one of them does.

    Args:
        what: is done by one, such as "an embedding is trained".
        allowed: way to do it.
    """
    import os

    from etl.core.errors import ConfigError

    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise ConfigError(
            f"{what} by one process",
            where="torchrun",
            value=f"WORLD_SIZE={count}",
            allowed=allowed,
            remedy="start it without torchrun; --device cuda uses a GPU",
        )


def publish_model(objects: Objects, place: str, name: str, model_id: str, files: Mapping[str, bytes]) -> None:
    """Add a trained model to a store; print the version that has it, and what of the files it does not take.

    Args:
        place: of the store, as it was typed.
        files: bytes by name.
    """
    import hashlib

    from etl.publish.add_model import add_model
    from etl.report.console.command import print_done
    from etl.report.console.versions import store_failures
    from etl.store.models import choose_model

    with store_failures(objects):
        version, is_new = add_model(objects, name, model_id, files)
    kept = {file["path"]: file["sha256"] for file in choose_model(objects, version, model_id)["files"]}
    other = [one for one, data in sorted(files.items()) if kept.get(one) != hashlib.sha256(data).hexdigest()]
    state = "has now" if is_new else "had already"
    more = f"; its files never change, so this run's {', '.join(other)} are not in the store" if other else ""
    print_done(f"version {version['version']} of {place} {state} the model {model_id} ({name}){more}")


def derive_shown(
    store: Store, derivation: Derivation, module: str, most_rejects: float, limit: int | None
) -> Derivations:
    """Compute a derived table with progress on standard error; see `etl.pipeline.derive.derive`.

    Args:
        module: that workers import before their first task.
    """
    from etl.pipeline.derive import derive
    from etl.report.console.deriving import DeriveProgress
    from etl.report.console.versions import store_failures
    from etl.run.clusters import chosen_cluster, connect
    from etl.run.logs import start_logging

    console = start_logging()
    with (
        connect(chosen_cluster("local"), module=module) as executor,
        DeriveProgress(console) as progress,
        store_failures(store.objects),
    ):
        return derive(
            store,
            derivation,
            executor,
            most_rejects=most_rejects,
            limit=limit,
            on_start=progress.start,
            on_part=progress.add,
        )

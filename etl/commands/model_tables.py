"""The part that is the same for all commands that apply a model to the volumes of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etl.derive.volume_table import Derivation
    from etl.pipeline.derive import Derivations
    from etl.store.reader import Store


def check_onnxruntime() -> None:
    """Raise ConfigError where onnxruntime, which applies models, is not installed."""
    import importlib.util

    from etl.core.errors import ConfigError

    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError(
            "onnxruntime is missing", remedy="pip install 'deeplesion-store[derive]', on every worker too"
        )


def derive_shown(
    store: Store, derivation: Derivation, module: str, most_rejects: float, limit: int | None
) -> Derivations:
    """Compute a derived table with progress on standard error; see `etl.pipeline.derive.derive`.

    Args:
        module: that workers import before their first task.
    """
    from etl.pipeline.derive import derive
    from etl.report.console.deriving import DeriveProgress
    from etl.run.clusters import chosen_cluster, connect
    from etl.run.logs import start_logging

    console = start_logging()
    with (
        connect(chosen_cluster("local"), module=module) as executor,
        DeriveProgress(console) as progress,
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

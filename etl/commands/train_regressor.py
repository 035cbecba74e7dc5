"""Train a body-part regressor on the volumes of a store, and add the model to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from etl.report.console.command import job
from etl.report.console.words import Command

if TYPE_CHECKING:
    from etl.learn.series import Series
    from etl.store.reader import Store


@click.command(cls=Command)
@click.argument("store")
@click.argument("config", type=click.Path())
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a value; repeatable.",
)
@click.option("--steps-now", type=click.IntRange(1), metavar="N", help="Stop after N more steps.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Of PyTorch, such as cuda or cuda:1.",
)
@job("the last checkpoint is kept")
def main(store: str, config: str, overrides: tuple[str, ...], steps_now: int | None, device: str) -> None:
    """Train on STORE as described by CONFIG, a YAML file such as conf/regressor.yaml; add the model to STORE.

    Patients of the official train split are learned from, those of val give the curves, those of test are
    scored once at the end. Training is one process; a checkpoint is written every `checkpoint_steps`, and the
    same command continues from it. It needs pip install 'deeplesion-store[learn]'.

    \b
      deeplesion train-regressor build/store regressor
      deeplesion train-regressor build/store regressor --set loss=order --set steps=5000
      deeplesion train-regressor s3://bucket/store regressor --device cuda
      deeplesion train-regressor build/store regressor --set data.folder=../shared/ct

    \b
    Exit codes: 0  the store has the model, or --steps-now was reached
                2  wrong config, store or data, or PyTorch is missing
                4  the store can't be written after retries
                130  interrupted; the last checkpoint is kept
                143  terminated; the last checkpoint is kept
    """
    from etl.commands.model_tables import check_torch

    check_torch()
    from etl.imaging.body_view import BodyView
    from etl.learn.finish import finished
    from etl.learn.regressor_config import read_regressor_config
    from etl.learn.shown import run_shown
    from etl.learn.training import Training
    from etl.publish.add_model import add_model
    from etl.run.logs import start_logging
    from etl.store.reader import open_store

    console = start_logging()
    settings, opened = read_regressor_config(config, overrides), open_store(store)
    series, source, landmarks = _series(
        opened, settings, BodyView(settings.input.pixels, settings.input.pixel_mm)
    )
    training = Training(settings, series, device)
    training.resume()
    until = settings.steps if steps_now is None else training.step + steps_now
    run_shown(training, until, settings.validate_steps, console)
    click.echo(f"step {training.step:,} of {settings.steps:,}; checkpoint and curves: {training.folder}")
    if training.step < settings.steps:
        return
    model_id, files = finished(training, source, landmarks)
    version, is_new = add_model(opened.objects, settings.name, model_id, files)
    state = "has now" if is_new else "had already"
    click.echo(f"version {version['version']} of {store} {state} the model {model_id} ({settings.name})")
    click.echo(f"score its slices: deeplesion score {store} --model {model_id}")


def _series(store: Store, settings: Any, view: Any) -> tuple[list[Series], dict[str, Any], Any]:
    from etl.learn.series import folder_series, patients_of
    from etl.learn.store_series import landmarks_of, store_series

    data = settings.data
    if data.folder is not None:
        series = folder_series(data.folder, view, data.val_patients, data.test_patients)
        source: dict[str, Any] = {"kind": "folder", "series": sorted(one.name for one in series)}
        landmarks: Any = ((), "")
    else:
        series = store_series(store, view, data.limit)
        source = {"kind": "store", "version": store.version["version"], "volumes": len(series)}
        landmarks = landmarks_of(store)
    patients_of(series)  # raises where one patient is in two splits
    return series, source, landmarks

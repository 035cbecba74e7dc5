"""Embed the lesions of a store with a model: vectors in which lesions that are alike lie near each other."""

from __future__ import annotations

from typing import Literal

import click

from etl.commands.model_tables import DEVICE, MOST_REJECTS
from etl.report.console.command import job, print_done
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@click.option("--model", required=True, metavar="ID", help="Id or name of an embedding model of the store.")
@DEVICE
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Embed the lesions of at most N volumes now."
)
@MOST_REJECTS
@job("finished files are kept")
def main(
    store: str, model: str, device: Literal["cpu", "cuda"], limit: int | None, most_rejects: float
) -> None:
    """Embed every lesion of STORE (a path or s3://bucket/prefix); publish the table `embeddings/NAME`.

    NAME is the model's. The new version is its parent with this table. Lesions that have a vector of this
    model already are not embedded again, so that a run after a nightly build, or after one that was stopped,
    does what is missing. A volume whose lesions can't be embedded is a row of `embeddings/NAME_rejects`; the
    next run tries it again. A lesion whose vector is zero or not finite has no row. Another model of the same
    name replaces all rows.

    Search it with deeplesion similar STORE LESION_ID --model NAME or store.similar(lesion, model=NAME). It
    needs pip install 'deeplesion-store[derive]' on every worker.

    \b
      deeplesion embed build/store --model sequence
      dask-submit jobs/embed_lesions.py s3://bucket/store --model imagenet --limit 100

    \b
    Exit codes: 0  the store has the table
                2  wrong arguments, store or model, or onnxruntime is missing
                3  too many volumes give no rows; nothing was published, what was embedded is kept
                4  the machine failed even after retries; what was embedded is kept
                130  interrupted; what was embedded is kept
                143  terminated; what was embedded is kept
    """
    from etl.commands.model_tables import check_onnxruntime, derive_shown
    from etl.derive.embedding_input import EmbeddingInput
    from etl.derive.embedding_table import LesionEmbedder, embeddings
    from etl.store.models import EMBEDDING, model_of_kind, onnx_of
    from etl.store.reader import open_store

    check_onnxruntime()
    opened = open_store(store)
    chosen, config = model_of_kind(opened.objects, opened.version, model, EMBEDDING)
    model_file = onnx_of(opened.objects, chosen, device)
    embedder = LesionEmbedder(model_file, EmbeddingInput.from_json(config["input"]))
    derivation = embeddings(embedder, chosen["name"], chosen["model_id"], int(config["dimensions"]))
    done = derive_shown(opened, derivation, "etl.derive.embedding_table", most_rejects, limit)
    name = derivation.table.name
    coverage = done.version["added_tables"][name]["coverage"]
    lacking = coverage["covered"] - sum(entry["rows"] for entry in done.version["tables"][name])
    state = "" if done.is_new else " has them already"
    print_done(
        f"version {done.version['version']} of {store}{state}: {name} covers {coverage['covered']:,} of "
        f"{coverage['of']:,} lesions by {chosen['model_id']}, of which {lacking:,} have no vector; "
        f"{done.computed:,} volumes now, {done.found:,} by a run before, {len(done.rejects):,} rejected"
    )
    if done.is_new:
        print_done(f"search them: deeplesion similar {store} LESION_ID --model {chosen['name']}")

"""Score the slices of a store with a body-part regressor: where in the body each one lies."""

from __future__ import annotations

from typing import Literal

import click

from etl.commands.model_tables import DEVICE, MOST_REJECTS
from etl.report.console.command import job, print_done
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@click.option("--model", required=True, metavar="ID", help="Id or name of a model of the store.")
@DEVICE
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Score at most N volumes now.")
@MOST_REJECTS
@job("finished files are kept")
def main(
    store: str, model: str, device: Literal["cpu", "cuda"], limit: int | None, most_rejects: float
) -> None:
    """Score every source slice of STORE (a path or s3://bucket/prefix); publish the table `body_positions`.

    The new version is its parent with this table. Volumes that have rows of this model already are not
    scored again, so that a run after a nightly build, or after one that was stopped, does what is missing. A
    volume that can't be scored is a row of `body_positions_rejects`; the next run tries it again. Another
    model replaces all rows.

    Read it with store.body_positions() and store.volume_at(norm_z). It needs
    pip install 'deeplesion-store[derive]' on every worker.

    \b
      deeplesion score build/store --model body-part-regressor
      dask-submit jobs/score_slices.py s3://bucket/store --model 3f6a09c2d1e4b785 --limit 100

    \b
    Exit codes: 0  the store has the table
                2  wrong arguments, store or model, or onnxruntime is missing
                3  too many volumes give no rows; nothing was published, what was scored is kept
                4  the machine failed even after retries; what was scored is kept
                130  interrupted; what was scored is kept
                143  terminated; what was scored is kept
    """
    from etl.commands.model_tables import check_onnxruntime, derive_shown
    from etl.derive.slice_positions import Scale
    from etl.derive.slice_scorer import ScorerInput, SliceScorer, body_positions
    from etl.store.models import REGRESSOR, model_of_kind, onnx_of
    from etl.store.reader import open_store

    check_onnxruntime()
    opened = open_store(store)
    chosen, config = model_of_kind(opened.objects, opened.version, model, REGRESSOR)
    scorer = SliceScorer(
        onnx_of(opened.objects, chosen, device),
        ScorerInput.from_json(config["input"]),
        Scale.from_json(config["scale"]),
    )
    derivation = body_positions(scorer, chosen["model_id"])
    done = derive_shown(opened, derivation, "etl.derive.slice_scorer", most_rejects, limit)
    coverage = done.version["added_tables"]["body_positions"]["coverage"]
    state = "" if done.is_new else " has them already"
    print_done(
        f"version {done.version['version']} of {store}{state}: positions of {coverage['covered']:,} of "
        f"{coverage['of']:,} volumes by {chosen['model_id']}; {done.computed:,} scored now, "
        f"{done.found:,} by a run before, {len(done.rejects):,} rejected"
    )

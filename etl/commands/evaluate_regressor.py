"""Score a folder of slices with a body-part regressor, and say how well their order is right."""

from __future__ import annotations

import click

from etl.report.console.command import job
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--pixel-mm",
    type=click.FloatRange(0, min_open=True),
    default=0.8,
    show_default=True,
    help="Edge of a pixel; the release's median is 0.82.",
)
@click.option(
    "--window-hu",
    type=float,
    nargs=2,
    default=(-175.0, 275.0),
    show_default=True,
    help="HU of the grey values 0 and 255.",
)
@job("nothing was written")
def main(model: str, folder: str, pixel_mm: float, window_hu: tuple[float, float]) -> None:
    """Print Spearman's correlation and the order accuracy of MODEL on FOLDER, as one line of JSON.

    MODEL is a model's folder in a store, with model.onnx and config.json. FOLDER holds 8-bit slices with
    their true scores in their names, NNN_score_S_NAME.png. Order accuracy is the share of pairs in the right
    order, of those whose scores differ by more than 1. It needs pip install 'deeplesion-store[derive]'.

    \b
      deeplesion evaluate-regressor MODEL_FOLDER scored_slices

    \b
    Exit codes: 0  the measures were printed
                2  no such model, or no slices with scores
    """
    import json

    from etl.derive.scored_folder import evaluate_folder

    click.echo(json.dumps(evaluate_folder(model, folder, pixel_mm, window_hu)))

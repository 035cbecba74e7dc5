"""Write a small synthetic DeepLesion release in the official layout: archives, annotations, and the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from etl.report.console.command import job, print_done
from etl.report.console.words import Command


@click.command(
    cls=Command,
    help=__doc__,
    epilog="Example: deeplesion phantom build/phantom --patients 2 --archives 1",
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--patients",
    default=8,
    show_default=True,
    help="8 patients include every oddity of the release.",
)
@click.option("--archives", default=3, show_default=True, help="Number of zip archives for the slices.")
@click.option("--seed", default=0, show_default=True, help="Seed of noise, bodies and lesion positions.")
@click.option("--extracted", is_flag=True, help="Also write OUT/Images_png/<series>/<slice>.png.")
@click.option(
    "--followups",
    default=0,
    show_default=True,
    help="Image each patient so often again, with lesions that grow or shrink.",
)
@click.option(
    "--looks",
    default=0,
    show_default=True,
    help="Add so many patients whose lesions have types by look or by place.",
)
@click.option(
    "--whole-bodies",
    default=0,
    show_default=True,
    help="Add so many patients, each imaged from the lungs to the hips.",
)
@job("the release is incomplete")
def main(
    out: Path,
    patients: int,
    archives: int,
    seed: int,
    extracted: bool,
    followups: int,
    looks: int,
    whole_bodies: int,
) -> None:
    from etl.core.counted import counted
    from etl.core.urls import parse_folder
    from etl.phantom import is_written, phantom_truth, write_phantom

    chosen: dict[str, Any] = {
        "patients": patients,
        "archives": archives,
        "seed": seed,
        "extracted": extracted,
        "followups": followups,
        "looks": looks,
        "whole_bodies": whole_bodies,
    }
    truth = phantom_truth(**chosen)
    folder = parse_folder(out, "OUT")
    present = is_written(folder, truth)
    write_phantom(folder, **chosen)
    people = truth.patients + truth.looks + truth.whole_bodies
    print_done(
        f"{out}: {counted(people, 'patient')}, {truth.series} series, "
        f"{counted(truth.volumes, 'volume')}, {counted(truth.slices, 'slice')}, "
        f"{counted(len(truth.lesions), 'lesion')}, {counted(truth.archives, 'archive')}"
        + (" (already there, nothing written)" if present else "")
    )

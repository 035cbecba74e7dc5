"""Write a small synthetic DeepLesion release in the official layout: archives, annotations, and the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from etl.core.errors import EtlError
from etl.phantom import is_written, phantom_truth, write_phantom


@click.command(
    help=__doc__,
    epilog="Example: python jobs/make_phantom.py build/phantom --patients 2 --archives 1",
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--patients", default=8, show_default=True, help="How many; 8 hold every oddity of the real release."
)
@click.option("--archives", default=3, show_default=True, help="How many zips the slices are spread over.")
@click.option(
    "--seed", default=0, show_default=True, help="Changes noise, bodies and the lesions' exact places."
)
@click.option("--extracted", is_flag=True, help="Write OUT/Images_png/<series>/<slice>.png too.")
def main(out: Path, patients: int, archives: int, seed: int, extracted: bool) -> None:
    try:
        truth = phantom_truth(patients=patients, archives=archives, seed=seed, extracted=extracted)
        there = is_written(out, truth)
        write_phantom(out, patients=patients, archives=archives, seed=seed, extracted=extracted)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(
        f"{out}: {truth.patients} patients, {truth.series} series, {truth.volumes} volumes, "
        f"{truth.slices} slices, {len(truth.lesions)} lesions, {truth.archives} archives"
        + (" (already there, nothing written)" if there else "")
    )


if __name__ == "__main__":
    main()

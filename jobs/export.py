"""Export a store in a format that other tools read: NIfTI, COCO, CSV, review images, Croissant."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import click

from etl.core.errors import EtlError
from etl.export.export import FORMATS, export
from etl.export.selection import TYPES, Selection
from etl.report.console.progress import LOG_SECONDS
from etl.report.console.texts import bytes_text
from etl.run.logs import start_logging
from etl.store.parquet import SPLITS
from etl.store.reader import open_store

logger = logging.getLogger("export")


@click.command()
@click.argument("store")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), required=True, help="See above.")
@click.option("--version", "number", type=int, metavar="N", help="Of the store.  [default: the current one]")
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.")
@click.option("--type", "types", type=click.Choice(TYPES), multiple=True, help="Of lesion; repeatable.")
@click.option("--patient", "patients", type=int, multiple=True, metavar="N", help="Repeatable.")
@click.option("--series", multiple=True, metavar="PPPPPP_SS_RR", help="Repeatable.")
def main(
    store: str,
    out: Path,
    format_name: str,
    number: int | None,
    splits: tuple[str, ...],
    types: tuple[str, ...],
    patients: tuple[int, ...],
    series: tuple[str, ...],
) -> None:
    """Export one version of STORE (a path or s3://bucket/prefix) into the folder OUT. The store is only read.

    \b
    nifti      volumes as <series>_<first>-<last>.nii.gz, placed as the official converter does it
    coco       key slices as 8-bit PNGs, and COCO detection JSON, one file a split
    csv        DL_info.csv in the release's own 18 columns
    images     key slices with RECIST diameters, boxes and centres drawn in, to look at
    croissant  the tables, and croissant.json that describes them and the whole version

    --split, --type, --patient and --series choose lesions, which must meet all that are given; volumes are
    those that hold such a lesion. Lesions of `train` have no type: they are `unlabelled`. Croissant describes
    the whole version and takes no choice.

    OUT is new or empty, or holds the same export, which is then taken up where it was cut. It tells in
    README.txt what is in it and how to cite it.

    \b
      python jobs/export.py build/store build/nifti --format nifti --split test --type liver
      python jobs/export.py s3://bucket/store build/coco --format coco --version 3

    \b
    Exit codes: 0  exported
                2  wrong arguments, store or folder
                130  interrupted; files that are there are whole, the same command continues
    """
    start_logging()
    selection = Selection(splits, types, patients, series)
    start = last_line = time.monotonic()
    done = size = 0

    def on_file(file_bytes: int, total: int) -> None:
        nonlocal last_line, done, size
        done += 1
        size += file_bytes
        now = time.monotonic()
        if now - last_line >= LOG_SECONDS:
            last_line = now
            left = (now - start) / done * (total - done)
            logger.info("%d/%d files, %s, about %.0f s left", done, total, bytes_text(size), left)

    try:
        result = export(open_store(store, number), out, format_name, selection, on_file)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command continues", err=True)
        sys.exit(130)
    click.echo(
        f"{out}: {result.files:,} files of {result.volumes:,} volumes and {result.lesions:,} lesions; "
        f"{result.reused:,} were there, {bytes_text(result.bytes)} written "
        f"in {time.monotonic() - start:.1f} s"
    )


if __name__ == "__main__":
    main()

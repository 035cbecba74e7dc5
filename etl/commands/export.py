"""Export a store in a format that other tools read: NIfTI, COCO, CSV, review images, Croissant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from etl.export.protocol import FORMATS, SPLITS, TYPES, Pictures, Selection
from etl.report.console.command import job, print_done, version_option
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="See above.")
@version_option
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.")
@click.option("--type", "types", type=click.Choice(TYPES), multiple=True, help="Lesion type; repeatable.")
@click.option("--patient", "patients", type=int, multiple=True, metavar="N", help="Repeatable.")
@click.option("--series", multiple=True, metavar="PPPPPP_SS_RR", help="Repeatable.")
@click.option(
    "--single-class", is_flag=True, help="Give every lesion the class `lesion` instead of its type."
)
@click.option("--hu", is_flag=True, help="coco: 16-bit images of HU + 32768 instead of 8-bit ones.")
@click.option(
    "--neighbours",
    "neighbours_mm",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MM",
    help="coco: images of three channels, the key slice between the planes MM above and below it.",
)
@job("complete files are kept")
def main(
    store: str,
    out: Path,
    format_name: str,
    number: Any,
    splits: tuple[str, ...],
    types: tuple[str, ...],
    patients: tuple[int, ...],
    series: tuple[str, ...],
    single_class: bool,
    hu: bool,
    neighbours_mm: float | None,
) -> None:
    """Export one version of STORE (a path or s3://bucket/prefix) into the folder OUT. The store is only read.

    \b
    nifti      volumes as <series>_<first>-<last>.nii.gz, placed as the official converter places them
    monai      the same, and dataset.json with boxes in RAS mm for MONAI's detection
    nnunet     a raw data set of nnU-Net from masks by others: images, labels, folds by patient
    nndetection  a task of nnDetection: images, labels by instance, and their classes
    coco       key slices as PNGs, and COCO detection JSON, one file per split
    webdataset tar files of crops around lesions with their boxes, one or more per split
    csv        DL_info.csv in the release's own 18 columns
    images     key slices with RECIST diameters, boxes and centres drawn on them
    croissant  the tables, and croissant.json, which describes them and the whole version
    huggingface  the tables, and README.md, a data set card that names them by split

    --split, --type, --patient and --series choose lesions; a lesion must match every option that is given.
    Volumes without a chosen lesion are left out. Lesions of `train` have no type in the release: choose them
    with `--type unlabelled`. A detector by type learns nothing from them: --single-class (coco, monai,
    nndetection, webdataset) makes every lesion one class. Croissant and Hugging Face describe the whole
    version and take none of these options.

    A patient whose lesions are of several splits (the release has none) is wholly in the last of train, val
    and test in every format that keeps splits apart: nothing of test is learned from. csv, croissant and
    huggingface hand on each lesion's own split, and so does lesions.csv.

    OUT must be new or empty, or hold the same export, which is then continued. OUT/README.txt describes the
    files and how to cite the data.

    \b
      deeplesion export build/store build/nifti --format nifti --split test --type liver
      deeplesion export s3://bucket/store build/coco --format coco --single-class --version 3
      deeplesion export build/store build/coco16 --format coco --hu --neighbours 2

    \b
    Exit codes: 0  exported
                2  wrong arguments, store or folder
                130  interrupted; complete files are kept
                143  terminated; complete files are kept
    """
    import time

    from etl.core.counted import bytes_text, counted
    from etl.export.export import export
    from etl.report.console.progress import ExportProgress
    from etl.run.logs import start_logging
    from etl.store.reader import open_store

    console, start = start_logging(), time.monotonic()
    selection = Selection(splits, types, patients, series, single_class, Pictures(hu, neighbours_mm))
    with ExportProgress(console) as progress:
        result = export(open_store(store, number), out, format_name, selection, progress.add)
    print_done(
        f"{out}: {counted(result.files, 'file')} of {counted(result.volumes, 'volume')} and "
        f"{counted(result.lesions, 'lesion')}; "
        f"{result.reused:,} were there, {bytes_text(result.bytes)} written "
        f"in {time.monotonic() - start:.1f} s"
    )

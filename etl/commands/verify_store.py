"""Verify a store: read again everything that a version names, decode every voxel, list every fault."""

from __future__ import annotations

import re
from typing import Any

import click

from etl.core.errors import EXIT_UNEXPECTED
from etl.report.console.command import job, version_option
from etl.report.console.words import Command


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Check that the text is a number of volumes, such as `100`, or a share of them, such as `5%`."""
    if value is None:
        return None
    number = re.fullmatch(r"([0-9]*\.?[0-9]+)%|[0-9]+", value)
    if number and float(number[0].rstrip("%")) > 0 and not (number[1] and float(number[1]) > 100):
        return value
    message = f"{value!r} is neither a number of volumes, such as 200, nor a share, such as 5%"
    raise click.BadParameter(message, context, parameter)


@click.command(cls=Command)
@click.argument("store")
@version_option
@click.option(
    "--sample",
    "part",
    callback=_part,
    metavar="N|P%",
    help="Read only this number or share of volumes.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random choice of --sample.")
@job("not everything was read")
def main(store: str, number: Any, part: str | None, seed: int) -> None:
    """Verify a version of STORE (the `store` of the config that built it). Nothing is written.

    Every table file, receipt and object that the version names is read again and compared with its recorded
    size and SHA-256. Every voxel of every level is decoded and its HU statistics are compared. The metadata
    is checked against OME-Zarr 0.5. Tables, version file and volumes must agree, and every lesion must lie
    inside its volume.

    Volumes are read in parallel on a cluster: the one that dask-submit starts or names, else all cores of
    this machine. All bytes of the store are read; with --sample only a part of the volumes, and the result
    states which share. Tables are always read whole.

    \b
      deeplesion verify build/store
      dask-submit jobs/verify_store.py s3://bucket/store --version 3
      dask-submit jobs/verify_store.py s3://bucket/store --sample 5% --seed 7

    \b
    Exit codes: 0  no fault in what was read
                1  faults, one line each (where: what: found, expected), then what repairs them
                2  no such store or version, a folder of something else, or workers do not see the store
                4  the machine failed even after retries
                130  interrupted
                143  terminated
    """
    import logging
    import time

    from etl.io.opening import open_objects
    from etl.pipeline.preflight import check_seen
    from etl.report.console.progress import VerifyProgress
    from etl.report.console.texts import verification_text
    from etl.report.console.versions import store_failures
    from etl.run.clusters import chosen_cluster, connect
    from etl.run.logs import start_logging
    from etl.store.layout import version_path
    from etl.store.root import refuse_foreign
    from etl.store.version_list import choose_version
    from etl.store.versions import readable
    from etl.verify.verify import Sample, verify

    console, start = start_logging(), time.monotonic()
    objects = open_objects(store)
    with readable(objects):
        refuse_foreign(objects)
    chosen = choose_version(objects, number)
    title = f"version {chosen} of {objects.root}"
    logging.getLogger("verify_store").info("verifying %s", title)
    sample = None
    if part is not None:
        value = float(part.rstrip("%"))
        sample = Sample(value / 100, None, seed) if part.endswith("%") else Sample(None, int(value), seed)
    with (
        connect(chosen_cluster("local"), module="etl.verify.verify") as executor,
        VerifyProgress(console) as progress,
        store_failures(objects),
    ):
        check_seen(executor.everywhere, objects, version_path(chosen))
        result = verify(objects, chosen, progress.add, executor.run, sample)
    click.echo(verification_text(title, result, time.monotonic() - start))
    raise SystemExit(EXIT_UNEXPECTED if result.problems else 0)

"""Verify a store: read again what a version names, decode every voxel, list all that is wrong."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TYPE_CHECKING

import click

from etl.core.errors import EXIT_UNEXPECTED, EtlError
from etl.io.objects import Objects, open_objects
from etl.report.console.texts import verification_text
from etl.run.logs import start_logging
from etl.store.layout import version_path
from etl.store.versions import choose_version

if TYPE_CHECKING:
    from rich.console import Console

    from etl.verify.verify import Verification

logger = logging.getLogger("verify_store")


def _part(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """`100` volumes, or `5%` of them."""
    if value is None:
        return None
    number = re.fullmatch(r"([0-9]*\.?[0-9]+)%|[0-9]+", value)
    if number is None or not float(value.rstrip("%")) > 0 or (number[1] and float(number[1]) > 100):
        message = f"{value!r} is neither a number of volumes, such as 200, nor a share, such as 5%"
        raise click.BadParameter(message, ctx, param)
    return value


@click.command()
@click.argument("store")
@click.option(
    "--version", "number", type=int, metavar="N", help="Verify this version.  [default: the current one]"
)
@click.option(
    "--sample",
    "part",
    callback=_part,
    metavar="N|P%",
    help="Read this many volumes only, or this share of them.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones --sample chooses.")
def main(store: str, number: int | None, part: str | None, seed: int) -> None:
    """Verify a version of STORE (the `store` of the config that built it). Nothing is written.

    Every table file, receipt and object that the version names is read again and compared with its size and
    SHA-256; every voxel of every level is decoded and its HU statistics compared; metadata is checked as
    OME-Zarr 0.5; tables, version file and volumes must agree, and every lesion lie inside its volume.

    Volumes are read in parallel on the cluster: the one that dask-submit starts or names, or all cores of
    this machine. Reading takes as long as the store's bytes take; --sample reads a part of the volumes, and
    says which share. Tables are read whole in any case. A version that is still being built is not touched.

    \b
      python jobs/verify_store.py build/store
      dask-submit jobs/verify_store.py s3://bucket/store --version 3
      dask-submit jobs/verify_store.py s3://bucket/store --sample 5% --seed 7

    \b
    Exit codes: 0  all right, as far as was read
                1  something is wrong: one line each (where: what: found, expected), then what repairs it
                2  there is no store, or no such version, or the workers don't see it
                4  the machine failed after retries
                130  interrupted
    """
    console = start_logging()
    start = time.monotonic()
    try:
        objects = open_objects(store)
        chosen = choose_version(objects, number)
        logger.info("verifying version %d of %s", chosen, objects.root)
        result = _verified(objects, chosen, part, seed, console)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("stopped before everything was read", err=True)
        sys.exit(130)
    click.echo(verification_text(f"version {chosen} of {objects.root}", result, time.monotonic() - start))
    sys.exit(EXIT_UNEXPECTED if result.problems else 0)


def _verified(objects: Objects, chosen: int, part: str | None, seed: int, console: Console) -> Verification:
    # Loaded here: wrong arguments are told at once, and workers, which load this script, need none of it.
    from etl.pipeline.preflight import check_seen
    from etl.report.console.verify_progress import VerifyProgress
    from etl.run.clusters import chosen_cluster, connect
    from etl.verify.verify import Sample, verify

    sample = None
    if part is not None:
        is_share = part.endswith("%")
        share = float(part.rstrip("%")) / 100 if is_share else None
        sample = Sample(share, None if is_share else int(part), seed)
    with connect(chosen_cluster("local")) as executor, VerifyProgress(console) as progress:
        check_seen(executor.everywhere, objects, version_path(chosen))
        return verify(objects, chosen, progress.add, executor.run, sample)


if __name__ == "__main__":
    main()

"""Verify a store: read again everything that a version names, decode every voxel, list all that is wrong."""

from __future__ import annotations

import logging
import sys
import time

import click

from etl.errors import EXIT_UNEXPECTED, EtlError
from etl.report.text import bytes_text
from etl.run.progress import LOG_SECONDS, start_logging
from etl.store.objects import open_objects
from etl.store.verify import choose_version, verify
from etl.store.verify_volume import VolumeCheck

logger = logging.getLogger("verify_store")


@click.command()
@click.argument("store")
@click.option(
    "--version", "number", type=int, metavar="N", help="Verify this version.  [default: the current one]"
)
def main(store: str, number: int | None) -> None:
    """Verify a version of STORE (the `store` of the config that built it). Nothing is written.

    Every table file, receipt and object that the version names is read again and compared with its size and
    SHA-256; every voxel of every level is decoded and its HU statistics compared; metadata is checked as
    OME-Zarr 0.5; tables, version file and volumes must agree, and every lesion lie inside its volume.
    Reading takes as long as the store's bytes take; a version that is still being built is not touched.

    \b
      python jobs/verify_store.py build/store
      python jobs/verify_store.py build/store --version 3

    \b
    Exit codes: 0  all right
                1  something is wrong: one line each (where: what: found, expected), then what repairs it
                2  there is no store, or no such version
                130  interrupted
    """
    start_logging()
    start = last_line = time.monotonic()
    volumes = size = 0

    def on_volume(check: VolumeCheck, total: int) -> None:
        nonlocal last_line, volumes, size
        volumes += 1
        size += check.bytes
        for problem in check.problems:
            logger.warning("%s", problem)
        now = time.monotonic()
        if now - last_line >= LOG_SECONDS:
            last_line = now
            rate = bytes_text(size / (now - start))
            left = (now - start) / volumes * (total - volumes)
            logger.info(
                "%d/%d volumes, %s, %s/s, about %.0f s left", volumes, total, bytes_text(size), rate, left
            )

    try:
        objects = open_objects(store)
        chosen = choose_version(objects, number)
        logger.info("verifying version %d of %s", chosen, objects.root)
        result = verify(objects, chosen, on_volume)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("stopped before everything was read", err=True)
        sys.exit(130)

    seconds = time.monotonic() - start
    read = (
        f"{result.volumes:,} volumes, {result.objects:,} objects, {bytes_text(result.bytes)}, {seconds:.1f} s"
    )
    if not result.problems:
        click.echo(f"all right: version {chosen} of {store} ({read})")
        return
    click.echo(f"{len(result.problems):,} wrong in version {chosen} of {store} ({read}):")
    for problem in result.problems:
        click.echo(f"  {problem}")
    click.echo("what to do, then verify again:")
    for repair in dict.fromkeys(problem.repair for problem in result.problems):
        click.echo(f"  - {repair.value}")
    sys.exit(EXIT_UNEXPECTED)


if __name__ == "__main__":
    main()

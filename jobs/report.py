"""Write the report of a store's version: a page with its counts, distributions, checks and key slices."""

from __future__ import annotations

import logging
import sys
import time

import click

from etl.core.errors import EtlError
from etl.report.console.texts import bytes_text
from etl.report.report import SAMPLE, write_report
from etl.run.logs import start_logging
from etl.store.reader import open_store
from etl.store.versions import readable

logger = logging.getLogger("report")


def _share(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """`all`, or a share of 1."""
    try:
        share = 1.0 if value == "all" else float(value)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise click.BadParameter(
            f"{value!r} is neither `all` nor a number above 0 and up to 1", context, parameter
        )
    return share


@click.command()
@click.argument("store")
@click.option("--version", "number", type=int, metavar="N", help="Of the store.  [default: the current one]")
@click.option(
    "--sample",
    "share",
    default=str(SAMPLE),
    show_default=True,
    metavar="SHARE|all",
    callback=_share,
    help="Of the lesions that the map of the body shows, 1,000 at least.",
)
def main(store: str, number: int | None, share: float) -> None:
    """Write reports/<version>/index.html into STORE (a path or s3://bucket/prefix), over one that is there.

    One page that needs no network: what the version is and whether it is complete, the release's own
    pictures, checks with their worst rows, a gallery of key slices, and the throughput of its run. The
    numbers behind every picture lie beside it as CSV. `jobs/build_store.py` does the same after a build.

    \b
      python jobs/report.py build/store
      python jobs/report.py s3://bucket/store --version 3 --sample all

    \b
    Exit codes: 0  written
                2  wrong arguments, no store or no such version, or it can't be read or written
                130  interrupted
    """
    start_logging()
    start = time.monotonic()
    try:
        opened = open_store(store, number)
        with readable(opened.objects):
            name, size = write_report(opened, share)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command writes it anew", err=True)
        sys.exit(130)
    click.echo(f"{opened.objects.root}/{name}: {bytes_text(size)} in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()

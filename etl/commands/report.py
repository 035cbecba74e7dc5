"""Write the report of a store's version: a page with its counts, distributions, checks and key slices."""

from __future__ import annotations

from typing import Any

import click

from etl.report.console.command import job, print_done, version_option
from etl.report.console.words import Command


def _share(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """Return the share that the text names: 1 for `all`, else a number above 0 and up to 1."""
    try:
        share = 1.0 if value == "all" else float(value)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise click.BadParameter(
            f"{value!r} is neither `all` nor a number above 0 and up to 1", context, parameter
        )
    return share


@click.command(cls=Command)
@click.argument("store")
@version_option
@click.option(
    "--sample",
    "share",
    default="0.15",
    show_default=True,
    metavar="SHARE|all",
    callback=_share,
    help="Share of the lesions that the body map shows; at least 1,000 lesions are shown.",
)
@job("files of the report that were written stay")
def main(store: str, number: Any, share: float) -> None:
    """Write reports/<version>/index.html into STORE (a path or s3://bucket/prefix), replacing an older one.

    The report is one page that works offline. It states what the version holds and what it lacks, shows the
    distributions that the release's authors published, lists the worst rows of each check, shows key slices
    and the throughput of the run. The numbers behind every chart are CSV files in the same folder. A build
    writes the same report at its end.

    \b
      deeplesion report build/store
      deeplesion report s3://bucket/store --version 3 --sample all

    \b
    Exit codes: 0  written
                2  wrong arguments, no such store or version, or it can't be read or written
                130  interrupted
                143  terminated
    """
    import time

    from etl.core.counted import bytes_text
    from etl.report.report import write_report
    from etl.run.logs import start_logging
    from etl.store.reader import open_store

    start_logging()
    start = time.monotonic()
    opened = open_store(store, number)
    name, size = write_report(opened, share)
    print_done(f"{opened.objects.root}/{name}: {bytes_text(size)} in {time.monotonic() - start:.1f} s")

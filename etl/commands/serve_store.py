"""Serve a store on this machine: its objects by byte range, and a page to look at volumes and lesions."""

from __future__ import annotations

from typing import Any

import click

from etl.report.console.command import job, version_option
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("store")
@version_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port on the loopback interface; 0 chooses a free one.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin read the store, such as https://vizarr.example.org; repeatable.",
)
@job("the server has ended")
def main(store: str, number: Any, port: int, origins: tuple[str, ...]) -> None:
    """Serve STORE (a path or s3:// URL) at http://127.0.0.1:PORT/ until Ctrl-C. Nothing is written.

    The page lists the volumes and lesions of one version and shows their voxels, read by byte range from the
    store's OME-Zarr. It draws with niivue, which a wheel brings and `make viewer` installs with npm. Only
    this machine can connect. To connect from another, forward the port: ssh -L 8000:127.0.0.1:8000 HOST.

    \b
      deeplesion serve build/store
      deeplesion serve s3://bucket/deeplesion --version 3 --port 9000
      deeplesion serve build/store --allow-origin https://hms-dbmi.github.io

    \b
    Exit codes: 0  stopped by Ctrl-C
                2  no such store or version, or the port is in use
                143  terminated
    """
    from etl.report.serving import missing_viewer, serve
    from etl.run.logs import start_logging
    from etl.run.signals import Terminated
    from etl.store.reader import open_store

    start_logging()
    opened = open_store(store, number)
    if remedy := missing_viewer():
        click.echo(remedy, err=True)

    def ready(address: str) -> None:
        click.echo(f"serving {store} at {address} (Ctrl-C stops)")

    try:
        serve(opened, port, ready, origins)
    except Terminated:
        raise
    except KeyboardInterrupt:
        click.echo("stopped", err=True)

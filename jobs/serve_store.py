"""Serve a store on this machine: its objects by range, and a page to look at volumes and lesions."""

from __future__ import annotations

import sys

import click

from etl.core.errors import EtlError
from etl.report.serving import has_viewer, serve
from etl.store.reader import open_store


@click.command()
@click.argument("store")
@click.option(
    "--version", "number", type=int, metavar="N", help="List this version.  [default: the current one]"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="On the loopback interface; 0 for some free one.",
)
def main(store: str, number: int | None, port: int) -> None:
    """Serve STORE (a path or s3:// URL) at http://127.0.0.1:PORT/ until Ctrl-C. Nothing is written.

    The page there lists the volumes and lesions of one version and shows their voxels, read from the store's
    OME-Zarr by range. It draws with niivue, which `make viewer` installs with npm. Only this machine can
    connect; from elsewhere, forward the port: ssh -L 8000:127.0.0.1:8000 HOST.

    \b
      python jobs/serve_store.py build/store
      python jobs/serve_store.py s3://bucket/deeplesion --version 3 --port 9000

    \b
    Exit codes: 0  stopped by Ctrl-C
                2  there is no store, no such version, or the port is taken
    """
    try:
        opened = open_store(store, number)
        if not has_viewer():
            click.echo("niivue is not installed, so the page can't draw: make viewer", err=True)
        serve(opened, port, lambda address: click.echo(f"serving {store} at {address} (Ctrl-C stops)"))
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"error: port {port} can't be used: {error}; remedy: --port with another, or 0", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


if __name__ == "__main__":
    main()

"""Add annotations of DeepLesion by others to a store, or check how they join."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from etl.core.errors import EtlError
from etl.run.logs import start_logging


@click.command()
@click.argument("store")
@click.argument("config", type=click.Path())
@click.option(
    "--check", is_flag=True, help="Join without a store and print each source's counts; STORE is DL_info.csv."
)
def main(store: str, config: str, check: bool) -> None:
    """Join the annotations that CONFIG names under `source.more` to the release's rows.

    With --check the first argument is DL_info.csv instead of STORE: the release's own, or a part of it in its
    order, as one split. The entries of each source are printed as JSON, and those joined, unmatched and
    rejected, by reason: entries = joined + unmatched + rejects.

    \b
      python jobs/add_annotations.py --check DL_info.csv conf/annotations.yaml

    \b
    Exit codes: 0  every source was joined
                2  wrong config or arguments, a file can't be used, or a source that names rows was refused
                   because the CSV is in another order
                130  interrupted
    """
    start_logging()
    try:
        if not check:
            raise click.UsageError("give --check")
        report = _check(store, config)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was written", err=True)
        sys.exit(130)
    click.echo(json.dumps(report, indent=2))
    refused = [source["refused"] for source in report["sources"].values() if "refused" in source]
    for problem in refused:
        click.echo(f"error: {problem}", err=True)
    if refused:
        sys.exit(2)


def _check(release: str, config: str) -> dict[str, Any]:
    """Return the counts of each source."""
    from etl.annotations.containers import read_bytes
    from etl.annotations.sources import given_rows, join_source
    from etl.core.config import MoreAnnotations
    from etl.core.config_file import read_mapping, validated
    from etl.core.urls import blob_name
    from etl.release.annotations import parse_annotations

    more = validated(MoreAnnotations, read_mapping(config), config).source.more
    given = given_rows(parse_annotations(read_bytes(release), blob_name(release)))
    joined = {name: join_source(name, source, given) for name, source in more.items()}
    return {"csv": given.summary(), "sources": {name: found.summary() for name, found in joined.items()}}


if __name__ == "__main__":
    main()

"""Versions of a store: list them, look into one, compare two, go back to one, remove old ones."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from etl.core.errors import EtlError, RunError, StoreError
from etl.io.objects import Objects, open_objects
from etl.report.console.versions import (
    open_console,
    pruning_text,
    show_difference,
    show_version,
    to_text,
    version_summary,
    versions_table,
)
from etl.run.logs import start_logging
from etl.store.history import difference, rollback
from etl.store.prune import prune
from etl.store.running import running
from etl.store.versions import Version, choose_version, new_run_id, read_version, readable, version_numbers

DAY_S = 86400.0
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")


@click.group(context_settings={"max_content_width": 100})
@click.argument("store")
@click.pass_context
def main(context: click.Context, store: str) -> None:
    """Look at and look after the versions of STORE: a path or s3://bucket/prefix.

    A store is a row of published versions. Each names its tables and volumes and never changes; the highest
    number is current, and readers may pin any other. Versions share the volumes that they have in common.

    \b
      python jobs/store_versions.py build/store list
      python jobs/store_versions.py build/store show 3
      python jobs/store_versions.py build/store diff 2 3
      python jobs/store_versions.py build/store rollback 2
      python jobs/store_versions.py build/store prune --keep 3 --dry-run

    \b
    Exit codes: 0  done
                2  wrong arguments, no store, no such version, or one that can't be read
                3  refused: something is missing, or something else is at work on the store; nothing was done
                4  the machine failed; what was done is said
                130  interrupted
    """
    start_logging()
    with _exit_codes():
        context.obj = open_objects(store)


@main.command("list")
@as_json
@click.pass_obj
def list_versions(objects: Objects, as_json: bool) -> None:
    """List all versions: when, by which run, on which parent, how much they hold."""
    with _exit_codes(), readable(objects):
        choose_version(objects)
        summaries = []
        for number in version_numbers(objects):
            try:
                summaries.append(version_summary(_read(objects, number)))
            except StoreError as error:
                summaries.append({"version": number, "error": error.what})
        if as_json:
            click.echo(to_text(summaries))
            return
        console = open_console()
        console.print(versions_table(console, summaries))


@main.command()
@click.argument("number", type=int)
@as_json
@click.pass_obj
def show(objects: Objects, number: int, as_json: bool) -> None:
    """Show version NUMBER: its counts, config, archives and rejects by reason.

    With --json it is the version file itself, less its list of volumes.
    """
    with _exit_codes(), readable(objects):
        version = _read(objects, choose_version(objects, number))
        if as_json:
            click.echo(to_text({key: value for key, value in version.items() if key != "volumes"}))
            return
        console = open_console()
        for part in show_version(console, version):
            console.print(part)


@main.command()
@click.argument("before", type=int)
@click.argument("after", type=int)
@as_json
@click.pass_obj
def diff(objects: Objects, before: int, after: int, as_json: bool) -> None:
    """Say what changed from version BEFORE to version AFTER.

    Config keys, code versions, archives, counts and rows of tables; which volumes were added, removed, or
    have other content. Of long lists the first names are printed, all of them with --json.
    """
    with _exit_codes(), readable(objects):
        versions = [_read(objects, choose_version(objects, number)) for number in (before, after)]
        found = difference(*versions)
        if as_json:
            click.echo(to_text(asdict(found)))
            return
        console = open_console()
        for part in show_difference(console, before, after, found):
            console.print(part)


@main.command("rollback")
@click.argument("number", type=int)
@click.pass_obj
def roll_back(objects: Objects, number: int) -> None:
    """Publish a new version that is equal to version NUMBER, on top of the current one.

    Nothing is deleted or copied: the new version names the tables and volumes of the old one, and says that
    it is a rollback. It may have fewer volumes and lesions than the current one, which a build refuses. It
    is refused where anything that the old version names is missing.
    """
    with _exit_codes():
        choose_version(objects, number)
        run_id = new_run_id()
        objects.check_writable()
        with _machine_errors(objects), running(objects, run_id, "rollback") as own:
            own.wait_for("prune")
            version, is_new = rollback(objects, number, run_id)
    if is_new:
        click.echo(f"version {version['version']} is published: equal to version {number}")
    else:
        click.echo(
            f"version {version['version']} is current and holds the same as {number}; nothing was done"
        )


@main.command("prune")
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="How many of the newest versions stay."
)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="Remove only what is older, by the store's clock: a run that was cut may continue with the rest.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed and remove nothing.")
@click.pass_obj
def remove_old(objects: Objects, keep: int, days: float, dry_run: bool) -> None:
    """Remove old versions, and volumes and tables that no version which stays names.

    Versions younger than --older-than stay whatever --keep says. Readers who have pinned a version that goes
    can't read it any more. While a build is at work on the store nothing is removed (exit code 3); a build
    that starts meanwhile waits. A prune that is cut leaves a whole store, and the next one finishes.
    """
    with _exit_codes(), _machine_errors(objects):
        found = prune(objects, keep, days * DAY_S, dry_run=dry_run)
    click.echo(pruning_text(found, days, dry_run=dry_run))


def _read(objects: Objects, number: int) -> Version:
    version = read_version(objects, number)
    assert version is not None  # a given number raises where there is none
    return version


@contextlib.contextmanager
def _machine_errors(objects: Objects) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            "the store failed",
            where=objects.root,
            value=f"{type(error).__name__}: {error}",
            remedy="mend the cause (permissions, network, credentials) and run the same again",
        ) from error


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted; run the same again to finish", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()

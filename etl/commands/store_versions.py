"""Versions of a store: list them, look into one, compare two, roll back to one, remove old ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from etl.report.console.command import job, print_done
from etl.report.console.words import Group

if TYPE_CHECKING:
    from etl.io.places import Objects

SECONDS_PER_DAY = 86400.0
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
stoppable = job("the same command finishes what was begun")


def _number_or_tag(context: click.Context, parameter: click.Parameter, value: str) -> int | str:
    return int(value) if value.isdecimal() else value


def version_argument(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator for an argument that is a version: its number, or a tag."""
    return click.argument(name, callback=_number_or_tag)


@click.group(cls=Group, invoke_without_command=True, context_settings={"max_content_width": 100})
@click.argument("store")
@click.pass_context
@stoppable
def main(context: click.Context, store: str) -> None:
    """Inspect and maintain the versions of STORE: a path or s3://bucket/prefix.

    A store is a sequence of published versions. Each names its tables and volumes and never changes. The
    highest number is current; readers may pin any other. Versions share the volumes that they have in common.
    NUMBER, BEFORE and AFTER are a number or a tag. Without a command the versions are listed.

    \b
      deeplesion versions build/store list
      deeplesion versions build/store show 3
      deeplesion versions build/store diff 2 3
      deeplesion versions build/store rollback 2
      deeplesion versions build/store tag paper-2026 2
      deeplesion versions build/store prune --keep 3 --dry-run

    \b
    Exit codes: 0  done
                2  wrong arguments, no such store or version, or a version that can't be read or, before a
                   prune, is not whole
                3  refused: an object to roll back to is missing, another job is running on the store, or
                   another version has the tag; nothing was done
                4  the machine failed; the message states what was done
                130  interrupted
                143  terminated
    """
    from etl.io.opening import open_objects
    from etl.run.logs import start_logging

    start_logging()
    context.obj = open_objects(store)
    if context.invoked_subcommand is None:
        context.invoke(list_versions, as_json=False)


@main.command("list")
@as_json
@click.pass_obj
@stoppable
def list_versions(objects: Objects, as_json: bool) -> None:
    """List all versions: time, run, parent, number of volumes and lesions, size, tags."""
    from etl.report.console.versions import open_console, summarise_all, to_text, versions_table
    from etl.store.versions import readable

    with readable(objects):
        summaries = summarise_all(objects)
    if as_json:
        click.echo(to_text(summaries))
        return
    console = open_console()
    console.print(versions_table(console, summaries))


@main.command()
@version_argument("number")
@as_json
@click.pass_obj
@stoppable
def show(objects: Objects, number: int | str, as_json: bool) -> None:
    """Show version NUMBER: its counts, config, archives and rejects by reason.

    With --json this is the version file itself, without its list of volumes.
    """
    from etl.report.console.versions import open_console, read_chosen, show_version, to_text
    from etl.store.versions import readable

    with readable(objects):
        version = read_chosen(objects, number)
    if as_json:
        click.echo(to_text({key: value for key, value in version.items() if key != "volumes"}))
        return
    console = open_console()
    for part in show_version(console, version):
        console.print(part)


@main.command()
@version_argument("before")
@version_argument("after")
@as_json
@click.pass_obj
@stoppable
def diff(objects: Objects, before: int | str, after: int | str, as_json: bool) -> None:
    """Show what changed from version BEFORE to version AFTER.

    Compared are config keys, code versions, archives, counts, tables, labels and models, and which volumes
    were added, removed or changed. Long lists are cut; --json prints them whole.
    """
    from dataclasses import asdict

    from etl.report.console.versions import open_console, read_chosen, show_difference, to_text
    from etl.store.history import difference
    from etl.store.versions import readable

    with readable(objects):
        found = difference(read_chosen(objects, before), read_chosen(objects, after))
    if as_json:
        click.echo(to_text(asdict(found)))
        return
    console = open_console()
    for part in show_difference(console, before, after, found):
        console.print(part)


@main.command("rollback")
@version_argument("number")
@click.pass_obj
@stoppable
def roll_back(objects: Objects, number: int | str) -> None:
    """Publish a new version that is equal to version NUMBER, on top of the current one.

    Nothing is deleted or copied: the new version names the tables and volumes of the old one and records
    that it is a rollback. It may have fewer volumes and lesions than the current one, which a build refuses.
    The rollback is refused if anything that the old version names is missing.
    """
    from etl.report.console.versions import store_failures
    from etl.store.history import rollback
    from etl.store.running import running
    from etl.store.version_list import choose_version
    from etl.store.versions import new_run_id

    number = choose_version(objects, number)
    run_id = new_run_id()
    objects.check_writable()
    with store_failures(objects), running(objects, run_id, "rollback") as own:
        own.wait_for("prune")
        version, is_new = rollback(objects, number, run_id, own)
    if is_new:
        print_done(f"version {version['version']} is published: equal to version {number}")
    else:
        print_done(f"version {version['version']} is current and equal to version {number}; nothing was done")


@main.command("tag")
@click.argument("name")
@version_argument("number")
@click.pass_obj
@stoppable
def give_tag(objects: Objects, name: str, number: int | str) -> None:
    """Give version NUMBER the name NAME, such as paper-2026.

    A prune keeps every version that has a tag, with all that it names. Readers open it by the name:
    open_store(STORE, version="paper-2026"), --version paper-2026. A tag records the SHA-256 of the version's
    file and is never moved; remove it with `untag` to give the name to another version.
    """
    from etl.report.console.versions import store_failures
    from etl.store.running import running
    from etl.store.tags import check_name, write_tag
    from etl.store.version_list import choose_version
    from etl.store.versions import new_run_id

    check_name(name)
    chosen = choose_version(objects, number)
    with store_failures(objects), running(objects, new_run_id(), "tag") as own:
        own.wait_for("prune")
        is_new = write_tag(objects, name, chosen)
    print_done(f"version {chosen} {'has the tag' if is_new else 'had already the tag'} {name}")


@main.command("untag")
@click.argument("name")
@click.pass_obj
@stoppable
def remove_tag(objects: Objects, name: str) -> None:
    """Remove the tag NAME. The version stays until a prune removes it."""
    from etl.report.console.versions import store_failures
    from etl.store.tags import remove_tag

    with store_failures(objects):
        remove_tag(objects, name)
    print_done(f"the tag {name} is removed")


@main.command("prune")
@click.option("--keep", type=click.IntRange(min=1), required=True, help="Number of newest versions to keep.")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="Remove only what is older, by the store's clock: a stopped run may still continue with the rest.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.pass_obj
@stoppable
def remove_old(objects: Objects, keep: int, days: float, dry_run: bool) -> None:
    """Remove old versions, and the volumes and tables that no remaining version names.

    Versions younger than --older-than, and those that have a tag, stay whatever --keep says. Readers who
    have pinned a removed version can't read it any more. While a build is running on the store, nothing is
    removed (exit code 3); a build that starts during a prune waits. A prune that was stopped leaves a
    complete store; the next one finishes.
    """
    from etl.report.console.versions import pruning_text, store_failures
    from etl.store.prune import prune

    with store_failures(objects):
        found = prune(objects, keep, days * SECONDS_PER_DAY, dry_run=dry_run)
    print_done(pruning_text(found, days, dry_run=dry_run))

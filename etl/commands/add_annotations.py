"""Add annotations of DeepLesion by others to a store, or check how they join."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from etl.core.errors import ConfigError
from etl.report.console.command import job, print_done
from etl.report.console.words import Command
from etl.run.logs import start_logging

if TYPE_CHECKING:
    from etl.annotations.joined import SourceJoin
    from etl.annotations.mask_sources import MaskStore
    from etl.annotations.sources import GivenRows
    from etl.core.config import File
    from etl.core.more_annotations import MoreAnnotations
    from etl.run.protocol import Executor
    from etl.store.reader import Store
    from etl.store.running import Running


@click.command(cls=Command)
@click.argument("store")
@click.argument("config", type=click.Path())
@click.option(
    "--check", is_flag=True, help="Join without a store and only print the counts; STORE is DL_info.csv."
)
@job("nothing was published")
def main(store: str, config: str, check: bool) -> None:
    """Join the annotations that CONFIG names under `source.more`; publish them as tables of STORE.

    The new version has its parent's volumes and tables, and tags, pairs, boxes, masks and other_splits;
    annotation_sources counts what became of each source's entries, and annotation_rejects says why some were
    left out. CONFIG is the build's own; its `source.annotations` has to be the CSV that STORE was built from.
    Sources replace those of earlier versions. Nothing is published where nothing changed.

    Masks are read on the cluster of the config and written as labels of their volumes. What a run that was
    stopped has written is kept, and the next one goes on from there.

    With --check the first argument is DL_info.csv: the release's own, or a part of it in its order, as one
    split. The entries of each source are printed as JSON, and those joined, unmatched and rejected, by
    reason: entries = joined + unmatched + rejects.

    \b
      deeplesion add build/store mine.yaml
      deeplesion add --check DL_info.csv mine.yaml

    \b
    Exit codes: 0  every source was joined; published, or the current version holds the same already
                2  wrong config or arguments, a file or the store can't be used, or a source that names rows
                   was refused because the CSV is in another order; nothing was published
                4  the machine failed even after retries; labels that were written are kept
                130  interrupted; nothing was published
                143  terminated; the same
    """
    from etl.core.config import File
    from etl.core.config_file import read_mapping, validated
    from etl.core.more_annotations import MoreAnnotations

    start_logging()
    remedy = "name the annotations under `source.more`, see docs/annotations.md; nothing was done"
    settings = validated(MoreAnnotations, read_mapping(config), config, remedy)
    if check:
        given = _read_csv(File.model_validate(store))
        joins = _join(settings, given, None)
        click.echo(json.dumps(_report(given, joins), indent=2))
        _stop_if_refused(joins)
    else:
        _publish(store, settings, config)


def _read_csv(file: File) -> GivenRows:
    from etl.annotations.sources import given_rows, read_checked
    from etl.core.urls import blob_name
    from etl.release.annotations import parse_annotations

    return given_rows(parse_annotations(read_checked(file), blob_name(file.url)))


def _join(settings: MoreAnnotations, given: GivenRows, store: MaskStore | None) -> dict[str, SourceJoin]:
    """Join every source; masks in tasks of the config's cluster, which is started only for them."""
    from etl.annotations.sources import MASKS, join_source
    from etl.run.clusters import chosen_cluster, connect
    from etl.run.serial import SerialExecutor

    sources = settings.source.more
    with contextlib.ExitStack() as stack:
        executor: Executor = SerialExecutor()
        if any(more.kind == MASKS for more in sources.values()):
            cluster = chosen_cluster(settings.cluster)
            executor = stack.enter_context(connect(cluster, settings.limits, "etl.annotations.mask_tasks"))
        return {name: join_source(name, more, given, executor, store) for name, more in sources.items()}


def _report(given: GivenRows, joins: Mapping[str, SourceJoin]) -> dict[str, Any]:
    return {"csv": given.summary(), "sources": {name: join.summary() for name, join in joins.items()}}


def _stop_if_refused(joins: Mapping[str, SourceJoin]) -> None:
    problems = [join.problem for join in joins.values() if join.problem]
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        sys.exit(2)


def _publish(url: str, settings: MoreAnnotations, config: str) -> None:
    from etl.store.reader import open_store
    from etl.store.running import running
    from etl.store.versions import new_run_id

    if settings.source.annotations is None:
        raise ConfigError(
            "`source.annotations` is required to add annotations to a store",
            where=config,
            allowed="the DL_info.csv that the store was built from: path or URL, or {url, sha256}",
            remedy="give the config of the build, with `source.more` added",
        )
    store = open_store(url)
    store.objects.check_writable()
    # No version names the labels until all are written: a prune must not run meanwhile.
    with running(store.objects, new_run_id(), "tables") as own:
        own.wait_for("prune")
        _add(store, settings, settings.source.annotations, own)


def _add(store: Store, settings: MoreAnnotations, annotations: File, own: Running) -> None:
    from etl.annotations.grids import Grids
    from etl.annotations.mask_sources import MaskStore
    from etl.annotations.sources import stored_rows
    from etl.annotations.table_rows import annotation_tables
    from etl.publish.add_tables import NewTable, add_tables
    from etl.report.console.versions import store_failures

    given = stored_rows(_read_csv(annotations), store.lesions())
    volumes = store.volumes()
    grids = Grids(volumes, store.version["config"]["volume"]["pyramid_levels"])
    joins = _join(settings, given, MaskStore(store.objects.root, grids))
    _stop_if_refused(joins)
    covered = {
        None: (),
        "volume": set(volumes["volume_id"].tolist()),
        "lesion": {row.lesion_id for row in given.rows.rows},
    }
    tables = annotation_tables(list(joins.values()), grids, given)
    new = [NewTable(table, rows, covered[table.unit]) for table, rows in tables]
    labels = [entry for join in joins.values() for entry in join.labels]
    with store_failures(store.objects):
        version, is_new = add_tables(store.objects, store.version, new, own, labels)
    print_done(json.dumps(_report(given, joins), indent=2))
    rows = ", ".join(f"{table.name} {found.num_rows}" for table, found in tables)
    state = "published" if is_new else "holds the same already"
    click.echo(f"version {version['version']} {state}: {rows}", err=True)

"""Build the DeepLesion store: convert what the config selects and publish one new version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etl.report.console.command import job, print_done, set_option
from etl.report.console.words import Command

if TYPE_CHECKING:
    from rich.console import Console

    from etl.core.config import Config


config_argument = click.argument("config", type=click.Path())


@click.command(cls=Command)
@config_argument
@set_option
@click.option("--plan", "plan_only", is_flag=True, help="Print what a build would do, and write nothing.")
@click.option("--show-config", is_flag=True, help="Print the whole config as resolved, and do nothing else.")
@job("finished volumes are kept")
def main(config: str, overrides: tuple[str, ...], plan_only: bool, show_config: bool) -> None:
    """Build a store from a DeepLesion release as described by CONFIG.

    CONFIG is a YAML file, or the name of a config that comes with the package (deeplesion config lists them).

    Volumes that the store already holds complete are reused, so a build that was stopped continues where it
    stopped. Readers see the new version only when it is complete.

    \b
      deeplesion build conf/demo.yaml
      deeplesion build conf/demo.yaml --plan
      deeplesion build conf/demo.yaml --set store=build/small --set select.limit=10
      dask-submit --cluster slurm jobs/build_store.py conf/nih.yaml

    Environment variables also override the file: DEEPLESION__VOLUME__SPACING_MM=0.8. If both are given,
    --set wins.

    \b
    Exit codes: 0  published, or the current version already holds the same
                2  wrong config, unusable release or unusable store; nothing was done
                3  a guard refused (see `limits` in the config): before any work, also with --plan, or when
                   everything was built
                4  the machine failed even after retries; finished volumes are kept
                5  another build is running on this store and `overlap` is `leave`; nothing was done
                130  interrupted (Ctrl-C); finished volumes are kept
                143  terminated (SIGTERM), within a batch system's grace period; finished volumes are kept
                129  the terminal was closed (SIGHUP); finished volumes are kept
    """
    from etl.core.config_file import as_yaml

    settings = _load(config, overrides)
    if show_config:
        click.echo(as_yaml(settings.resolved()))
        return
    console = _start(config, settings)
    if plan_only:
        _plan(settings)
    else:
        _build(settings, console)


@click.command(cls=Command)
@config_argument
@set_option
@job("nothing was done")
def plan(config: str, overrides: tuple[str, ...]) -> None:
    """Print what a build of CONFIG would do, and write nothing: the same as build --plan.

    \b
      deeplesion plan conf/demo.yaml
      deeplesion plan conf/nih.yaml --set select.limit=20

    \b
    Exit codes: 0  printed
                2  wrong config, unusable release or unusable store
                3  a guard would refuse (see `limits` in the config)
                4  the machine failed even after retries
                130  interrupted
                143  terminated
    """
    settings = _load(config, overrides)
    _start(config, settings)
    _plan(settings)


def _load(config: str, overrides: tuple[str, ...]) -> Config:
    import os

    from etl.core.config_file import load_config

    return load_config(config, overrides=overrides, environment=os.environ)


def _start(config: str, settings: Config) -> Console:
    import logging

    from etl.report.console.texts import config_line
    from etl.run.logs import start_logging

    console = start_logging()
    logging.getLogger("build_store").info(config_line(config, settings))
    return console


def _build(settings: Config, console: Console) -> None:
    from etl.pipeline.build import build, load_plan, stage_unread
    from etl.report.console.progress import BuildProgress
    from etl.report.console.texts import build_text
    from etl.run.clusters import chosen_cluster, connect

    cluster = chosen_cluster(settings.cluster)
    plan = load_plan(settings)
    with (
        connect(cluster, settings.limits, "etl.convert.convert") as executor,
        BuildProgress(console) as progress,
    ):
        plan = stage_unread(settings, plan, executor, progress)
        result = build(settings, plan, executor, progress)
    if settings.report:
        from etl.report.report import report_after_build

        published = result.published
        report_after_build(settings.store, published.version["version"], is_new=published.is_new)
    print_done(build_text(settings, result))


def _plan(settings: Config) -> None:
    from etl.pipeline.build import load_plan
    from etl.pipeline.preview import check_guards, make_preview
    from etl.pipeline.room import check_room
    from etl.report.console.texts import plan_text, volume_lines
    from etl.run.clusters import chosen_cluster, expected_memory, most_workers

    cluster = chosen_cluster(settings.cluster)
    preview = make_preview(settings, load_plan(settings), expected_memory(cluster))
    click.echo("\n".join([*volume_lines(preview), ""]))
    click.echo(plan_text(preview, preview.memory.workers or most_workers(cluster)))
    check_guards(preview)
    check_room(preview, settings.store)

"""Build the DeepLesion store: convert what the config selects and publish one new version."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from typing import TYPE_CHECKING

import click
import yaml

from etl.core.config import Config
from etl.core.config_file import load_config
from etl.core.errors import EtlError
from etl.io.objects import open_objects
from etl.report.console.texts import build_text, plan_text, resume_text, volume_lines
from etl.run.logs import start_logging
from etl.run.script import SUBMITTED_AS
from etl.run.signals import exit_code, terminable

if TYPE_CHECKING:
    from rich.console import Console

    from etl.plan.plan import Plan
    from etl.run.cluster_kinds import Cluster

logger = logging.getLogger("build_store")


@click.command()
@click.argument("config", type=click.Path())
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a value; repeatable."
)
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done and write nothing.")
@terminable()
def main(config: str, overrides: tuple[str, ...], plan_only: bool) -> None:
    """Build a store from a DeepLesion release as CONFIG (a YAML file, see conf/) says.

    Volumes that the store has whole already are reused; a run that was cut continues where it stopped.
    Readers see the new version all at once, or not at all.

    \b
      dask-submit jobs/build_store.py conf/demo.yaml
      dask-submit jobs/build_store.py conf/demo.yaml --plan
      dask-submit jobs/build_store.py conf/demo.yaml --set volume.spacing_mm=0.8 --set select.limit=10

    The environment overrides the file too: DEEPLESION__VOLUME__SPACING_MM=0.8 (--set wins).

    \b
    Exit codes: 0  published, or the current version holds the same already
                2  wrong config, unusable release or store; nothing was done
                3  built, but a guard refused to publish (see limits in the config)
                4  the machine failed after retries; finished volumes are kept
                5  another build is at work on the store, and `overlap` is `leave`; nothing was done
                130  interrupted (Ctrl-C); finished volumes are kept
                143  terminated (SIGTERM); the same, and it ends within a batch system's grace period
    """
    console = start_logging()
    try:
        settings = load_config(config, overrides=overrides, environment=os.environ)
        logger.info("config:\n%s", yaml.safe_dump(settings.resolved(), sort_keys=False).rstrip())
        _run(settings, console, plan_only)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        click.echo(
            resume_text([*shlex.split(os.environ.get(SUBMITTED_AS, "dask-submit")), *sys.argv]), err=True
        )
        sys.exit(exit_code(stop))


def _run(settings: Config, console: Console, plan_only: bool) -> None:
    """Print the plan, or build, publish and report."""
    # Loaded here: a wrong config is told at once, and workers, which load this script, need none of it.
    from etl.pipeline.build import build, load_plan, stage_unread
    from etl.report.console.progress import BuildProgress
    from etl.report.report import report_after_build
    from etl.run.clusters import chosen_cluster, connect

    cluster = chosen_cluster(settings.cluster)
    plan = load_plan(settings)
    if plan_only:
        _print_plan(settings, plan, cluster)
        return
    with connect(cluster, settings.limits) as executor, BuildProgress(console) as progress:
        progress.expect(plan.index.unread, directories=not settings.source.keep_archives)
        plan = stage_unread(settings, plan, executor, progress.add_fetch)
        progress.start(plan)
        result = build(settings, plan, executor, progress.add, progress.add_fetch)
    if settings.report:
        report_after_build(settings.store, result.published.version["version"])
    click.echo(build_text(settings, result))


def _print_plan(settings: Config, plan: Plan, cluster: Cluster) -> None:
    from dask.system import CPU_COUNT

    from etl.convert.reuse import converter_of, find_reusable
    from etl.pipeline.capacity import split_fitting
    from etl.pipeline.staged import find_staged
    from etl.run.known_memory import known_memory

    known, converter = known_memory(cluster), converter_of(settings, plan)
    reusable = find_reusable(settings, plan)
    there = {recalled.conversion.planned_id for recalled in reusable}
    missing = [volume for volume in plan.volumes if volume.volume_id not in there]
    _, too_large = split_fitting(missing, converter, known.most_bytes)
    free = open_objects(settings.store).free_bytes()
    click.echo("\n".join([*volume_lines(plan, reusable, too_large), ""]))
    staged = find_staged(settings, plan)
    click.echo(plan_text(settings, plan, converter, reusable, too_large, known, staged, CPU_COUNT, free))


if __name__ == "__main__":
    main()

"""Print a config that comes with the package, the list of them, or the JSON schema of all their keys."""

from __future__ import annotations

import click

from etl.report.console.command import job
from etl.report.console.words import Command


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON schema of a build's config, for editors.")
@job("nothing was done")
def main(name: str | None, schema: bool) -> None:
    """Print the config NAME that comes with the package, to be kept and changed; without NAME, list them.

    `build`, `plan` and `add` take such a name in place of a file: deeplesion build demo. Names that begin
    with cluster/ are descriptions of clusters, for `cluster:` in a config and for dask-submit --cluster.

    An editor with the YAML language server completes keys, shows their meaning and marks wrong values in a
    file that begins with the line `# yaml-language-server: $schema=deeplesion.schema.json`.

    \b
      deeplesion config
      deeplesion config mine > mine.yaml
      deeplesion config --schema > deeplesion.schema.json

    \b
    Exit codes: 0  printed
                2  there is no such config
                130  interrupted
                143  terminated
    """
    from etl.core.errors import ConfigError
    from etl.core.own_configs import CONFIGS

    if schema:
        import json

        from etl.core.config import Config

        if name is not None:
            raise click.UsageError("--schema goes without NAME")
        click.echo(json.dumps(Config.model_json_schema(), indent=1))
        return
    files = {path.relative_to(CONFIGS).with_suffix("").as_posix(): path for path in CONFIGS.rglob("*.yaml")}
    if name is None:
        for known, path in sorted(files.items()):
            first_line = path.read_text(encoding="utf-8").splitlines()[0]
            click.echo(f"{known:20} {first_line.removeprefix('# ')}")
        return
    if name not in files:
        raise ConfigError("no config has this name", value=name, allowed=", ".join(sorted(files)))
    click.echo(files[name].read_text(encoding="utf-8"), nl=False)

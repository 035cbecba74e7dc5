"""Commands whose complaints about the command line hold no secret: a URL may be typed where none belongs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from etl.core.secrets import without_secrets


@contextmanager
def _without_secrets() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = without_secrets(error.message)
        raise


class Command(click.Command):
    """A command whose usage errors hold no secret."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _without_secrets():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _without_secrets():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of such commands, listed with the whole first sentence of each."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, made.get_short_help_str(1000)) for name, made in found if made])

"""The decorator of every job: one place for errors, interrupts and exit codes.

It imports nothing heavy, so that a job answers `--help` at once; jobs import the rest where they use it.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

import click

from etl.core.errors import EtlError
from etl.run.signals import exit_code, terminable
from etl.run.submit import OWN_COMMAND, SUBMITTED_AS, typed_program

Result = TypeVar("Result")

version_option = click.option(
    "--version", "number", type=int, metavar="N", help="Version of the store.  [default: the current one]"
)


def job(when_stopped: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Return a decorator that ends a job with one message and the exit code of its error.

    An EtlError ends it with the error's own code, Ctrl-C with 130, SIGTERM with 143 and SIGHUP with 129.

    Args:
        when_stopped: what an interrupted job leaves, for the message that repeats the command line.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def run(*arguments: object, **options: object) -> Result:
            try:
                with terminable():
                    return function(*arguments, **options)
            except EtlError as error:
                click.echo(f"error: {error}", err=True)
                sys.exit(error.exit_code)
            except KeyboardInterrupt as stop:
                again = f"Continue with the same command: {typed_command()}"
                click.echo(f"stopped; {when_stopped}. {again}", err=True)
                sys.exit(exit_code(stop))

        return run

    return decorate


def typed_command() -> str:
    """Return the command line that started this process, as it was typed, quoted for a shell."""
    submitted_as = os.environ.get(SUBMITTED_AS)
    if submitted_as:
        return shlex.join([*shlex.split(submitted_as), *sys.argv])
    if os.path.basename(sys.argv[0]) == OWN_COMMAND:
        return shlex.join([typed_program(sys.argv[0]), *sys.argv[1:]])
    return shlex.join(sys.orig_argv)
